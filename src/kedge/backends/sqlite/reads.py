"""Reads of heads, ranges and histories, whose cost does not grow with what the view hides."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import NamedTuple

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.sql import queries
from kedge.backends.sqlite.states import States
from kedge.model import control_log
from kedge.model import heads as rules
from kedge.model.heads import Members, Range, decode_head
from kedge.model.lineage import Lineage
from kedge.model.ranges import Span, as_span
from kedge.model.session_copy import Kept, kept_of
from kedge.model.visibility import SEQ_MAX, View
from kedge.model.writes import Head, Key

_SQL = queries("journal")
_HEAD = _SQL["head"]
_BARE = {name: sql.replace("w.payload", "NULL") for name, sql in _SQL.items()}  # without payloads
_RISING = {name: sql.replace(" DESC", "") for name, sql in _SQL.items()}
_CHUNK_NAMES = 5_000
_SPACES_CACHED = 1_000
_AFTER_ALL_TEXT = b""  # SQLite sorts any blob after every text


def check_epoch(connection: sqlite3.Connection, epoch: int) -> None:
    """Raise `EpochMoved` unless the control record is at this epoch."""
    control_log.check_epoch(connection.execute(_SQL["epoch"]).fetchone()[0], epoch)


def _bounds(span: Span) -> tuple[str, str | bytes]:
    return span.low, _AFTER_ALL_TEXT if span.high is None else span.high


def _ordered(name: str, span: Span) -> str:
    """Return a statement that reads names in falling order, or the one that reads them in order."""
    return _SQL[name] if span.reverse else _RISING[name]


class _Standing(NamedTuple):
    """The states, with their lineages, of a space's heads that are head in a view, and of those that may be.

    `visible`: the lineages of the space that the view sees, as JSON. `listed`: the states of `heads`, as JSON.
    """

    heads: Mapping[int, int]
    contested: Mapping[int, int]
    visible: str
    listed: str


class _Seen(NamedTuple):
    """The lineages of a space that a view sees, of `total` that there are, as JSON too.

    `has_settled`: whether one of the space's lineages has settled members.
    """

    total: int
    lineages: list[int]
    listed: str
    is_all: bool
    has_settled: bool


def _chunks(names: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(names), _CHUNK_NAMES):
        yield json.dumps(names[start : start + _CHUNK_NAMES], ensure_ascii=False)


def _listed(states: Iterable[int]) -> str:
    return json.dumps(list(states))


class Reader:
    """The read half of the journal."""

    def __init__(self, database: Database, interner: Interner, states: States) -> None:
        self._database = database
        self._interner = interner
        self._states = states
        self.members = interner.members
        self._seen: dict[tuple[Lineage, Lineage, int], _Seen] = {}
        self._plain: dict[int, tuple[int, _Standing]] = {}  # of views that see all lineages of a space

    # ── one key ──

    def head(self, view: View, key: Key) -> Head | None:
        """Return the newest visible write at a key, a delete included, with its payload."""
        if view.bounds(key.store) is not None:
            with self._database.reading() as connection:
                if view.upto is None:
                    check_epoch(connection, view.epoch)
                return self.head_in(connection, view, key)
        with self._database.connection() as connection:
            space = self._interner.space(connection, key.store, key.space)
            rows = connection.execute(_HEAD, (space, key.name)).fetchall()
            control_log.check_epoch(rows[0][0], view.epoch)
            if rows[0][1] is None:
                return None
            return rules.choose(key, [row[1:] for row in rows], view, self._members(connection))

    def head_in(self, connection: sqlite3.Connection, view: View, key: Key, *, payloads: bool = True) -> Head | None:
        """Return a head inside the caller's transaction, which has checked the epoch."""
        sqls = _SQL if payloads else _BARE
        space = self._interner.space(connection, key.store, key.space)
        if space is None:
            return None
        bounds = view.bounds(key.store)
        if bounds is None:
            rows = [row[1:] for row in connection.execute(sqls["head"], (space, key.name)) if row[1] is not None]
        else:
            lineages = [row[0] for row in connection.execute(_SQL["past_lineages"], (space, key.name))]
            rows = [
                row[1:]
                for lineage in self._visible(connection, view, lineages)
                for row in connection.execute(sqls["past_head"], (space, key.name, lineage, *bounds))
            ]
        return rules.choose(key, rows, view, self._members(connection))

    def _members(self, connection: sqlite3.Connection) -> Members:
        return partial(self._interner.members, connection)

    def _visible(self, connection: sqlite3.Connection, view: View, lineages: Iterable[int]) -> list[int]:
        return [lineage for lineage in lineages if view.sees(self._interner.members(connection, lineage))]

    # ── many keys ──

    def heads(self, view: View, store: str, space: str, names: Sequence[str]) -> dict[str, Head]:
        """Return the heads of several names, deletes included, with payloads."""
        with self._database.reading() as connection:
            if view.upto is None:
                check_epoch(connection, view.epoch)
            return self.heads_in(connection, view, store, space, names)

    def heads_in(
        self,
        connection: sqlite3.Connection,
        view: View,
        store: str,
        space: str,
        names: Sequence[str],
        *,
        payloads: bool = True,
    ) -> dict[str, Head]:
        """Return heads inside the caller's transaction, which has checked the epoch."""
        if view.bounds(store) is not None:
            found = {name: self.head_in(connection, view, Key(store, space, name), payloads=payloads) for name in names}
            return {name: head for name, head in found.items() if head is not None}
        space_id = self._interner.space(connection, store, space)
        if space_id is None:
            return {}
        sqls, members = _SQL if payloads else _BARE, self._members(connection)
        heads: dict[str, Head] = {}
        hidden: list[str] = []  # names whose newest head the view does not see
        for chunk in _chunks(names):
            for row in connection.execute(sqls["newest_heads"], (space_id, chunk)):
                if view.sees(members(row[1])):
                    heads[row[0]] = decode_head(Key(store, space, row[0]), row[1:], members)
                else:
                    hidden.append(row[0])
        for chunk in _chunks(hidden):
            there = connection.execute(_SQL["lineages_at"], (space_id, chunk)).fetchall()
            self._interner.load(connection, {lineage for _, lineage in there})
            chosen = rules.first_visible(there, view, members)
            rows = connection.execute(sqls["heads"], (space_id, json.dumps(chosen, ensure_ascii=False)))
            heads |= {row[0]: decode_head(Key(store, space, row[0]), row[1:], members) for row in rows}
        return heads

    def _seen_in(self, connection: sqlite3.Connection, view: View, space_id: int) -> "_Seen":
        """Return the lineages of a space's writes that a present view sees."""
        (total,) = connection.execute(_SQL["count_lineages"], (space_id,)).fetchone()
        key = (view.seen, view.settled, space_id)
        seen = self._seen.get(key)
        if seen is None or seen.total != total:  # a space keeps its lineages, and gains some
            lineages = [row[0] for row in connection.execute(_SQL["space_lineages"], (space_id,))]
            self._interner.load(connection, lineages)
            visible = self._visible(connection, view, lineages)
            has_settled = any(not self.members(connection, each).isdisjoint(view.settled) for each in lineages)
            seen = _Seen(total, visible, json.dumps(visible), len(visible) == total, has_settled)
            if len(self._seen) >= _SPACES_CACHED:
                self._seen.clear()
            self._seen[key] = seen
        return seen

    def sees_all(self, connection: sqlite3.Connection, view: View, store: str, space: str) -> bool:
        """Return whether a present view sees all lineages of a space's writes, none of them with settled members."""
        space_id = self._interner.space(connection, store, space)
        if space_id is None:
            return True
        seen = self._seen_in(connection, view, space_id)
        return seen.is_all and not seen.has_settled

    # ── ranges ──

    def range(self, view: View, store: str, space: str, names: Span | str = "", *, payloads: bool = True) -> Range:
        """Return the heads of a range, or of all names that begin with a prefix."""
        with self._database.reading() as connection:
            if view.upto is None:
                check_epoch(connection, view.epoch)
            return self.range_in(connection, view, store, space, as_span(names), payloads=payloads)

    def range_in(
        self,
        connection: sqlite3.Connection,
        view: View,
        store: str,
        space: str,
        span: Span,
        *,
        payloads: bool = True,
    ) -> Range:
        """Return a range inside the caller's transaction, which has checked the epoch."""
        at_seq = self.last_seq(connection)
        space_id = self._interner.space(connection, store, space)
        if space_id is None or span.limit == 0:
            return Range([], frozenset(), at_seq)
        if (bounds := view.bounds(store)) is not None:
            return self._past_range(
                connection, view, Key(store, space, ""), span, min(at_seq, bounds[0]), payloads=payloads
            )
        standing = self._standing(connection, view, space_id)
        if span.limit is not None:
            names = self._first_names(connection, space_id, standing, span)
            found = self.heads_in(connection, view, store, space, names, payloads=payloads)
            heads, span = [found[name] for name in names], span.covered(names)
        else:
            sqls, members = _SQL if payloads else _BARE, self._members(connection)
            rows = connection.execute(sqls["heads_in_states"], (space_id, standing.listed, *_bounds(span))).fetchall()
            if standing.contested:
                asked = (space_id, _listed(standing.contested), *_bounds(span), standing.visible)
                rows += connection.execute(sqls["contested_heads"], asked)
            rows.sort(key=itemgetter(0), reverse=span.reverse)
            heads = [decode_head(Key(store, space, row[0]), row[1:], members) for row in rows]
        return Range(heads, self._tombstones(connection, view, space_id, standing, _bounds(span)), at_seq)

    def _first_names(
        self, connection: sqlite3.Connection, space_id: int, standing: "_Standing", span: Span
    ) -> list[str]:
        """Return the names of a limited range that have a value, in its order: one cursor a state, merged."""
        asked = (*_bounds(span), span.limit)
        sql, contested = _ordered("names_in_state", span), _ordered("contested_names", span)
        names = [row[0] for state in standing.heads for row in connection.execute(sql, (space_id, state, *asked))]
        for state in standing.contested:
            rows = connection.execute(contested, (space_id, state, *asked, standing.visible))
            names += (row[0] for row in rows)
        return sorted(names, reverse=span.reverse)[: span.limit]

    def _past_range(
        self, connection: sqlite3.Connection, view: View, place: Key, span: Span, at_seq: int, *, payloads: bool = True
    ) -> Range:
        """Read a range name by name: the cost grows with what is hidden there."""
        space_id = self._interner.space(connection, place.store, place.space)

        def names_in(span: Span, most: int) -> list[str]:
            sql = _SQL["past_names_before" if span.reverse else "past_names"]
            return [row[0] for row in connection.execute(sql, (space_id, *_bounds(span), most))]

        def heads_of(names: Sequence[str]) -> dict[str, Head]:
            return self.heads_in(connection, view, place.store, place.space, names, payloads=payloads)

        if span.limit is not None:
            return rules.first_values(span, at_seq, names_in, heads_of)
        names = names_in(span, -1)
        return rules.range_of(names, heads_of(names), at_seq)

    def _standing(self, connection: sqlite3.Connection, view: View, space_id: int) -> "_Standing":
        """Return the states of a space's heads that decide a present view."""
        seen = self._seen_in(connection, view, space_id)
        if not seen.is_all:
            heads, contested = self._states.standing(connection, view, space_id)
            return _Standing(heads, contested, seen.listed, _listed(heads))
        plain = self._plain.get(space_id)  # all that is superseded is so by what the view sees
        if plain is None or plain[0] != seen.total:
            states = self._states.plain_of(connection, seen.lineages)
            plain = seen.total, _Standing(states, {}, seen.listed, _listed(states))
            if len(self._plain) >= _SPACES_CACHED:
                self._plain.clear()
            self._plain[space_id] = plain
        return plain[1]

    def last_seq(self, connection: sqlite3.Connection) -> int:
        """Return the greatest seq that a transaction sees."""
        written, _, controlled, _ = connection.execute(_SQL["position"]).fetchone()
        return max(written or 0, controlled or 0)

    def _tombstones(
        self,
        connection: sqlite3.Connection,
        view: View,
        space_id: int,
        standing: "_Standing",
        names: tuple[str, str | bytes],
    ) -> frozenset[Lineage]:
        """Return the revocable lineages of visible deletes that are heads in a range of names."""
        deleting = {row[0] for row in connection.execute(_SQL["deleting_lineages"], (space_id,))}
        if not deleting:
            return frozenset()

        def revocable(states: Mapping[int, int]) -> str:
            members = self._members(connection)
            some = {state: lineage for state, lineage in states.items() if lineage in deleting}
            return json.dumps([pair for pair in some.items() if not members(pair[1]) <= view.settled])

        asked = (space_id, revocable(standing.heads), *names)
        found = connection.execute(_SQL["lineages_of_deletes"], asked).fetchall()
        if standing.contested:
            more = (space_id, revocable(standing.contested), *names, standing.visible)
            found += connection.execute(_SQL["lineages_of_contested_deletes"], more)
        return frozenset(self._interner.members(connection, lineage) for (lineage,) in found)

    def tombstones_in(self, connection: sqlite3.Connection, view: View, store: str, space: str) -> frozenset[Lineage]:
        """Return the revocable lineages of visible deletes that are heads in a space."""
        space_id = self._interner.space(connection, store, space)
        if space_id is None or view.upto is not None:
            return frozenset()
        standing = self._standing(connection, view, space_id)
        return self._tombstones(connection, view, space_id, standing, ("", _AFTER_ALL_TEXT))

    def contents(self, view: View, seqs: Sequence[int]) -> list[tuple[str, bytes | None]]:
        """Return (name, payload) of these writes, which the caller knows to be visible."""
        with self._database.reading() as connection:
            if view.upto is None:
                check_epoch(connection, view.epoch)
            return connection.execute(_SQL["contents"], (json.dumps(seqs),)).fetchall()

    # ── histories ──

    def history(self, view: View, space: str, limit: int | None) -> Range:
        """Return the newest `limit` memory heads of a session, oldest first."""
        with self._database.reading() as connection:
            if view.upto is None:
                check_epoch(connection, view.epoch)
            found = self.range_in(connection, view, "memory", space, rules.newest_messages(view, limit))
            return rules.oldest_first(found, limit)

    def newest_message_in(self, connection: sqlite3.Connection, view: View, space: str) -> int:
        """Return the seq of the newest visible message of a session, or 0, inside the caller's transaction."""
        if self._interner.space(connection, "memory", space) is None:
            return 0
        found = self._past_range(connection, view, Key("memory", space, ""), rules.newest_messages(view, 1), 0).heads
        return found[0].seq if found else 0

    def retracted(
        self, view: View, space: str, low: str, was_seen: Callable[[Lineage], bool]
    ) -> list[tuple[str, str, int]]:
        """Return (name, role, seq) of the seen messages from `low` on that a delete or a rollback has removed."""
        with self._database.reading() as connection:
            if view.upto is None:
                check_epoch(connection, view.epoch)
            space_id = self._interner.space(connection, "memory", space)
            bounds = view.bounds("memory") or (SEQ_MAX, SEQ_MAX)
            rows = connection.execute(_SQL["messages_from"], (space_id, low, *bounds)).fetchall()
            seen = rules.seen_messages(rows, self._members(connection), was_seen)
            heads = self.heads_in(connection, view, "memory", space, list(seen), payloads=False)
            return rules.retracted(seen, heads)

    def stores(self) -> list[str]:
        """Return the names of the stores that anything was ever written to, in order."""
        with self._database.connection() as connection:
            return [row[0] for row in connection.execute(_SQL["stores"])]

    def writes_of_session(self, session: str) -> list[Kept]:
        """Return all writes to a session's memory and to the spaces of keyed stores that are named after it."""
        with self._database.reading() as connection:
            members = self._members(connection)
            return [
                kept_of(Key(store, session, row[0]), row, members)
                for space, store in connection.execute(_SQL["stores_of_session"], (session,)).fetchall()
                for row in connection.execute(_SQL["writes_of_space"], (space,)).fetchall()
            ]

    def spaces(self, store: str) -> list[str]:
        """Return the names of a store's spaces."""
        with self._database.connection() as connection:
            return [row[0] for row in connection.execute(_SQL["spaces_of"], (store,))]
