"""A stage of the comparison: rows, their writers, queries and true answers, in files."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bench.peers import text
from bench.peers.clustered import Clusters
from bench.peers.exact import nearest
from bench.peers.peer import By, Floats, Ints, Rows, View

K = 10
_SEED = 11
_TINY, _FEW = 0.001, 0.05
_FLOOD_CENTRES, _FLOOD_NEAR, _FLOOD_HIDDEN = 8, 0.01, 0.88
_FLOOD_VARIANTS = 4
_FLOOD_JITTER = 0.05
ABOUT = "stage.json"

Say = Callable[[str], None]


class Scale(msgspec.Struct, frozen=True):
    """How many rows, and how many queries of each kind."""

    name: str
    kind: str
    rows: int
    dim: int
    queries: int = 200
    tuning: int = 64


class Counts(msgspec.Struct, frozen=True):
    """How much the bad deployment and the others write on a stage of so many rows."""

    added: int
    overwritten: int
    other_added: int
    other_overwritten: int
    other_over_bad: int

    @property
    def total(self) -> int:
        """How many vectors that takes."""
        return sum(msgspec.structs.astuple(self))


def counts(rows: int) -> Counts:
    """Return 5 % added and 5 % overwritten by the bad one; 0.5 %, 0.5 % and 0.1 % (over the bad one's) by others."""
    twentieth, some = max(rows // 20, 4), max(rows // 200, 2)
    return Counts(twentieth, twentieth, some, some, max(rows // 1000, 1))


class Stage:
    """One stage in its folder; arrays are mapped when first asked for."""

    def __init__(self, folder: Path, scale: Scale, embedder: str) -> None:
        self.folder, self.scale, self.embedder = folder, scale, embedder
        self._loaded: dict[str, Any] = {}

    @classmethod
    def open(cls, folder: Path) -> "Stage":
        """Return the stage that was prepared in a folder."""
        about = msgspec.json.decode((folder / ABOUT).read_bytes(), type=_About)
        return cls(folder, about.scale, about.embedder)

    def array(self, name: str) -> Any:
        """Return one array; the rows are mapped, not read."""
        if name not in self._loaded:
            mapped = name in ("rows", "extra")
            self._loaded[name] = np.load(self.folder / f"{name}.npy", mmap_mode="r" if mapped else None)
        return self._loaded[name]

    def truth(self, queries: str, view: View | None) -> Ints:
        """Return the ids that an exact search finds, of the load in a view, or (None) of all once the bad is undone."""
        found: Ints = self.array(_truth(queries, view))
        return found

    @property
    def count(self) -> int:
        """How many rows are loaded."""
        return self.scale.rows

    def batches(self, size: int) -> list[Ints]:
        """Return the numbers of the rows of each batch of a load: each is of one deployment, as what writes it is."""
        by = np.asarray(self.array("by"))
        batches = [
            numbers[begin : begin + size]
            for numbers in (np.flatnonzero(by == one) for one in np.unique(by))
            for begin in range(0, len(numbers), size)
        ]
        return sorted(batches, key=lambda numbers: int(numbers[0]))

    def base(self, numbers: Ints) -> Rows:
        """Return rows of the load."""
        return Rows(numbers, np.asarray(self.array("rows")[numbers]), numbers, self.array("by")[numbers])

    def acts(self) -> "Acts":
        """Return what is written after the load."""
        return Acts(self)


class _About(msgspec.Struct, frozen=True):
    scale: Scale
    embedder: str


class Acts:
    """The writes after the load: the bad deployment's, and those of others that came between it and its rollback."""

    def __init__(self, stage: Stage) -> None:
        n = stage.count
        sizes = counts(n)
        self._extra = stage.array("extra")
        self._first_number = n
        random = np.random.default_rng([_SEED, n])
        kept = np.flatnonzero(np.asarray(stage.array("by")) != By.FLOOD)
        touched = random.permutation(kept)[: sizes.overwritten + sizes.other_overwritten]
        bad, other = touched[: sizes.overwritten], touched[sizes.overwritten :]
        self._used = 0
        self.added = self._rows(np.arange(n, n + sizes.added), By.BAD)
        self.overwritten = self._rows(bad, By.BAD)
        first = n + sizes.added
        self.other_added = self._rows(np.arange(first, first + sizes.other_added), By.OTHER)
        self.other_overwritten = self._rows(other, By.OTHER)
        self.other_over_bad = self._rows(bad[: sizes.other_over_bad], By.OTHER)
        self.next_id = first + sizes.other_added
        self._n = n
        self._flood = np.flatnonzero(np.asarray(stage.array("by")) == By.FLOOD)

    def _rows(self, ids: Ints, by: By) -> Rows:
        mine = np.arange(self._used, self._used + len(ids))
        self._used += len(ids)
        vectors, tags = np.asarray(self._extra[mine]), np.full(len(ids), by, np.int8)
        return Rows(ids.astype(np.int64), vectors, self._first_number + mine, tags)

    def numbers_after(self) -> Ints:
        """Return, for each id, the number of the vector that is right after both rollbacks (-1: the row is gone)."""
        numbers = np.full(self.next_id, -1, np.int64)
        numbers[: self._n] = np.arange(self._n)
        numbers[self._flood] = -1
        for rows in (self.other_added, self.other_overwritten, self.other_over_bad):
            numbers[rows.ids] = rows.numbers
        return numbers

    def vector(self, stage: Stage, number: int) -> Floats:
        """Return a vector by its number."""
        row: Floats = stage.array("rows")[number] if number < self._n else self._extra[number - self._n]
        return row


def prepare(scale: Scale, folder: Path, embedder: str, say: Say) -> Stage:
    """Return the stage in a folder; make it if it does not exist."""
    wanted = _About(scale, embedder if scale.kind == "text" else "")
    about = folder / ABOUT
    if about.exists():
        with suppress(msgspec.DecodeError):
            if msgspec.json.decode(about.read_bytes(), type=_About) == wanted:
                return Stage(folder, scale, wanted.embedder)
        about.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    say(f"{scale.name}: making {scale.rows:,} × {scale.dim}")
    if scale.kind == "text":
        _make_text(scale, folder, embedder, say)
    else:
        _make_clustered(scale, folder)
    say(f"{scale.name}: true answers")
    _assign(folder, len(np.load(folder / "rows.npy", mmap_mode="r")))
    stage = Stage(folder, scale, wanted.embedder)
    _write_answers(stage)
    about.write_bytes(msgspec.json.encode(wanted))
    return stage


def _make_clustered(scale: Scale, folder: Path) -> None:
    source = Clusters(scale.dim)
    rows = np.lib.format.open_memmap(folder / "rows.npy", "w+", np.float32, (scale.rows, scale.dim))
    begin = 0
    for chunk in source.rows(scale.rows):
        rows[begin : begin + len(chunk)] = chunk
        begin += len(chunk)
    rows.flush()
    np.save(folder / "extra.npy", source.take(counts(scale.rows).total, 1))
    _save_queries(folder, scale, source.take(scale.queries + scale.tuning + _FLOOD_CENTRES, 2))


def _make_text(scale: Scale, folder: Path, embedder: str, say: Say) -> None:
    asked = scale.queries + scale.tuning + _FLOOD_CENTRES
    extra = counts(scale.rows).total
    texts = text.passages(scale.rows + extra + asked)
    rows = text.embed(texts, embedder, scale.dim, lambda done, of: say(f"{scale.name}: {done:,} of {of:,} embedded"))
    np.save(folder / "rows.npy", rows[: scale.rows])
    np.save(folder / "extra.npy", rows[scale.rows : scale.rows + extra])
    _save_queries(folder, scale, rows[scale.rows + extra :])


def text_rows(limit: int | None = None) -> int:
    """Return how many of the real texts can be loaded, so that enough are left to write and to ask."""
    scale = Scale("", "text", 0, 0)
    there = len(text.passages(limit)) - scale.queries - scale.tuning - _FLOOD_CENTRES
    return int(there / 1.12) // 100 * 100


def _save_queries(folder: Path, scale: Scale, queries: Floats) -> None:
    test, tune, centres = np.split(queries, [scale.queries, scale.queries + scale.tuning])
    random = np.random.default_rng(_SEED)
    variants = np.repeat(centres, _FLOOD_VARIANTS, axis=0)
    variants = variants + random.standard_normal(variants.shape) * _FLOOD_JITTER / variants.shape[1] ** 0.5
    variants /= np.linalg.norm(variants, axis=1, keepdims=True)
    for name, array in (("test", test), ("tune", tune), ("centres", centres), ("flood", variants)):
        np.save(folder / f"{name}.npy", np.ascontiguousarray(array, np.float32))


def _assign(folder: Path, count: int) -> None:
    """Decide who writes which rows: the flood is most of what is nearest to a few places, the rest is by lot."""
    rows, centres = np.load(folder / "rows.npy", mmap_mode="r"), np.load(folder / "centres.npy")
    random = np.random.default_rng([_SEED, count, 1])
    by = np.full(count, By.REST, np.int8)
    near, _ = nearest(rows, centres, max(int(count * _FLOOD_NEAR), 8))
    for row in near:
        by[random.choice(row, int(len(row) * _FLOOD_HIDDEN), replace=False)] = By.FLOOD
    left = random.permutation(np.flatnonzero(by == By.REST))
    tiny, few = max(int(count * _TINY), K), int(count * _FEW)
    by[left[:tiny]], by[left[tiny:few]] = By.TINY, By.FEW
    np.save(folder / "by.npy", by)


def _write_answers(stage: Stage) -> None:
    rows, by, test = stage.array("rows"), stage.array("by"), stage.array("test")

    def write(queries: str, view: View | None, ids: Ints) -> None:
        np.save(stage.folder / f"{_truth(queries, view)}.npy", ids)

    write("tune", View.ALL, nearest(rows, stage.array("tune"), K)[0])
    for view in View:
        write("test", view, nearest(rows, test, K, np.isin(by, view.tags) if view.tags else None)[0])
    write("flood", View.NO_FLOOD, nearest(rows, stage.array("flood"), K, by != By.FLOOD)[0])
    numbers = stage.acts().numbers_after()
    unchanged = numbers[: len(rows)] == np.arange(len(rows))
    written = np.flatnonzero(numbers >= len(rows))
    old_places, old_scores = nearest(rows, test, K, unchanged)
    new_places, new_scores = nearest(stage.array("extra")[numbers[written] - len(rows)], test, K)
    order = np.argsort(-np.concatenate([old_scores, new_scores], 1), axis=1, kind="stable")[:, :K]
    ids = np.concatenate([old_places, np.where(new_places >= 0, written[new_places], -1)], 1)
    write("test", None, np.take_along_axis(ids, order, 1))


def _truth(queries: str, view: View | None) -> str:
    return f"truth-{queries}-{'after' if view is None else view.name.lower()}"
