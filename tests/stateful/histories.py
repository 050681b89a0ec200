"""Random histories of all stores."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.stateful import operations
from tests.stateful.machine import Machine, picks
from tests.stateful.ops import Op


class Histories(Machine):
    """Turns that read and write in every store."""

    @rule(pick=picks, ops=st.lists(operations.keyed, min_size=1, max_size=5))
    def keyed(self, pick: int, ops: list[Op]) -> None:
        self.work(pick, ops)

    @rule(pick=picks, ops=st.lists(operations.anything, min_size=1, max_size=6))
    def anything(self, pick: int, ops: list[Op]) -> None:
        self.work(pick, ops)

    @rule(pick=picks, ops=st.lists(operations.vectors, min_size=1, max_size=5))
    def vectors(self, pick: int, ops: list[Op]) -> None:
        self.work(pick, ops)

    @rule(pick=picks, ops=st.lists(operations.anything, min_size=2, max_size=6))
    def by_turns(self, pick: int, ops: list[Op]) -> None:
        """Let the open turns do one operation each, one after another."""
        for n, op in enumerate(ops):
            self.work(pick + n, [op])
