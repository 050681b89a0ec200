"""Random histories of vectors whose rows are indexed half-way, in two processes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

import kedge
from kedge.testing.oracle import OracleTurn, View
from kedge.testing.oracle.ranking import search
from tests.stateful import operations
from tests.stateful.machine import AGENTS, Machine, picks
from tests.stateful.operations import DIRECTIONS, FILTERS
from tests.stateful.ops import ANOTHER, COLLECTION, DIM, Answer, Op, agree, all_rows, as_arrays, embedded, on_model


class VectorHistories(Machine):
    """Turns that read and write vectors of two collections; run it with `tests.thresholds.lowered`.

    Every list of every index is visited, so that what a search answers must be what brute force does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.handles[0].collection(ANOTHER, dim=DIM)
        self.oracle.collection(ANOTHER)
        self.is_past_gone = False
        self.is_open_elsewhere = False

    @initialize(embedder=st.booleans(), ops=st.lists(operations.load, min_size=1, max_size=2))
    def begin(self, *, embedder: bool, ops: list[Op]) -> None:
        super().begin(embedder=embedder)
        self.seal(0, ops)

    # ------------------------------------------------------------ what turns do

    @rule(pick=picks, ops=st.lists(operations.sealed, min_size=1, max_size=6))
    def vectors(self, pick: int, ops: list[Op]) -> None:
        self.work(pick, ops)

    @rule(pick=picks, ops=st.lists(operations.sealed, min_size=2, max_size=6))
    def by_turns(self, pick: int, ops: list[Op]) -> None:
        """Let the open turns do one operation each, one after another."""
        for n, op in enumerate(ops):
            self.work(pick + n, [op])

    # ------------------------------------------------------------ upkeep: nothing of it may show

    @rule(pick=picks, ops=st.lists(operations.load, max_size=2))
    def seal(self, pick: int, ops: list[Op]) -> None:
        """Write some more, index what can be indexed, and compact what can be compacted."""
        self.work(pick, ops)
        self.k.optimize()

    @precondition(lambda self: not self.is_past_gone)
    @rule(sure=st.sampled_from([False, False, True]))
    def let_the_past_go(self, *, sure: bool) -> None:
        """Move the horizon to the present, so that what is superseded may be compacted away; snapshots stay."""
        if sure:
            self.k.set_retention(1e-6)
            self.is_past_gone = True

    def points(self) -> list[str | int]:
        """Return some points of the past that can be read."""
        return [*self.oracle.snapshots] if self.is_past_gone else super().points()

    @rule()
    def restart(self) -> None:
        """End with all that this process knows, and begin again."""
        self.close_all()
        self.handles = [self.open()]

    # ------------------------------------------------------------ another process

    @precondition(lambda self: self.other is not None and not self.levels)
    @rule(agent=st.sampled_from(AGENTS), ops=st.lists(operations.for_all, min_size=1, max_size=4))
    def vectors_elsewhere(self, agent: str, ops: list[Op]) -> None:
        """Have a turn done in the other process, which has the database open as long as it may."""
        told = self.ask_elsewhere(do="vectors", keep=True, agent=agent, ops=[asdict(op) for op in ops])
        turn = OracleTurn(self.oracle, self.oracle.view(), agent=agent)
        for op, (value, error) in zip(ops, told["answers"], strict=True):
            theirs = Answer(_as_here(op, value), error)
            ours = on_model(turn, op, theirs)
            assert agree(theirs.error, ours.error), f"the other process: {theirs.error}, the oracle: {ours.error}"
            assert theirs.value == ours.value, f"{op.kind}: the other process: {theirs.value}, the oracle: {ours.value}"
        assert set(told["lineage"]) == turn.lineage

    @precondition(lambda self: self.other is not None)
    @rule(keep=st.booleans())
    def seal_elsewhere(self, *, keep: bool) -> None:
        """Build indexes in the other process, which then continues or restarts."""
        self.ask_elsewhere(do="seal", keep=keep)

    def ask_elsewhere(self, *, keep: bool, **command: Any) -> Any:
        """Have the other process do something."""
        assert self.other is not None
        self.is_open_elsewhere = keep
        told = self.other.ask(url=self.url, keep=keep, **command)
        assert "error" not in told, told
        return told

    # ------------------------------------------------------------ what must hold after every step

    def compare(self, real: kedge.ReadView, view: View, session: str | None) -> None:
        """Compare all that a view of the present shows."""
        super().compare(real, view, session)
        self.compare_vectors(real, view)

    def read_past(self, point: str | int, session: str | None) -> Any:
        """Read at a point, compared with the oracle."""
        told = super().read_past(point, session)
        if isinstance(told, str):
            return told
        try:
            self.compare_vectors(self.k.at(point), self.oracle.view(at=point))
        except kedge.PastUnreadable:  # of the other collection, which a compaction has taken
            if isinstance(point, str):
                raise  # a snapshot keeps what it shows
            return "PastUnreadable"
        return told

    def compare_vectors(self, real: kedge.ReadView, view: View) -> None:
        """Compare a search, and all rows in batches, of either collection."""
        vector = DIRECTIONS[self.steps % len(DIRECTIONS)]
        where = FILTERS[self.steps % len(FILTERS)]
        for collection in (COLLECTION, ANOTHER):
            vectors = real.vectors(collection)
            for k in (2, 50):
                hits = vectors.search(vector, k=k, where=where)
                ranked = search(self.oracle, view, collection, vector, k, where)
                ranked.check([hit.id for hit in hits], [hit.score for hit in hits], exact=hits.exact)
                assert hits.count_unembedded() == ranked.unembedded
                event(f"a search that was {'exact' if hits.exact else 'by the index'}")
            assert all_rows(vectors.batches(7)) == as_arrays(embedded(self.oracle, view, collection))

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            if self.is_open_elsewhere:
                self.ask_elsewhere(do="leave", keep=False)


def _as_here(op: Op, value: Any) -> Any:
    """Return an answer that came as JSON as the operation gives it here."""
    if op.kind != "search" or value is None:
        return value
    ids, scores, unembedded, lineage, exact = value
    return ids, scores, unembedded, frozenset(lineage), exact
