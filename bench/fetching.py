"""Batches of vectors, against numpy and a JSON decoder on the same rows."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

import kedge
from bench.harness import Measured, Setting, interleave, micro, ratio

BATCH = 10_000
Floats = npt.NDArray[np.float32]


def batches(setting: Setting) -> Iterator[Measured]:
    """Compare reading ids and a whole collection with taking the same rows from the file and decoding payloads."""
    sizes = setting.sizes
    count = sizes.rows
    setting.say(f"writing {count:,} vectors of {sizes.dim} dimensions")
    folder = setting.fresh("batches")
    random = np.random.default_rng(7)
    payloads = [{"n": number, "lang": "en"} for number in range(count)]
    encoded = [msgspec.json.encode(payload) for payload in payloads]
    with kedge.open(folder, durability="normal") as k:
        _fill(k, random.standard_normal((count, sizes.dim), np.float32), payloads)
        mapped = _mapped(folder, count, sizes.dim)
        asked = random.choice(count, max(1, count // 10), replace=False)
        ids, some = [f"row-{row}" for row in asked], [encoded[row] for row in asked]
        kb = k.view().vectors("kb")

        def take() -> None:
            assert len(mapped[asked]) == len([msgspec.json.decode(text) for text in some])

        def get() -> None:
            assert len(kb.get(ids)) == len(ids)

        def fetch() -> None:
            assert len(kb.fetch(ids)) == len(ids)

        def walk() -> None:
            for first in range(0, count, BATCH):
                decoded = [msgspec.json.decode(text) for text in encoded[first : first + BATCH]]
                assert len(decoded) == len(mapped[first : first + BATCH].copy())

        def iterate() -> None:
            assert sum(len(rows.vectors.copy()) for rows in kb.batches(BATCH)) == count

        seconds = interleave(sizes.rounds, get, fetch, take, iterate, walk, warm_up=1)
    got, fetched, taken, iterated, walked = seconds
    raw = "vs numpy and JSON alone"
    yield Measured(
        f"get of {len(ids):,} of {count:,} × {sizes.dim} by id: time {raw}",
        ratio(got, taken), "×", f"{micro(got)} vs {micro(taken)}",
    )  # fmt: skip
    yield Measured(
        f"fetch of the same rows as arrays: time {raw}",
        ratio(fetched, taken),
        "×",
        f"{micro(fetched)} vs {micro(taken)}",
    )
    yield Measured(
        f"iteration of all {count:,} in batches: time {raw}",
        ratio(iterated, walked), "×", f"{micro(iterated)} vs {micro(walked)}", at_most=4,
    )  # fmt: skip


def deletes(setting: Setting) -> Iterator[Measured]:
    """Compare deleting rows as one batch with writing them."""
    sizes = setting.sizes
    count = max(10, sizes.rows // 10)
    rows = np.random.default_rng(8).standard_normal((count, sizes.dim), np.float32)
    ids = [f"row-{number}" for number in range(count)]
    with kedge.open(setting.fresh("deletes"), durability="normal") as k, k.turn(agent="a") as turn:
        k.collection("kb", dim=sizes.dim)
        kb = turn.vectors("kb")
        seconds = interleave(min(5, sizes.rounds), lambda: kb.upsert(ids, rows), lambda: kb.delete(ids), warm_up=1)
    written, deleted = seconds
    yield Measured(
        f"delete of {count:,} vectors as one batch: time vs writing them",
        ratio(deleted, written), "×", f"{micro(deleted, count)} vs {micro(written, count)} each", at_most=1.5,
    )  # fmt: skip


def _fill(k: kedge.Kedge, rows: Floats, payloads: list[dict[str, object]]) -> None:
    k.collection("kb", dim=rows.shape[1])
    with k.turn(agent="a") as turn:
        for first in range(0, len(rows), BATCH):
            numbers = range(first, min(first + BATCH, len(rows)))
            part = slice(numbers.start, numbers.stop)
            turn.vectors("kb").upsert([f"row-{n}" for n in numbers], rows[part], payloads[part])


def _mapped(folder: Path, rows: int, dim: int) -> Floats:
    (path,) = (folder / "kedge.db-vectors").glob("*.f32")
    return np.memmap(path, np.float32, "r", shape=(rows, dim))
