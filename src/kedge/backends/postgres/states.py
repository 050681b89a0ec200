"""Table of states in PostgreSQL; see `kedge.model.states`."""

from collections.abc import Iterable, Sequence

from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.sql import queries
from kedge.model.lineage import EMPTY, Lineage
from kedge.model.states import RowClass, State, StateTable, classify, deciding, from_text, minimal, to_text
from kedge.model.visibility import View
from kedge.support.fork_lock import ForkSafeLock

_SQL = queries("states")


class States:
    """The table of states, with a cache of those that are known to be committed."""

    def __init__(self, interner: Interner) -> None:
        self._interner = interner
        self._lock = ForkSafeLock()
        self._table = StateTable()
        self._is_behind = False

    def catch_up(self, link: Link) -> None:
        """Read states that other processes have made, in a write transaction that has not made a state yet."""
        if self._is_behind:
            self._is_behind = False
            link.wait()  # for the row locks: a thread that waits for them must not hold the lock below
            self.known(link)

    def cached(self, lineage: int) -> int | None:
        """Return the id of the state that nothing supersedes, if it is cached."""
        return self._table.ids.get((lineage, ()))

    def intern(self, link: Link, lineage: int, superseders: Iterable[int], settled: Lineage = EMPTY) -> int:
        """Return the id of a state without its settled members, in a write transaction that may still fail."""
        members = (self._interner.members_uncached(link, other) for other in superseders)
        by = tuple(sorted(self._interner.intern(link, others) for others in minimal(members, settled)))
        cached = self._table.ids.get((lineage, by))
        if cached is not None:
            return cached
        self._is_behind = True
        fields = (lineage, to_text(by))
        found = link.row(_SQL["state_find"], *fields) or link.row(_SQL["state_insert"], *fields)
        return int((found or link.one(_SQL["state_find"], *fields))[0])

    def of(self, link: Link, ident: int) -> State:
        """Return a state, in a write transaction that may have made it."""
        if ident <= self._table.last:
            return self._table.known[ident]
        found = next(row for row in link.rows(_SQL["states_after"], ident - 1) if row[0] == ident)
        return found[1], from_text(found[2])

    def known(self, link: Link) -> Sequence[State]:
        """Return all states by id: at least those that a read transaction sees."""
        with self._lock:
            self._table.learn(link.rows(_SQL["states_after"], self._table.last))
        return self._table.known

    def missing(self, link: Link) -> str | None:
        """Return the newest cached state if the server has another or none; ids are dense, so one is enough."""
        last = self._table.last
        if not last:
            return None
        lineage, superseders = self._table.known[last]
        found = link.rows(_SQL["states_after"], last - 1)[:1]
        return None if found == [(last, lineage, to_text(superseders))] else f"state {last}"

    def learn(self, link: Link, idents: Iterable[int]) -> Sequence[State]:
        """Return all states by id: at least these, which a read transaction sees."""
        return self._table.known if max(idents, default=0) <= self._table.last else self.known(link)

    def class_of(self, link: Link, view: View, state: State) -> RowClass:
        """Return the class of a state's rows in a present view."""
        lineage, superseders = state
        members = self._interner.members
        return classify(view, members(link, lineage), (members(link, other) for other in superseders))

    def deciding(self, link: Link, view: View, states: Iterable[State]) -> frozenset[Lineage]:
        """Return the lineages that decide which rows in these states are head in a present view."""
        members = self._interner.members
        found: set[Lineage] = set()
        for lineage, superseders in states:
            found |= deciding(view, members(link, lineage), [members(link, other) for other in superseders])
        return frozenset(found)

    def is_head(self, link: Link, view: View, state: State) -> bool:
        """Return whether the rows in a state are head in a present view."""
        return self.class_of(link, view, state) is RowClass.HEAD

    def heads(self, link: Link, view: View, space: int) -> list[tuple[int, int]]:
        """Return (state, lineage) of the states of a space's heads whose rows are head in a present view."""
        present = [row[0] for row in link.rows(_SQL["states_of_heads"], space)]
        known = self.learn(link, present)
        return [(ident, known[ident][0]) for ident in present if self.is_head(link, view, known[ident])]
