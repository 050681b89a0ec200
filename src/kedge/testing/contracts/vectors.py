"""Contract of `VectorReader` and `VectorWriter`: a search equals brute force over the journal's heads."""

import random
from copy import copy

import msgspec
import numpy as np
import pytest

from kedge.errors import Conflict, InvalidVector, PastUnreadable
from kedge.model.filters import matches
from kedge.model.lineage import Lineage
from kedge.model.visibility import View
from kedge.model.writes import Head, Key, VectorBatch, decode
from kedge.ports.backend import Backend
from kedge.ports.control import EpochMoved
from kedge.ports.vectors import METRICS, Collection, Floats, Search
from kedge.support import failpoints
from kedge.testing.contracts.backend_driver import BackendDriver, Opener, delete, put
from kedge.testing.contracts.histories import DEPLOYMENTS, random_change, random_lineage

DIM = 3
NAMES = [f"n{n}" for n in range(10)]
SPACES = ("", "sha256:other")
FILTERS: tuple[dict[str, object], ...] = (
    {"id": {"in": ["n1", "n2", "n3"]}},
    {"id": {"gte": "n5"}, "and": [{"id": {"ne": "n7"}}]},
    {"or": [{"id": "n1"}, {"other": 1}, {"and": [{"id": {"gt": "n6"}}, {"id": {"lt": "n9"}}]}]},
)


class Written:
    """The model: all vector writes of one collection, as a test made them."""

    def __init__(self, driver: BackendDriver, metric: str, *fields: str) -> None:
        self.driver = driver
        self.backend = driver.backend
        declared = Collection("kb", DIM, metric, "shared/embedder", fields)
        self.collection = self.backend.vector_writer.declare(declared, 1.0)
        self.rows: list[tuple[Head, str, Floats | None]] = []  # as head, embedding space, vector or None for a delete

    def through(self, backend: Backend) -> "Written":
        """Return the same writes, read through another backend on the same database."""
        other = copy(self)
        other.backend = backend
        return other

    def random_step(self, dice: random.Random, noise: np.random.Generator, lineage: Lineage | None = None) -> None:
        """Upsert or delete a few ids, sometimes at the rank of an earlier write."""
        names = dice.sample(NAMES, dice.choice([1, 2, 5]))
        lineage = random_lineage(dice) if lineage is None else lineage
        last = self.backend.control.position().seq
        rank = dice.randint(1, last) if dice.random() < 0.25 else None
        space = dice.choice(SPACES)
        if dice.random() < 0.2:
            self.random_batch(dice, noise, lineage, rank)
            return
        if dice.random() < 0.25:
            for name in names:
                seq = self.driver.delete(name, store="vectors", space="kb", lineage=lineage, rank=rank)
                self.note(name, (seq, rank), lineage, space, None)
            return
        matrix = noise.normal(size=(len(names), DIM)).astype(np.float32)
        rows = dict(zip(names, matrix, strict=True))
        seqs = self.driver.upsert("kb", dict(rows), embedding=space, lineage=lineage, rank=rank)
        for name, seq in zip(names, seqs, strict=True):
            self.note(name, (seq, rank), lineage, space, rows[name])

    def random_batch(self, dice: random.Random, noise: np.random.Generator, lineage: Lineage, rank: int | None) -> None:
        """Append puts into several embedding spaces, deletes and a fact as one batch; a name may come again in it."""
        pending, vectors = [put("fact", 1)], list[VectorBatch]()
        made: list[tuple[str, str, Floats | None]] = []
        for _ in range(dice.choice([2, 3])):
            names, space = dice.sample(NAMES, dice.choice([1, 3])), dice.choice(SPACES)
            if dice.random() < 0.25:
                made += [(name, space, None) for name in names]
                pending += [delete(name, store="vectors", space="kb") for name in names]
                continue
            matrix = noise.normal(size=(len(names), DIM)).astype(np.float32)
            vectors.append(VectorBatch(space, DIM, matrix.tobytes(), first=len(pending)))
            made += [(name, space, row) for name, row in zip(names, matrix, strict=True)]
            pending += [put(name, {"id": name}, store="vectors", space="kb") for name in names]
        seqs = self.driver.append(pending, vectors=tuple(vectors), lineage=lineage, rank=rank)
        for (name, space, row), seq in zip(made, seqs[1:], strict=True):
            self.note(name, (seq, rank), lineage, space, row)

    def note(self, name: str, at: tuple[int, int | None], lineage: Lineage, space: str, vector: Floats | None) -> None:
        """Record a write in the model."""
        seq, rank = at
        key = Key("vectors", "kb", name)
        head = Head(key, seq, seq if rank is None else rank, vector is None, 0, lineage)
        self.rows.append((head, space, vector))

    def visible(self, view: View) -> list[tuple[Head, str, Floats | None]]:
        """Return the writes that a view sees."""
        return [
            row for row in self.rows if view.sees(row[0].lineage) and (view.upto is None or row[0].seq <= view.upto)
        ]

    def heads(self, view: View) -> dict[str, tuple[Head, str, Floats | None]]:
        """Return the newest visible write of each id."""
        newest: dict[str, tuple[Head, str, Floats | None]] = {}
        for row in sorted(self.visible(view), key=lambda row: (row[0].rank, row[0].seq)):
            newest[row[0].key.name] = row
        return newest


def score(metric: str, vector: Floats, query: Floats) -> float:
    """Return a score in float64: greater is better."""
    v, q = vector.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        return -float(((v - q) ** 2).sum())
    return float(v @ q) / (1.0 if metric == "dot" else float(np.linalg.norm(v) * np.linalg.norm(q)))


def check(written: Written, view: View, query: Floats, k: int, where: dict[str, object] | None = None) -> Search:
    """Compare a search with brute force over the heads of the view."""
    collection, space = written.collection, SPACES[0]
    found = written.backend.vectors.search(view, collection, space, query, k, where)

    def passes(name: str) -> bool:
        return where is None or matches({"id": name}, where)

    heads = written.heads(view)
    here = {n: v for n, (_, s, v) in heads.items() if v is not None and s == space and passes(n)}
    ranked = sorted(((score(collection.metric, v, query), n) for n, v in here.items()), key=lambda r: (-r[0], r[1]))
    assert [hit.head.key.name for hit in found.found] == [name for _, name in ranked[:k]]
    assert [hit.score for hit in found.found] == pytest.approx([s for s, _ in ranked[:k]], rel=1e-5, abs=1e-6)
    assert [hit.head.seq for hit in found.found] == [heads[name][0].seq for _, name in ranked[:k]]
    assert all(decode(hit.head.payload) == {"id": hit.head.key.name} for hit in found.found)
    assert found.unembedded == sum(v is not None and s != space for _, s, v in heads.values())
    last = (-ranked[k - 1][0], ranked[k - 1][1]) if len(ranked) >= k else (np.inf, "")
    superseding: dict[str, Lineage] = {}
    deciding: set[int] = set()
    for row, where_from, vector in written.visible(view):
        name, at = row.key.name, (row.rank, row.seq)
        later = [o.lineage for o, _, _ in written.visible(view) if o.key == row.key and (o.rank, o.seq) > at]
        if vector is None or view.upto is not None or any(o <= view.settled | row.lineage for o in later):
            continue  # superseded wherever it is seen
        if where_from != space:
            minimal = [o - view.settled for o in later if not any(p - view.settled < o - view.settled for p in later)]
            deciding |= row.lineage - view.settled if not later else frozenset().union(*minimal) - row.lineage
        elif later and passes(name) and (-score(collection.metric, vector, query), name) <= last:
            superseding[name] = superseding.get(name, row.lineage) & row.lineage
    wanted = {name: (heads[name][0].seq, heads[name][0].lineage - own) for name, own in superseding.items()}
    assert {head.key.name: (head.seq, head.lineage) for head in found.superseders} == wanted
    assert frozenset().union(*found.elsewhere) == deciding
    tally = written.backend.vectors.tally(view, "kb")
    assert tally.count == sum(vector is not None for _, _, vector in heads.values())
    if view.upto is None:
        present = {h.lineage - view.settled for h, _, _ in heads.values()}
        assert {lineage - view.settled for lineage in tally.lineages} - {frozenset()} == present - {frozenset()}
    else:
        assert tally.lineages >= {h.lineage for h, _, v in heads.values() if v is not None}
    check_heads(written, view, space, tally.lineages)
    return found


def check_heads(written: Written, view: View, space: str, lineages: frozenset[Lineage]) -> None:
    """Compare the rows that an iteration visits with the heads of the view."""
    index, collection = written.backend.vectors, written.collection
    heads = sorted((h.seq, h.key.name, v, s) for h, s, v in written.heads(view).values() if v is not None)
    here = [(seq, name, vector) for seq, name, vector, where_from in heads if where_from == space]
    found = index.space_heads(view, collection, space)
    assert found.seqs.tolist() == [seq for seq, _, _ in here]
    assert found.unembedded == len(heads) - len(here)
    assert found.lineages == lineages
    asked = [10**9, *(seq for seq, *_ in reversed(heads))]  # in any order; of other spaces, and of none
    there, matrix = index.matrix(collection, space, np.array(asked, np.int64))
    assert [asked[place] for place in there.tolist()] == found.seqs.tolist()[::-1]
    assert not matrix.flags.writeable or not len(matrix)
    assert all(np.array_equal(row, vector) for row, (_, _, vector) in zip(matrix, here[::-1], strict=True))
    contents = written.backend.journal.contents(view, [seq for seq, _, _ in here])
    assert [(name, decode(payload)) for name, payload in contents] == [(name, {"id": name}) for _, name, _ in here]


class VectorContract:
    """Fixtures: `backend`, and `opener`, which opens the same database again."""

    @pytest.fixture
    def noise(self) -> np.random.Generator:
        """Give the same random vectors every time."""
        return np.random.default_rng(7)

    @pytest.fixture
    def written(self, backend: Backend) -> Written:
        """Give an empty cosine collection, under live deployments."""
        driver = BackendDriver(backend)
        driver.live(*(f"d{n}" for n in range(1, DEPLOYMENTS + 1)))
        return Written(driver, "cosine")

    @pytest.mark.parametrize(("metric", "seed"), [(metric, seed) for metric in METRICS for seed in range(8)])
    def test_search_equals_brute_force(self, backend: Backend, metric: str, seed: int) -> None:
        dice, noise = random.Random(seed), np.random.default_rng(seed)
        driver = BackendDriver(backend)
        driver.live(*(f"d{n}" for n in range(1, DEPLOYMENTS + 1)))
        written = Written(driver, metric, *dice.choice([(), ("id",), ("id", "other")]))
        past: list[View] = []
        for step in range(40):
            if dice.random() < 0.25:
                random_change(driver, dice)
            written.random_step(dice, noise)
            view = driver.view(random_lineage(dice))
            query = noise.normal(size=DIM).astype(np.float32)
            if step % 4 == 0:
                check(written, view, query, dice.choice([1, 3, 50]))
                for where in FILTERS:
                    check(written, view, query, 2, where)
                past.append(View(view.epoch, view.seen, view.settled, backend.control.position().seq))
        for view in past:
            query, k = noise.normal(size=DIM).astype(np.float32), dice.choice([1, 3, 50])
            check(written, view, query, k, dice.choice(FILTERS) if dice.random() < 0.5 else None)

    def test_another_process_searches_the_same(
        self, written: Written, opener: Opener, noise: np.random.Generator
    ) -> None:
        other = opener()
        query = np.ones(DIM, np.float32)
        dice = random.Random(3)
        for _ in range(12):
            written.random_step(dice, noise)
            view = written.driver.view()
            mine = written.backend.vectors.search(view, written.collection, "", query, 5, None)
            theirs = other.vectors.search(view, written.collection, "", query, 5, None)
            assert [(f.head, f.score) for f in theirs.found] == [(f.head, f.score) for f in mine.found]
        other.close()

    def test_no_search_is_older_than_the_last_flip(self, written: Written) -> None:
        view = written.driver.view()
        written.driver.change("roll_back", "d1")
        with pytest.raises(EpochMoved):
            written.backend.vectors.search(view, written.collection, "", np.ones(DIM, np.float32), 1, None)
        with pytest.raises(EpochMoved):
            written.backend.vectors.tally(view, "kb")
        with pytest.raises(EpochMoved):
            written.backend.vectors.space_heads(view, written.collection, "")
        with pytest.raises(EpochMoved):
            written.backend.journal.contents(view, [1])

    def test_a_delete_crosses_embedding_spaces(self, written: Written) -> None:
        driver = written.driver
        for at, space in enumerate(SPACES):
            rows = {"a": np.eye(DIM, dtype=np.float32)[at]}
            written.note(
                "a", (driver.upsert("kb", dict(rows), embedding=space)[0], None), frozenset(), space, rows["a"]
            )
        query = np.ones(DIM, np.float32)
        assert check(written, driver.view(), query, 5).unembedded == 1, "the newest is in the other space"
        written.note("a", (driver.delete("a", store="vectors", space="kb"), None), frozenset(), "", None)
        assert check(written, driver.view(), query, 5).unembedded == 0

    def test_a_replayed_row_is_born_superseded(self, written: Written) -> None:
        driver = written.driver
        asked = driver.put("question", 1)
        rows = {"a": np.array([1, 0, 0], np.float32)}
        newer = {"a": np.array([0, 1, 0], np.float32)}
        written.note("a", (driver.upsert("kb", dict(newer))[0], None), frozenset(), "", newer["a"])
        for lineage in (frozenset[int](), frozenset({1})):
            seq = driver.upsert("kb", dict(rows), rank=asked, lineage=lineage)[0]
            written.note("a", (seq, asked), lineage, "", rows["a"])
        found = check(written, driver.view(), rows["a"], 5)
        assert [decode(hit.head.payload) for hit in found.found] == [{"id": "a"}]
        assert found.found[0].score == pytest.approx(0.0)

    def test_a_replayed_row_is_head_where_the_later_one_is_hidden(self, written: Written) -> None:
        driver = written.driver
        asked = driver.put("question", 1)
        rows = {"a": np.array([1, 0, 0], np.float32)}
        seq = driver.upsert("kb", dict(rows), lineage=frozenset({1}))[0]
        written.note("a", (seq, None), frozenset({1}), "", rows["a"])
        seq = driver.upsert("kb", dict(rows), rank=asked)[0]
        written.note("a", (seq, asked), frozenset(), "", rows["a"])
        assert check(written, driver.view(), rows["a"], 1).superseders[0].lineage == {1}
        driver.change("roll_back", "d1")
        assert check(written, driver.view(), rows["a"], 1).found[0].head.seq == seq

    def test_one_batch_may_supersede_a_row_twice(self, written: Written) -> None:
        driver = written.driver
        rows = {"a": np.array([1, 0, 0], np.float32)}
        written.note("a", (driver.upsert("kb", dict(rows))[0], None), frozenset(), "", rows["a"])
        lineages = [frozenset({1}), frozenset({2})]
        deletes = [delete("a", store="vectors", space="kb", lineage=lineage) for lineage in lineages]
        for seq, lineage in zip(driver.append(deletes), lineages, strict=True):
            written.note("a", (seq, None), lineage, "", None)
        for seen in ({1}, {2}, {1, 2}, set[int]()):
            check(written, driver.view(seen), rows["a"], 1)

    def test_a_vector_comes_back_bit_by_bit(self, written: Written, noise: np.random.Generator) -> None:
        matrix = noise.normal(size=(7, DIM)).astype(np.float32)
        written.driver.upsert("kb", {f"n{n}": row for n, row in enumerate(matrix)})
        names = [f"n{n}" for n in (5, 0, 6)]
        heads = written.backend.journal.heads(written.driver.view(), "vectors", "kb", names)
        rows = written.backend.vectors.vectors([heads[name] for name in names])
        assert np.array_equal(np.stack(rows), matrix[[5, 0, 6]])

    @pytest.mark.parametrize("point", ["append:rows", "append:before-commit"])
    def test_a_write_that_fails_is_never_found(
        self, written: Written, noise: np.random.Generator, request: pytest.FixtureRequest, point: str
    ) -> None:
        def fail() -> None:
            raise InterruptedError

        request.addfinalizer(failpoints.disarm)
        query = np.ones(DIM, np.float32)
        failpoints.arm(point, fail, nth=1)
        with pytest.raises(InterruptedError):
            written.driver.upsert("kb", {name: noise.normal(size=DIM) for name in ("a", "b", "c")})
        failpoints.disarm()
        assert check(written, written.driver.view(), query, 5).found == []
        for seed in range(4):  # an engine that knows rows by seq meets the same seqs again
            written.random_step(random.Random(seed), noise, frozenset())
            check(written, written.driver.view(), query, 5)

    def test_an_erased_vector_cannot_be_read(self, written: Written, opener: Opener) -> None:
        driver, backend = written.driver, written.backend
        driver.upsert("kb", {"a": [1.0, 2.0, 3.0]}, lineage=frozenset({1}))
        head = backend.journal.heads(driver.view(), "vectors", "kb", ["a"])["a"]
        driver.change("roll_back", "d1")
        driver.change("purge", "d1")
        for _ in range(2):
            backend.erasure.erase(backend.impact.lineages_with([1]))
        other = opener()
        for reader in (backend.vectors, other.vectors):
            try:
                (left,) = reader.vectors([head])
            except PastUnreadable:
                continue
            assert not left.any()
        other.close()

    def test_one_space_has_one_dimension(self, written: Written) -> None:
        written.driver.upsert("kb", {"a": [1.0, 2.0, 3.0]})
        with pytest.raises(InvalidVector, match="has 3 dimensions, not 2"):
            written.driver.upsert("kb", {"b": [1.0, 2.0]})
        written.driver.upsert("kb", {"b": [1.0, 2.0]}, embedding="sha256:other")
        assert written.backend.vectors.dim("kb", "sha256:other") == 2
        assert written.backend.vectors.dim("kb", "sha256:nobody") is None

    def test_a_collection_is_declared_once(self, backend: Backend, opener: Opener) -> None:
        kb = Collection("kb", 3, "cosine", "shared/embedder")
        assert backend.vector_writer.declare(kb, 1.0) == kb
        other = opener()
        assert other.vector_writer.declare(kb, 2.0) == kb
        with pytest.raises(Conflict, match="'kb' exists as"):
            other.vector_writer.declare(Collection("kb", 4, "cosine", "shared/embedder"), 2.0)
        assert other.vectors.collections() == [kb]
        for fields, then in ((("lang",), ("lang",)), ((), ("lang",)), (("n", "lang"), ("lang", "n"))):
            known = Collection("kb", 3, "cosine", "shared/embedder", then)
            assert other.vector_writer.declare(msgspec.structs.replace(kb, fields=fields), 3.0) == known
            assert backend.vectors.collection("kb") == known
        assert other.vectors.collection("nothing") is None
        other.close()
