"""Reads of heads, ranges and histories, whose cost does not grow with what the view hides."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from kedge.backends.postgres.database import Database
from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Cursor, Link
from kedge.backends.postgres.sql import queries
from kedge.backends.postgres.states import States
from kedge.model import control_log
from kedge.model import heads as rules
from kedge.model.heads import Members, Range, decode_head
from kedge.model.lineage import Lineage
from kedge.model.names import NAME_BYTES_MAX
from kedge.model.ranges import Span, as_span
from kedge.model.session_copy import Kept, kept_of
from kedge.model.visibility import SEQ_MAX, View
from kedge.model.writes import Head, Key

_SQL = queries("journal")
_BARE = {name: sql.replace(b"w.payload", b"NULL") for name, sql in _SQL.items()}  # without payloads
_RISING = {name: sql.replace(b" DESC", b"") for name, sql in _SQL.items()}
_AFTER_ALL_NAMES = "\U0010ffff" * (NAME_BYTES_MAX // 4 + 1)
_ALL_NAMES = ("", _AFTER_ALL_NAMES)


def _bounds(span: Span) -> tuple[str, str]:
    return span.low, _AFTER_ALL_NAMES if span.high is None else span.high


def _ordered(name: str, span: Span) -> bytes:
    """Return a statement that reads names in falling order, or the one that reads them in order."""
    return _SQL[name] if span.reverse else _RISING[name]


def check_epoch(asked: Cursor, view: View) -> None:
    """Raise `EpochMoved` unless the control record is at the epoch of a present view."""
    if view.upto is None:
        control_log.check_epoch(asked.fetchall()[0][0], view.epoch)


class _Standing(NamedTuple):
    """The states, with their lineages, of a space's heads that are head in a view, and of those that may be.

    `visible`: the lineages that the view sees, where there are contested states.
    """

    heads: Mapping[int, int]
    contested: Mapping[int, int]
    visible: list[int]


class Reader:
    """The read half of the journal."""

    def __init__(self, database: Database, interner: Interner, states: States) -> None:
        self._database = database
        self._interner = interner
        self._states = states

    def _enter(self, link: Link, view: View, store: str, space: str) -> None:
        """Begin a read; it raises `EpochMoved` after a change of the control record."""
        epoch = link.send(_SQL["epoch"])
        self._interner.space(link, store, space)
        check_epoch(epoch, view)

    # ── one key ──

    def head(self, view: View, key: Key) -> Head | None:
        """Return the newest visible write at a key, a delete included, with its payload."""

        def look(link: Link) -> Head | None:
            self._enter(link, view, key.store, key.space)
            return self.head_in(link, view, key)

        space = self._interner.cached_space(key.store, key.space)
        if space is None or view.bounds(key.store) is not None:
            return self._database.read(look)
        rows = self._database.ask(_SQL["head"], space, key.name)
        control_log.check_epoch(rows[0][0], view.epoch)
        if rows[0][1] is None:
            return None
        if all(self._interner.is_cached(row[1]) for row in rows):
            return self.choose(None, view, key, [row[1:] for row in rows])
        return self._database.read(look)

    def head_in(self, link: Link, view: View, key: Key, *, payloads: bool = True) -> Head | None:
        """Return a head inside the caller's transaction, which has checked the epoch."""
        sqls = _SQL if payloads else _BARE
        space = self._interner.space_uncached(link, key.store, key.space)
        if space is None:
            return None
        bounds = view.bounds(key.store)
        if bounds is None:
            rows = [row[1:] for row in link.rows(sqls["head"], space, key.name) if row[1] is not None]
        else:
            lineages = [row[0] for row in link.rows(_SQL["past_lineages"], space, key.name)]
            rows = link.rows(sqls["past_head"], space, key.name, self._visible(link, view, lineages), *bounds)
        return self.choose(link, view, key, rows)

    def choose(self, link: Link | None, view: View, key: Key, rows: Iterable[Any]) -> Head | None:
        """Return the newest of a key's heads that a view sees, given their rows."""
        return rules.choose(key, rows, view, self._members(link))

    def _members(self, link: Link | None) -> Members:
        return partial(self._interner.members, link)

    def _visible(self, link: Link, view: View, lineages: list[int]) -> list[int]:
        self._interner.load(link, lineages)
        return [lineage for lineage in lineages if view.sees(self._interner.members(link, lineage))]

    # ── many keys ──

    def heads(self, view: View, store: str, space: str, names: Sequence[str]) -> dict[str, Head]:
        """Return the heads of several names, deletes included, with payloads."""

        def look(link: Link) -> dict[str, Head]:
            self._enter(link, view, store, space)
            return self.heads_in(link, view, store, space, names)

        return self._database.read(look)

    def heads_in(
        self, link: Link, view: View, store: str, space: str, names: Sequence[str], *, payloads: bool = True
    ) -> dict[str, Head]:
        """Return heads inside the caller's transaction, which has checked the epoch."""
        if view.bounds(store) is not None:
            found = {name: self.head_in(link, view, Key(store, space, name), payloads=payloads) for name in names}
            return {name: head for name, head in found.items() if head is not None}
        space_id = self._interner.space_uncached(link, store, space)
        if space_id is None:
            return {}
        sqls, members = _SQL if payloads else _BARE, self._members(link)
        rows = link.rows(sqls["newest_heads"], space_id, list(names))
        self._interner.load(link, {row[1] for row in rows})
        hidden = [row[0] for row in rows if not view.sees(members(row[1]))]
        if hidden:
            there = link.rows(_SQL["lineages_of"], space_id, hidden)
            self._interner.load(link, {lineage for _, lineage in there})
            chosen = rules.first_visible(((name, lineage) for name, lineage in there), view, members)
            rows = [row for row in rows if view.sees(members(row[1]))]
            if chosen:
                rows += link.rows(sqls["heads"], space_id, *map(list, zip(*chosen, strict=True)))
        return {row[0]: decode_head(Key(store, space, row[0]), row[1:], members) for row in rows}

    def lineages_at(self, link: Link, space_id: int, names: list[str]) -> list[int]:
        """Return the lineages that have heads at these names."""
        return [row[0] for row in link.rows(_SQL["lineages_at"], space_id, names)]

    def lineages_in(self, link: Link, view: View, store: str, space: str) -> list[int]:
        """Return the lineages of a space's writes that a view sees."""
        space_id = self._interner.space_uncached(link, store, space)
        return [] if space_id is None else self.visible_in(link, view, space_id)

    # ── ranges ──

    def range(self, view: View, store: str, space: str, names: Span | str = "", *, payloads: bool = True) -> Range:
        """Return the heads of a range, or of all names that begin with a prefix."""

        def look(link: Link) -> Range:
            self._enter(link, view, store, space)
            return self.range_in(link, view, store, space, as_span(names), payloads=payloads)

        return self._database.read(look)

    def range_in(self, link: Link, view: View, store: str, space: str, span: Span, *, payloads: bool = True) -> Range:
        """Return a range inside the caller's transaction, which has checked the epoch."""
        at_seq = self.last_seq(link)
        space_id = self._interner.space_uncached(link, store, space)
        if space_id is None or span.limit == 0:
            return Range([], frozenset(), at_seq)
        if (bounds := view.bounds(store)) is not None:
            return self._past_range(link, view, Key(store, space, ""), span, min(at_seq, bounds[0]), payloads=payloads)
        standing = self._standing(link, view, space_id)
        if span.limit is not None:
            names = self._first_names(link, space_id, standing, span)
            found = self.heads_in(link, view, store, space, names, payloads=payloads)
            heads, span = [found[name] for name in names], span.covered(names)
        else:
            sqls, members = _SQL if payloads else _BARE, self._members(link)
            rows = link.rows(sqls["range"], space_id, list(standing.heads), *_bounds(span))
            if standing.contested:
                asked = (space_id, list(standing.contested), *_bounds(span), standing.visible)
                rows += link.rows(sqls["contested_range"], *asked)
            heads = [decode_head(Key(store, space, row[0]), row[1:], members) for row in rows]
            heads.sort(key=lambda head: head.key.name, reverse=span.reverse)
        return Range(heads, self._tombstones(link, view, space_id, standing, _bounds(span)), at_seq)

    def _first_names(self, link: Link, space_id: int, standing: "_Standing", span: Span) -> list[str]:
        """Return the names of a limited range that have a value, in its order: one index scan a state."""
        asked = (*_bounds(span), span.limit)
        found = link.rows(_ordered("first_names", span), space_id, list(standing.heads), *asked)
        if standing.contested:
            sql = _ordered("first_contested_names", span)
            found += link.rows(sql, space_id, list(standing.contested), *asked, standing.visible)
        return sorted((row[0] for row in found), reverse=span.reverse)[: span.limit]

    def _past_range(
        self, link: Link, view: View, place: Key, span: Span, at_seq: int, *, payloads: bool = True
    ) -> Range:
        """Read a range name by name: the cost grows with what is hidden there."""
        space_id = self._interner.space_uncached(link, place.store, place.space)

        def names_in(span: Span, most: int | None) -> list[str]:
            sql = _SQL["past_names_before" if span.reverse else "past_names"]
            return [row[0] for row in link.rows(sql, space_id, *_bounds(span), most)]

        def heads_of(names: Sequence[str]) -> dict[str, Head]:
            return self.heads_in(link, view, place.store, place.space, names, payloads=payloads)

        if span.limit is not None:
            return rules.first_values(span, at_seq, names_in, heads_of)
        names = names_in(span, None)
        return rules.range_of(names, heads_of(names), at_seq)

    def _standing(self, link: Link, view: View, space_id: int) -> "_Standing":
        """Return the states of a space's heads that decide a present view."""
        heads, contested = self._states.standing(link, view, space_id)
        return _Standing(heads, contested, self.visible_in(link, view, space_id) if contested else [])

    def visible_in(self, link: Link, view: View, space_id: int) -> list[int]:
        """Return the lineages of a space's writes that a view sees."""
        return self._visible(link, view, [row[0] for row in link.rows(_SQL["space_lineages"], space_id)])

    def last_seq(self, link: Link) -> int:
        """Return the greatest seq that a transaction sees; earlier ones may still be in flight."""
        return int(link.one(_SQL["last_seq"])[0])

    def _tombstones(
        self, link: Link, view: View, space_id: int, standing: "_Standing", names: tuple[str, str]
    ) -> frozenset[Lineage]:
        """Return the revocable lineages of visible deletes that are heads in a range of names."""

        def revocable(states: Mapping[int, int]) -> dict[int, Lineage]:
            members = {state: self._interner.members(link, lineage) for state, lineage in states.items()}
            return {state: lineage for state, lineage in members.items() if not lineage <= view.settled}

        heads, contested = revocable(standing.heads), revocable(standing.contested)
        found = link.rows(_SQL["states_with_deletes"], space_id, list(heads), *names) if heads else []
        if contested:
            asked = (space_id, list(contested), *names, standing.visible)
            found += link.rows(_SQL["states_with_contested_deletes"], *asked)
        return frozenset((heads | contested)[state] for (state,) in found)

    def tombstones_in(self, link: Link, view: View, store: str, space: str) -> frozenset[Lineage]:
        """Return the revocable lineages of visible deletes that are heads in a space."""
        space_id = self._interner.space_uncached(link, store, space)
        if space_id is None or view.upto is not None:
            return frozenset()
        return self._tombstones(link, view, space_id, self._standing(link, view, space_id), _ALL_NAMES)

    def contents(self, view: View, seqs: Sequence[int]) -> list[tuple[str, bytes | None]]:
        """Return (name, payload) of these writes, which the caller knows to be visible."""

        def look(link: Link) -> list[tuple[str, bytes | None]]:
            epoch = link.send(_SQL["epoch"])
            found = link.rows(_SQL["contents"], list(seqs))
            check_epoch(epoch, view)
            return [(name, payload) for name, payload in found]

        return self._database.read(look)

    # ── histories ──

    def history(self, view: View, space: str, limit: int | None) -> Range:
        """Return the newest `limit` memory heads of a session, oldest first."""

        def look(link: Link) -> Range:
            self._enter(link, view, "memory", space)
            found = self.range_in(link, view, "memory", space, rules.newest_messages(view, limit))
            return rules.oldest_first(found, limit)

        return self._database.read(look)

    def newest_message_in(self, link: Link, view: View, space: str) -> int:
        """Return the seq of the newest visible message of a session, or 0, inside the caller's transaction."""
        if self._interner.space_uncached(link, "memory", space) is None:
            return 0
        found = self._past_range(link, view, Key("memory", space, ""), rules.newest_messages(view, 1), 0).heads
        return found[0].seq if found else 0

    def retracted(
        self, view: View, space: str, low: str, was_seen: Callable[[Lineage], bool]
    ) -> list[tuple[str, str, int]]:
        """Return (name, role, seq) of the seen messages from `low` on that a delete or a rollback has removed."""

        def look(link: Link) -> list[tuple[str, str, int]]:
            self._enter(link, view, "memory", space)
            space_id = self._interner.space_uncached(link, "memory", space)
            bounds = view.bounds("memory") or (SEQ_MAX, SEQ_MAX)
            rows = link.rows(_SQL["messages_from"], space_id, low, *bounds)
            seen = rules.seen_messages(rows, self._members(link), was_seen)
            heads = self.heads_in(link, view, "memory", space, list(seen), payloads=False)
            return rules.retracted(seen, heads)

        return self._database.read(look)

    def stores(self) -> list[str]:
        """Return the names of the stores that anything was ever written to, in order."""
        return [row[0] for row in self._database.ask(_SQL["stores"])]

    def writes_of_session(self, session: str) -> list[Kept]:
        """Return all writes to a session's memory and to the spaces of keyed stores that are named after it."""

        def look(link: Link) -> list[Kept]:
            members = self._members(link)
            return [
                kept_of(Key(store, session, row[0]), row, members)
                for space, store in link.rows(_SQL["stores_of_session"], session)
                for row in link.rows(_SQL["writes_of_space"], space)
            ]

        return self._database.read(look)

    def spaces(self, store: str) -> list[str]:
        """Return the names of a store's spaces."""
        return [row[0] for row in self._database.ask(_SQL["spaces_of"], store)]
