"""Random histories of all stores."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.stateful import operations
from tests.stateful.machine import AGENTS, TEMP, Machine, picks
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

    @rule(
        name=st.sampled_from(operations.CONTEXT_KEYS), look=operations.looks, ops=st.lists(operations.own, max_size=3)
    )
    def expiring(self, name: str, look: Op, ops: list[Op]) -> None:
        """Let a value expire, and then a turn look that has read nothing else."""
        for agent, work in ((AGENTS[0], [Op("put", "own", name=name, short_lived=True)]), (TEMP, [look, *ops])):
            self.begin_turn_for(None, agent, None)
            self.work(len(self.turns) - 1, work)
            self.wait()

    @rule(pick=picks, ops=st.lists(operations.anything, min_size=2, max_size=6))
    def by_turns(self, pick: int, ops: list[Op]) -> None:
        """Let the open turns do one operation each, one after another."""
        for n, op in enumerate(ops):
            self.work(pick + n, [op])
