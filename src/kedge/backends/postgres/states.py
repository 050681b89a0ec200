"""States: a row's lineage with the minimal set of lineages that supersede it, interned into one small integer.

They are all that decides where a row is head, so that "the heads of this view" is "the rows in these states": what is
hidden, superseded or deleted, under whatever lineage, is never walked over.
"""

import json
from collections.abc import Iterable, Sequence

from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.sql import queries
from kedge.model.lineage import EMPTY, Lineage, antichain
from kedge.model.visibility import View
from kedge.support.fork_lock import ForkSafeLock

_SQL = queries("states")
State = tuple[int, tuple[int, ...]]  # a lineage, and the lineages that supersede it


class States:
    """The table of states, cached as far as it is known to be committed. Ids are 1, 2, 3… and never change."""

    def __init__(self, interner: Interner) -> None:
        self._interner = interner
        self._lock = ForkSafeLock()
        self._known: list[State] = [(0, ())]  # by id; ids begin at 1
        self._ids: dict[State, int] = {}
        self._is_behind = False

    def catch_up(self, link: Link) -> None:
        """Learn what was missed before, in a write transaction that has not made a state yet."""
        if self._is_behind:
            self._is_behind = False
            link.wait()  # for the lanes: who waited for them with the lock below would hold up who has them
            self.known(link)

    def cached(self, lineage: int) -> int | None:
        """Return the id of the state that nothing supersedes, if it is known without a look."""
        return self._ids.get((lineage, ()))

    def intern(self, link: Link, lineage: int, superseders: Iterable[int], settled: Lineage = EMPTY) -> int:
        """Return the id of a state, in a write transaction that may still fail; what is settled is left out of it."""
        state = (lineage, self._minimal(link, superseders, settled))
        cached = self._ids.get(state)
        if cached is not None:
            return cached
        self._is_behind = True
        fields = (lineage, json.dumps(state[1]))
        found = link.row(_SQL["state_find"], *fields) or link.row(_SQL["state_insert"], *fields)
        return int((found or link.one(_SQL["state_find"], *fields))[0])

    def _minimal(self, link: Link, lineages: Iterable[int], settled: Lineage) -> tuple[int, ...]:
        effective = (self._interner.members_uncached(link, other) - settled for other in lineages)
        return tuple(sorted(self._interner.intern(link, members) for members in antichain(effective)))

    def of(self, link: Link, ident: int) -> State:
        """Return a state, in a write transaction that may have made it."""
        if ident < len(self._known):
            return self._known[ident]
        found = next(row for row in link.rows(_SQL["states_after"], ident - 1) if row[0] == ident)
        return found[1], tuple(json.loads(found[2]))

    def known(self, link: Link) -> Sequence[State]:
        """Return all states by id, those that a read transaction sees at least."""
        with self._lock:
            for ident, lineage, superseders in link.rows(_SQL["states_after"], len(self._known) - 1):
                state = (lineage, tuple(json.loads(superseders)))
                self._ids[state] = ident
                self._known.append(state)  # last: whoever is interrupted, or forked, before it begins here again
        return self._known

    def missing(self, link: Link) -> str | None:
        """Return what is remembered and is not there; ids follow one another, so that the last speaks for all."""
        last = len(self._known) - 1
        lineage, superseders = self._known[last]
        found = link.rows(_SQL["states_after"], last - 1)[:1] if last else [(last, lineage, json.dumps(superseders))]
        return None if found == [(last, lineage, json.dumps(superseders))] else f"state {last}"

    def learn(self, link: Link, idents: Iterable[int]) -> Sequence[State]:
        """Return all states by id, these at least, which a read transaction sees."""
        return self._known if max(idents, default=0) < len(self._known) else self.known(link)

    def is_head(self, link: Link, view: View, state: State) -> bool:
        """Say whether the rows in a state are head in a present view."""
        lineage, superseders = state
        members = self._interner.members
        return view.sees(members(link, lineage)) and not any(view.sees(members(link, other)) for other in superseders)

    def heads(self, link: Link, view: View, space: int) -> list[tuple[int, int]]:
        """Return (state, lineage) of the states of a space's heads whose rows are head in a present view."""
        present = [row[0] for row in link.rows(_SQL["states_of_heads"], space)]
        known = self.learn(link, present)
        return [(ident, known[ident][0]) for ident in present if self.is_head(link, view, known[ident])]
