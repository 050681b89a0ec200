"""Changes of the tables of heads and counters that go with an append."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Cursor, Link
from kedge.backends.postgres.sql import queries
from kedge.backends.postgres.states import States
from kedge.model.lineage import Lineage
from kedge.model.states import Above, Entry, Rule, is_dead, restated
from kedge.model.writes import Key, Row

_SQL = queries("journal")
Place = tuple[int, str]  # the id of a space, a name
Heads = dict[Place, dict[int, "HeadRow"]]  # by lineage


class HeadRow(msgspec.Struct, gc=False):
    """A head of a key: the newest write of one lineage."""

    lineage: int
    rank: int
    seq: int
    deleted: bool
    state: int


class Changes(NamedTuple):
    """The heads that a batch puts, new or changed, and those that it drops, as (space, name, lineage)."""

    puts: list[tuple[int, str, HeadRow]]
    drops: list[tuple[int, str, int]]


class HeadWriter:
    """Computes the changes of the heads."""

    def __init__(self, interner: Interner, states: States) -> None:
        self._interner = interner
        self._states = states

    def ask(self, link: Link, places: Iterable[Place]) -> list[tuple[int, Cursor]]:
        """Send the query for the heads at these keys, whose lanes the transaction holds."""
        names: dict[int, list[str]] = {}
        for space, name in places:
            names.setdefault(space, []).append(name)
        return [(space, link.send(_SQL["heads_at"], space, asked)) for space, asked in names.items()]

    def found(self, asked: list[tuple[int, Cursor]]) -> Heads:
        """Return the heads of a query sent by `ask`."""
        heads: Heads = {}
        for space, cursor in asked:
            for name, lineage, *rest in cursor.fetchall():
                heads.setdefault((space, name), {})[lineage] = HeadRow(lineage, *rest)
        return heads

    def changes(self, link: Link, rows: Sequence[Row], before: Heads, settled: Lineage) -> Changes:
        """Return the changes that these rows make to the heads."""
        puts: list[tuple[int, str, HeadRow]] = []
        drops: list[tuple[int, str, int]] = []
        rule = self._states.rule(link, settled)
        plain = {lineage: self._states.plain(link, lineage, rule) for lineage in {row.lineage for row in rows}}
        by_place: dict[Place, list[Row]] = {}
        for row in rows:
            if row.is_new:
                puts.append((row.space, row.key.name, _as_head(row, plain[row.lineage])))
            else:
                by_place.setdefault((row.space, row.key.name), []).append(row)
        contested = [head for place in by_place for head in before.get(place, {}).values() if len(before[place]) > 1]
        restating = _Restating(link, self._interner, self._states, rule, contested)
        for place, added in by_place.items():
            there = before.get(place, {})
            now = dict(there)
            for row in added:
                old = now.get(row.lineage)
                if old is None or (row.rank, row.seq) > (old.rank, old.seq):
                    now[row.lineage] = _as_head(row, plain[row.lineage])
            dropped = restating.restate(there, now) if len(now) > 1 else set()
            drops += ((*place, lineage) for lineage in dropped & there.keys())
            puts += (
                (*place, head) for lineage, head in now.items() if lineage not in dropped and head != there.get(lineage)
            )
        return Changes(puts, drops)


class _Restating:
    """Restates the heads of the keys of one batch."""

    def __init__(self, link: Link, interner: Interner, states: States, rule: Rule, there: Iterable[HeadRow]) -> None:
        self._link = link
        self._interner = interner
        self._states = states
        self._rule = rule
        self._known = states.of(link, {head.state for head in there})
        self._made: dict[tuple[int, frozenset[Lineage] | None], int] = {}

    def restate(self, there: dict[int, HeadRow], now: dict[int, HeadRow]) -> set[int]:
        """Set the states of a key's heads in `now`, and return the lineages of heads that another one always hides."""
        members_of = partial(self._interner.members_uncached, self._link)
        entries = [
            Entry(head.rank, head.seq, lineage, head.state, head != there.get(lineage)) for lineage, head in now.items()
        ]
        entries.sort(reverse=True)
        dropped = set()
        for lineage, above in restated(entries, members_of, self._above, self._rule).items():
            if is_dead(above):
                dropped.add(lineage)
            else:
                old = now[lineage]
                now[lineage] = HeadRow(lineage, old.rank, old.seq, old.deleted, self._intern(lineage, above))
        return dropped

    def _above(self, state: int) -> Above:
        if state not in self._known:
            self._known |= self._states.of(self._link, [state])
        return self._states.above(self._link, self._known[state])

    def _intern(self, lineage: int, above: Above) -> int:
        key = (lineage, None if above is None else frozenset(above))
        if key not in self._made:
            self._made[key] = self._states.intern(self._link, lineage, above, self._rule)
        return self._made[key]


def drop_in(link: Link, drops: list[tuple[int, str, int]]) -> None:
    """Delete heads that another one hides in every view."""
    if drops:
        link.send(_SQL["heads_drop"], *map(list, zip(*drops, strict=True)))


def counter_columns(rows: Sequence[Row]) -> tuple[list[int], ...]:
    """Return the additions to the counters as columns: spaces, lineages, puts, deletes."""
    puts: Counter[tuple[int, int]] = Counter()
    deletes: Counter[tuple[int, int]] = Counter()
    for row in rows:
        (deletes if row.deleted else puts)[row.space, row.lineage] += 1
    places = sorted(puts.keys() | deletes.keys())
    return (
        [space for space, _ in places],
        [lineage for _, lineage in places],
        [puts[place] for place in places],
        [deletes[place] for place in places],
    )


def _as_head(row: Row, state: int) -> HeadRow:
    return HeadRow(row.lineage, row.rank, row.seq, row.deleted, state)


def head_columns(puts: list[tuple[int, str, HeadRow]]) -> tuple[list[object], ...]:
    """Return the columns of heads."""
    heads = [head for _, _, head in puts]
    return (
        [space for space, _, _ in puts],
        [name for _, name, _ in puts],
        [head.lineage for head in heads],
        [head.rank for head in heads],
        [head.seq for head in heads],
        [head.deleted for head in heads],
        [head.state for head in heads],
    )


def key_columns(keys: Sequence[Key]) -> tuple[list[str], ...]:
    """Return the stores, spaces and names of keys: three parameters of one statement."""
    return [key.store for key in keys], [key.space for key in keys], [key.name for key in keys]
