"""Table of states in PostgreSQL; see `kedge.model.states`.

Ids come from a sequence, so that writers do not wait for each other: a state with a smaller id may be committed later.
Before `kedge upgrade` has refused older writers, ids have no holes, since these rely on that.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.sql import queries
from kedge.model.lineage import Lineage
from kedge.model.states import (
    CONTESTED,
    PLAIN,
    STATES_MAX,
    Above,
    RowClass,
    Rule,
    Standing,
    State,
    StateTable,
    Superseders,
    classify,
    from_text,
    is_lasting,
    is_newest,
    to_text,
)
from kedge.model.upgrade import CONTESTED_SINCE, UNFENCED
from kedge.model.visibility import View

_SQL = queries("states")
_MIN_WRITER = queries("upgrade")["schema"]
_VIEWS_CACHED = 64


class States:
    """The table of states, with a cache of those that are known to be committed."""

    def __init__(self, interner: Interner) -> None:
        self._interner = interner
        self._table = StateTable()
        self._wanted: set[State] = set()
        self._wanted_ids: set[int] = set()
        self._contests = False
        self._classes: dict[tuple[Lineage, Lineage], dict[int, RowClass]] = {}

    # ── writing ──

    def catch_up(self, link: Link) -> None:
        """Read the states that earlier write transactions looked up, in one that has not made a state yet."""
        if self._wanted:
            wanted, self._wanted = self._wanted, set()
            names = [(lineage, to_text(superseders)) for lineage, superseders in wanted]
            self._table.learn(link.rows(_SQL["states_named"], *map(list, zip(*names, strict=True))))
        if self._wanted_ids:
            ids, self._wanted_ids = self._wanted_ids, set()
            self.learn(link, ids)

    def cached(self, lineage: int) -> int | None:
        """Return the id of the state that nothing supersedes, if it is cached."""
        return self._table.lasting.get((lineage, PLAIN))

    def rule(self, link: Link, settled: Lineage) -> Rule:
        """Return the rule by which a write transaction chooses states."""
        if not self._contests:  # the fence is never lowered
            fence = link.one(_MIN_WRITER)[1]
            self._contests = (UNFENCED if fence is None else int(fence)) >= CONTESTED_SINCE
        return Rule(settled, self._contests)

    def plain(self, link: Link, lineage: int, rule: Rule) -> int:
        """Return the id of the state that nothing supersedes, in a write transaction that may still fail."""
        return self._lasting(link, (lineage, PLAIN), rule)

    def intern(self, link: Link, lineage: int, above: Above, rule: Rule) -> int:
        """Return the id of a state, in a write transaction that may still fail."""
        if above is None:
            return self._lasting(link, (lineage, CONTESTED), rule)
        superseders = tuple(sorted(self._interner.intern(link, members) for members in above))
        if is_lasting(superseders):
            return self._lasting(link, (lineage, superseders), rule)
        if not rule.contests:
            return self._dense(link, lineage, superseders)
        found = link.row(_SQL["state_intern"], lineage, to_text(superseders), STATES_MAX)
        if found is None or found[1]:  # no room, or retired, or another transaction makes it
            return self._lasting(link, (lineage, CONTESTED), rule)
        return int(found[0])

    def _lasting(self, link: Link, state: State, rule: Rule) -> int:
        cached = self._table.lasting.get(state)
        if cached is not None:
            return cached
        self._wanted.add(state)
        if not rule.contests:
            return self._dense(link, *state)
        fields = (state[0], to_text(state[1]))
        found = link.row(_SQL["state_intern"], *fields, None)
        return int((found or link.one(_SQL["state_find"], *fields))[0])  # another transaction has committed it

    def _dense(self, link: Link, lineage: int, superseders: Superseders) -> int:
        """Return the id of a state of a database whose ids have no holes: writers may collide."""
        fields = (lineage, to_text(superseders))
        found = link.row(_SQL["state_find"], *fields) or link.row(_SQL["state_insert_dense"], *fields)
        return int((found or link.one(_SQL["state_find"], *fields))[0])

    def of(self, link: Link, idents: Iterable[int]) -> dict[int, State]:
        """Return states by id, in a write transaction that may have made them."""
        asked = set(idents)
        found = {ident: self._table.known[ident] for ident in asked if ident in self._table.known}
        missing = asked - found.keys()
        if missing:
            self._wanted_ids |= missing
            rows = link.rows(_SQL["states_by_id"], list(missing))
            found |= {ident: (lineage, from_text(text)) for ident, lineage, text in rows}
        return found

    def above(self, link: Link, state: State) -> Above:
        """Return what supersedes the rows of a state, in a write transaction that may have made it."""
        members = self._interner.members_uncached
        return None if state[1] is None else [members(link, other) for other in state[1]]

    # ── reading ──

    def learn(self, link: Link, idents: Iterable[int]) -> Mapping[int, State]:
        """Return all known states by id: at least these, which a read transaction sees."""
        known = self._table.known
        missing = [ident for ident in idents if ident not in known]
        if missing:
            found = link.rows(_SQL["states_by_id"], missing)
            self._table.learn(found)
            states = [known[ident] for ident, *_ in found]
            self._interner.load(link, {one for lineage, above in states for one in (lineage, *(above or ()))})
        return known

    def missing(self, link: Link) -> str | None:
        """Return the newest cached lasting state if the server has another or none."""
        newest = max(((ident, state) for state, ident in list(self._table.lasting.items())), default=None)
        if newest is None:
            return None
        ident, (lineage, superseders) = newest
        found: list[Any] = link.rows(_SQL["states_by_id"], [ident])
        return None if found == [(ident, lineage, to_text(superseders))] else f"state {ident}"

    def classes(self, link: Link, view: View, idents: Iterable[int]) -> Mapping[int, RowClass]:
        """Return the classes of states in a present view, by id: at least of these."""
        key = (view.seen, view.settled)
        found = self._classes.get(key)
        if found is None:
            if len(self._classes) >= _VIEWS_CACHED:
                self._classes.clear()
            found = self._classes.setdefault(key, {})
        missing = [ident for ident in idents if ident not in found]
        known, members = self.learn(link, missing), self._interner.members
        for ident in missing:
            lineage, superseders = known[ident]
            above = None if superseders is None else [members(link, other) for other in superseders]
            found[ident] = classify(view, members(link, lineage), above)
        return found

    def standing(self, link: Link, view: View, space: int) -> Standing:
        """Return the states of a space's heads whose rows are, or may be, head in a present view."""
        present = [row[0] for row in link.rows(_SQL["states_of_heads"], space)]
        classes, known = self.classes(link, view, present), self._table.known

        def of(row_class: RowClass) -> dict[int, int]:
            return {ident: known[ident][0] for ident in present if classes[ident] is row_class}

        hidden = (known[ident] for ident in present if classes[ident] is RowClass.HIDDEN)
        return Standing(of(RowClass.HEAD), of(RowClass.CONTESTED) if any(map(is_newest, hidden)) else {})
