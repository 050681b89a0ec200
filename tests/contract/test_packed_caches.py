"""Index and row files of another packing are not used: compaction moves the positions of rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import kedge
from kedge.backends.sqlite import indexes, ivf
from tests.contract.test_rowcache import recalled  # noqa: F401 - the fixture
from tests.thresholds import LISTS

DIM = 8
FIRST, AGAIN, MORE = 300, 150, 200
Matrix = npt.NDArray[np.float32]
Truth = dict[str, tuple[Matrix, int]]


def rows(count: int, seed: int) -> Matrix:
    return np.random.default_rng(seed).standard_normal((count, DIM), np.float32)


def write(k: kedge.Kedge, truth: Truth, names: list[str], seed: int) -> None:
    vectors = rows(len(names), seed)
    with k.turn(agent="clerk") as turn:
        turn.vectors("kb").upsert(names, vectors, [{"seed": seed, "half": seed % 2} for _ in names])
    truth.update(zip(names, [(vector, seed) for vector in vectors], strict=True))


def check(view: kedge.ReadView, truth: Truth, *, by_index: bool | None = None) -> None:
    """Fail unless all that can be asked is answered by what was written last, whether it is searched by an index."""
    kb = view.vectors("kb")
    seeds = sorted({seed for _, seed in truth.values()})
    wheres = [None, *({"seed": seed} for seed in seeds), *({"half": half} for half in (0, 1))]
    for query in rows(6, 99):
        for where in wheres:
            passing = [
                (float(query @ vector / np.linalg.norm(vector)), ident)
                for ident, (vector, seed) in truth.items()
                if where is None or where in ({"seed": seed}, {"half": seed % 2})
            ]
            wanted = [ident for _, ident in sorted(passing, reverse=True)[:5]]
            for exact in (False, True):
                hits = kb.search(query, k=5, where=where, exact=exact)
                assert [hit.id for hit in hits] == wanted, (where, exact)
                if where is None and not exact and by_index is not None:
                    assert hits.exact is not by_index
    for found in (kb.fetch(list(truth)), *kb.batches(size=1_000)):
        assert sorted(found.ids) == sorted(truth)
        for ident, vector, payload in zip(found.ids, found.vectors, found.payloads, strict=True):
            assert (vector.tolist(), payload["seed"]) == (truth[ident][0].tolist(), truth[ident][1])
    assert {ident: row.vector.tolist() for ident, row in kb.get(list(truth)[:9]).items()} == {
        ident: vector.tolist() for ident, (vector, _) in list(truth.items())[:9]
    }


def folder_of(path: Path) -> Path:
    return path / "kedge.db-vectors"


def caches(path: Path) -> set[str]:
    return {file.name for file in folder_of(path).iterdir() if file.suffix not in {".f32", ".lock"}}


@pytest.mark.parametrize("left", ["nothing", "old names", "new names"])
def test_rows_that_compaction_has_moved_are_found_where_they_are(
    left: str,
    tmp_path: Path,
    recalled: list[bool],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ivf, "lists_for", lambda _: LISTS)
    monkeypatch.setattr(indexes, "_LOOK_SECONDS", 60.0)  # what is known of a former layout is not merely out of date
    path, truth = tmp_path / "db", Truth()
    with kedge.open(path, durability="normal") as k:
        k.collection("kb", dim=DIM, fields=["half"])
        write(k, truth, [f"doc-{n}" for n in range(FIRST)], 1)
        write(k, truth, [f"doc-{n}" for n in range(AGAIN)], 2)
        assert k.optimize()["kb"].indexed
    before = caches(path)
    assert before == {"1.rows", "1.ivf.json", "1.0-448.ivf"}
    shutil.copytree(folder_of(path), tmp_path / "aside")
    with kedge.open(path, durability="normal") as former:
        check(former.view(), truth, by_index=True)
        with kedge.open(path, durability="normal") as k:
            k.set_retention(0)
            assert k.optimize()["kb"].reclaimed_rows == AGAIN
            assert caches(path) == {"1-1.rows", "1-1.ivf.json", "1-1.0-296.ivf"}
            write(k, truth, [f"more-{n}" for n in range(MORE)], 3)  # as many rows as before, and more
        check(former.view(), truth, by_index=True)
    for name in before if left != "nothing" else ():
        to = folder_of(path) / (name if left == "old names" else name.replace("1.", "1-1.", 1))
        shutil.copy(tmp_path / "aside" / name, to)
        if left == "new names" and name.endswith(".json"):
            to.write_text(to.read_text().replace('"1.', '"1-1.'))
    del recalled[:]
    with kedge.open(path, durability="normal", read_only=True) as k:
        check(k.view(), truth, by_index=left != "new names")
        assert recalled == [left != "new names"]
    with kedge.open(path, durability="normal") as k:
        assert caches(path) & before == set(), "what is of a former layout goes"
        k.optimize()
        check(k.view(), truth, by_index=True)
        report = k.fsck(full=True)
        assert (report.findings, report.notes) == ((), ())
