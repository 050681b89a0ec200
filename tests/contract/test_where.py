"""Filters under the index find what brute force finds: any selectivity, any view, declared fields or not."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import kedge
from kedge.backends.sqlite import columns, indexes, ivf, payload_filters, ranking
from kedge.model.filters import matches
from tests.stateful.share import SOAKING

DIM, ROWS = 32, 6_000
Matrix = npt.NDArray[np.float32]
FIELDS = ("half", "part", "rare", "far")
FILTERS: dict[str, dict[str, Any]] = {  # about 50 %, 5 %, 0.1 %, none, and what lies nowhere near
    "half": {"half": {"lt": 0.5}},
    "part": {"part": 7},
    "rare": {"rare": {"in": [3]}},
    "none": {"half": {"gt": 2}},
    "far": {"far": True},
    "both": {"and": [{"part": {"in": [1, 2, 3, 4]}}, {"or": [{"half": {"gte": 0.5}}, {"rare": 3}]}]},
}
PAYLOAD = {"half": 0.1, "part": 7, "rare": 3}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make collections of a few hundred rows large."""
    monkeypatch.setattr(ivf, "ROWS_MIN", 200)
    monkeypatch.setattr(ranking, "EXACT_ROWS", 40)
    monkeypatch.setattr(indexes, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(indexes.Indexes, "_build_in_background", lambda *_: None)


class Written:
    """A collection as a test filled it, for brute force to search."""

    def __init__(self, k: kedge.Kedge, seed: int, rows: int = ROWS) -> None:
        chance = np.random.default_rng(seed)
        centres = chance.standard_normal((60, DIM))
        cluster = chance.integers(0, len(centres), rows)
        self.k = k
        self.matrix: Matrix = (centres[cluster] + 0.35 * chance.standard_normal((rows, DIM))).astype(np.float32)
        self.payloads: list[Any] = [
            {"half": float(half), "part": int(part), "rare": int(rare), "far": bool(group < 3), "text": "x" * 20}
            for half, part, rare, group in zip(
                chance.random(rows), chance.integers(0, 20, rows), chance.integers(0, 1000, rows), cluster, strict=True
            )
        ]
        self.shown = np.ones(rows, bool)
        self.passing = {name: np.array([matches(p, where) for p in self.payloads]) for name, where in FILTERS.items()}
        self.queries = self.matrix[np.flatnonzero(cluster >= 3)[:: rows // 16]]

    def write(self, rows: range | npt.NDArray[np.int64], **turn: Any) -> None:
        numbers = [int(row) for row in rows]
        with self.k.turn(**{"agent": "clerk"} | turn) as writing:
            kb = writing.vectors("kb")
            kb.upsert([f"doc-{n}" for n in numbers], self.matrix[numbers], [self.payloads[n] for n in numbers])

    def best(self, query: Matrix, name: str, k: int = 10) -> set[str]:
        """Return what brute force finds."""
        rows = np.flatnonzero(self.shown & self.passing[name])
        unit = self.matrix[rows] / np.linalg.norm(self.matrix[rows], axis=1, keepdims=True)
        return {f"doc-{row}" for row in rows[np.argsort(-(unit @ query))[:k]]}

    def compare(self, *views: kedge.ReadView) -> None:
        """Search views that show the same by every filter, for a few rows and for all."""
        for kb, (name, where), count in product([v.vectors("kb") for v in views], FILTERS.items(), (10, 2_000)):
            found = kb.search(self.queries[0], count, where, exact=True)
            assert {hit.id for hit in found} == self.best(self.queries[0], name, count)
            assert all(matches(hit.payload, where) for hit in found)

    def recall(self, view: kedge.ReadView, name: str, rounds: int = 1) -> float:
        """Return the mean share of the ten best that searches find, each with the same filter."""
        kb = view.vectors("kb")
        shares = [1.0]
        for query in np.tile(self.queries, (rounds, 1)):
            found = {hit.id for hit in kb.search(query, k=10, where=FILTERS[name])}
            truth = self.best(query, name)
            assert len(found) == len(truth)
            shares.append(len(found & truth) / max(1, len(truth)) if truth else 1.0)
        return float(np.mean(shares[1:]))


@pytest.fixture
def k(tmp_path: Path) -> Iterator[kedge.Kedge]:
    with kedge.open(tmp_path / "db", durability="normal") as opened:
        opened.deploy("bad", {"loader/prompt": "x"})
        yield opened


# Of "some declared", some filters name declared fields only, some none, and one both kinds.
@pytest.fixture(params=["declared", "undeclared", "some declared"] if SOAKING else ["some declared"])
def fields(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return {"declared": FIELDS, "undeclared": (), "some declared": ("half", "far")}[request.param]


def test_recall_of_a_whole_view(k: kedge.Kedge, fields: tuple[str, ...]) -> None:
    k.collection("kb", dim=DIM, fields=fields)
    written = Written(k, 1)
    written.write(range(ROWS))
    assert k.optimize("kb")["kb"].indexed == ROWS
    assert not k.view().vectors("kb").search(written.queries[0]).exact, "the index is in use"
    for name in FILTERS:
        assert written.recall(k.view(), name) >= 0.98, name
        assert written.recall(k.view(), name, rounds=2) >= 0.98, name


def test_recall_where_a_view_sees_few_rows(k: kedge.Kedge, fields: tuple[str, ...]) -> None:
    k.collection("kb", dim=DIM, fields=fields)
    written = Written(k, 2)
    written.write(range(ROWS), agent="loader", deployment="bad")
    written.write(range(0, ROWS, 20))
    k.optimize("kb")
    k.rollback("bad", verify=False)
    written.shown[:] = False
    written.shown[::20] = True
    for name in FILTERS:
        assert written.recall(k.view(), name, rounds=2) >= 0.98, name


def test_recall_in_the_flood(k: kedge.Kedge, fields: tuple[str, ...]) -> None:
    k.collection("kb", dim=DIM, fields=fields)
    written = Written(k, 3)
    written.write(range(ROWS))
    k.optimize("kb")
    unit = written.matrix / np.linalg.norm(written.matrix, axis=1, keepdims=True)
    chance = np.random.default_rng(0)
    with k.turn(agent="clerk") as turn:
        for query in written.queries:
            nearest = np.argsort(-(unit @ query))[: ROWS // 100]
            hidden = [
                row for row in chance.choice(nearest, int(0.88 * len(nearest)), replace=False) if written.shown[row]
            ]
            turn.vectors("kb").delete([f"doc-{row}" for row in hidden])
            written.shown[hidden] = False
    for name in FILTERS:
        assert written.recall(k.view(), name, rounds=2) >= 0.98, name


def test_rows_come_from_elsewhere_and_go_by_a_rollback(k: kedge.Kedge, fields: tuple[str, ...], tmp_path: Path) -> None:
    """Adds, overwrites, deletes, a rollback and indexing, by two handles on one database, in the past too."""
    k.collection("kb", dim=DIM, fields=fields)
    written = Written(k, 4, 1_200)
    points: list[tuple[int, npt.NDArray[np.bool_]]] = []

    with kedge.open(tmp_path / "db", durability="normal") as other:
        written.shown[:] = False
        for step, first in enumerate(range(0, 1_200, 150)):
            writer = Written.__new__(Written)
            writer.__dict__.update(written.__dict__, k=other if step % 2 else k)
            writer.write(range(first, first + 143))
            written.shown[first : first + 143] = True
            if step % 3 == 2:
                gone = np.arange(first - 100, first - 60)
                with other.turn(agent="clerk") as turn:
                    turn.vectors("kb").delete([f"doc-{row}" for row in gone])
                written.shown[gone] = False
            if step % 4 == 1:
                other.optimize()
            written.compare(k.view(), other.view())
            points.append((k.snapshot(f"step {step}").seq, written.shown.copy()))
        with other.turn(agent="loader", deployment="bad") as turn:
            turn.vectors("kb").upsert(["doc-5", "new"], written.matrix[[0, 0]], [PAYLOAD] * 2)
        written.compare(k.view(), other.view())
        for name, where in FILTERS.items():  # what no filter was asked about yet, since no view has shown it
            seen = k.view(deployment="bad").vectors("kb").search(written.matrix[0], 2_000, where)
            added = {"doc-5", "new"} if matches(PAYLOAD, where) else set[str]()
            assert {hit.id for hit in seen} == written.best(written.matrix[0], name, 2_000) - {"doc-5"} | added
        k.rollback("bad", verify=False)
        written.compare(k.view(), other.view())
        for seq, shown in points[::2]:
            written.shown = shown
            written.compare(k.at(seq), other.at(seq))


WRITER = """
import sys, json, numpy as np, kedge
with kedge.open(sys.argv[1], durability="normal") as k, k.turn(agent="clerk") as turn:
    found = json.load(sys.stdin)
    turn.vectors("kb").upsert(found["ids"], np.array(found["matrix"], np.float32), found["payloads"])
"""


def test_what_another_process_wrote_passes_too(k: kedge.Kedge, fields: tuple[str, ...], tmp_path: Path) -> None:
    k.collection("kb", dim=DIM, fields=fields)
    written = Written(k, 14, 1_000)
    written.write(range(693))
    written.shown[693:] = False
    written.compare(k.view())
    rows = range(693, 1_000)
    theirs = {"ids": [f"doc-{n}" for n in rows], "matrix": written.matrix[rows].tolist()}
    told = json.dumps({**theirs, "payloads": [written.payloads[n] for n in rows]})
    subprocess.run([sys.executable, "-c", WRITER, str(tmp_path / "db")], input=told, text=True, check=True)
    written.shown[:] = True
    written.compare(k.view())


def test_a_superseder_of_a_row_that_passes_influences_and_of_one_that_does_not_no(
    k: kedge.Kedge, fields: tuple[str, ...]
) -> None:
    k.collection("kb", dim=DIM, fields=fields)
    written = Written(k, 5, 1_000)
    written.write(range(1_000))
    k.optimize("kb")
    with k.turn(agent="loader", deployment="bad") as turn:
        turn.vectors("kb").upsert(["doc-7"], -written.matrix[7:8], [{"half": 2.0}])
    half = written.payloads[7]["half"]
    for _ in range(3):  # undeclared, it is checked on proposals at first, and decided in the end
        with k.turn(deployment="bad", agent="clerk") as turn:
            turn.vectors("kb").search(written.matrix[7], k=3, where={"half": {"gt": half}})
            assert turn.lineage == frozenset()
            turn.vectors("kb").search(written.matrix[7], k=3, where={"half": {"lte": half}})
            assert turn.lineage == {"bad"}


def test_rows_that_were_superseded_crowd_out_none_that_pass(k: kedge.Kedge, fields: tuple[str, ...]) -> None:
    k.collection("kb", dim=DIM, fields=fields)
    written = Written(k, 12, 1_000)
    written.write(range(1_000))
    k.optimize("kb")
    unit = written.matrix / np.linalg.norm(written.matrix, axis=1, keepdims=True)
    near = np.argsort(-(unit @ written.queries[0]))[:300]
    with k.turn(agent="loader", deployment="bad") as turn:
        turn.vectors("kb").upsert([f"doc-{row}" for row in near], -written.matrix[near], [{"half": 2.0}] * len(near))
    written.shown[near] = False
    for _ in range(3):
        found = k.view(deployment="bad").vectors("kb").search(written.queries[0], k=10, where=FILTERS["half"])
        assert {hit.id for hit in found} == written.best(written.queries[0], "half")


def test_fields_are_added_and_never_taken_away(k: kedge.Kedge, tmp_path: Path) -> None:
    k.collection("kb", dim=DIM, fields=["part"])
    written = Written(k, 6, 600)
    written.write(range(600))
    with kedge.open(tmp_path / "db", durability="normal") as other:
        for fields, known in (([], ("part",)), (["half", "part"], ("part", "half")), ((), ("part", "half"))):
            assert written.recall(other.view(), "both") == 1
            assert other.collection("kb", dim=DIM, fields=fields).fields == known
            assert k.collections()[0].fields == known
        with pytest.raises(kedge.Conflict, match="'kb' exists as"):
            other.collection("kb", dim=DIM + 1, fields=["more"])
        assert other.collections()[0].fields == ("part", "half")
        assert written.recall(other.view(), "both") == 1


@pytest.mark.parametrize("fields", ["lang", [""], ["and"], [3], {"lang": 1}])
def test_fields_that_no_filter_could_name_are_refused(k: kedge.Kedge, fields: Any) -> None:
    with pytest.raises(kedge.InvalidValue, match="field"):
        k.collection("kb", dim=DIM, fields=fields)
    assert k.collections() == []


# ── what it costs ──


class Reads:
    """How many payloads were read to decide filters."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows = 0
        true = columns.payloads

        def counted(connection: Any, seqs: Any) -> Iterator[bytes | None]:
            self.rows += len(seqs)
            return true(connection, seqs)

        monkeypatch.setattr(columns, "payloads", counted)
        monkeypatch.setattr(payload_filters, "payloads", counted)

    def since(self) -> int:
        """Return how many since it was last asked."""
        found, self.rows = self.rows, 0
        return found


def test_declared_fields_are_read_once_for_all_filters(k: kedge.Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    k.collection("kb", dim=DIM, fields=FIELDS)
    written = Written(k, 7, 1_000)
    written.write(range(900))
    kb, reads = k.view().vectors("kb"), Reads(monkeypatch)
    kb.search(written.queries[0], where={"text": "x" * 20})
    assert reads.since() == 0, "a filter that names none of them builds none"
    for where in FILTERS.values():
        kb.search(written.queries[0], where=where)
    assert reads.since() == 900
    written.write(range(900, 1_000))
    for where in FILTERS.values():
        k.view().vectors("kb").search(written.queries[0], where=where)
    assert reads.since() == 100


def test_an_undeclared_filter_reads_everything_only_where_it_has_cost_as_much(
    k: kedge.Kedge, monkeypatch: pytest.MonkeyPatch
) -> None:
    k.collection("kb", dim=DIM)
    written = Written(k, 8)
    written.write(range(ROWS))
    k.optimize("kb")
    kb, reads = k.view().vectors("kb"), Reads(monkeypatch)
    kb.search(written.queries[0], where=FILTERS["half"])
    assert reads.since() == 0, "most proposals pass"
    kb.search(written.queries[0], where=FILTERS["rare"])
    assert reads.since() == ROWS
    for query in written.queries:
        kb.search(query, where=FILTERS["rare"])
    assert reads.since() == 0, "it is known by now"
    written.write(range(50))
    assert len(k.view().vectors("kb").search(written.queries[0], where=FILTERS["rare"])) == len(
        written.best(written.queries[0], "rare")
    )
    assert reads.since() == 50


@pytest.mark.parametrize(("limit", "most"), [("_BYTES_MAX", 4_000), ("_FILTERS_MAX", 4)])
def test_filters_that_are_not_used_make_room(
    k: kedge.Kedge, monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    monkeypatch.setattr(payload_filters, limit, most)
    k.collection("kb", dim=DIM, fields=["part"])
    written = Written(k, 9, 1_000)
    written.write(range(1_000))
    kb = k.view().vectors("kb")
    for _ in range(2):
        for part in range(20):
            for where in ({"part": part}, {"part": part, "half": {"gt": 0.5}}):
                assert all(matches(hit.payload, where) for hit in kb.search(written.queries[0], where=where))
    assert written.recall(k.view(), "part") == 1
    (kept,) = k._kernel.backend.vectors._filters._by_segment.values()  # type: ignore[attr-defined]
    taken = sum(bitmap.nbytes for bitmap in kept._filters.values())
    assert taken <= most + 5_000 if limit == "_BYTES_MAX" else len(kept._filters) == most, "the newest may come on top"


def test_equal_values_find_the_same_whatever_their_type(k: kedge.Kedge) -> None:
    k.collection("kb", dim=DIM, fields=["part"])
    written = Written(k, 10, 500)
    written.write(range(500))
    kb = k.view().vectors("kb")
    truth = written.best(written.queries[0], "part")
    for value in (np.int64(7), {"in": {7}}, {"in": frozenset({7})}, {"in": (7.0,)}, {"eq": np.float32(7)}):
        assert {hit.id for hit in kb.search(written.queries[0], where={"part": value})} == truth


def test_an_interrupted_search_leaves_the_columns_whole(k: kedge.Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    k.collection("kb", dim=DIM, fields=FIELDS)
    written = Written(k, 13, 1_000)
    written.write(range(1_000))
    true, left = columns.payloads, iter(range(350))

    def interrupted(connection: Any, seqs: Any) -> Iterator[bytes | None]:
        for payload in true(connection, seqs):
            if next(left, None) is None:
                raise KeyboardInterrupt
            yield payload

    monkeypatch.setattr(columns, "_CHUNK_ROWS", 100)
    with monkeypatch.context() as patched:
        patched.setattr(columns, "payloads", interrupted)
        with pytest.raises(KeyboardInterrupt):
            k.view().vectors("kb").search(written.queries[0], where=FILTERS["half"])
    written.compare(k.view())


def test_threads_filter_while_another_writes(k: kedge.Kedge, fields: tuple[str, ...]) -> None:
    k.collection("kb", dim=DIM, fields=fields)
    written = Written(k, 11, 2_000)
    written.write(range(500))
    failures: list[BaseException] = []
    done = threading.Event()

    def search() -> None:
        try:
            while not done.is_set():
                for where in FILTERS.values():
                    hits = k.view().vectors("kb").search(written.queries[0], k=10, where=where)
                    assert all(matches(hit.payload, where) for hit in hits)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for first in range(500, 2_000, 100):
        written.write(range(first, first + 100))
    done.set()
    for thread in threads:
        thread.join()
    assert not failures
    written.compare(k.view())
