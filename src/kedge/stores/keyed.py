"""Keyed values in one space of a store: the shared context, documents, and stores of users' own."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from kedge.errors import ExpectationFailed, InvalidValue
from kedge.model.checks import check_name, check_names, check_seconds
from kedge.model.choices import OriginName
from kedge.model.codec import decode_with, encode_with
from kedge.model.lineage import EMPTY
from kedge.model.numbers import as_integer
from kedge.model.ranges import Span, below, span_of
from kedge.model.reads import RangeRead
from kedge.model.retention import content_of
from kedge.model.stores import is_keyed_store
from kedge.model.writes import LARGE_BYTES_MAX, NO_SEQ, Head, Key, Origin, Pending
from kedge.ports.journal import HeadMoved
from kedge.stores.scope import Scope, WritingScope, only
from kedge.support.display import Value, brief

_PAGE = 100  # names read at once to pass over expired ones


class Entry(Value, frozen=True):
    """One value with its metadata. `lineage` holds deployment names; `stale`: older than its freshness budget.

    `at` is when it was written; `expires_at`, in a store of your own, when it counts as absent, if ever.
    """

    key: str
    value: Any
    seq: int
    lineage: frozenset[str]
    at: float
    stale: bool
    origin: Origin
    fresh_for: float | None = None
    expires_at: float | None = None

    @property
    def created_at(self) -> float:
        """When this value was written: its time to live counts from here."""
        return self.at


class KeyedView:
    """Values by name in one space of a store, as a view sees them.

    Ranges are in the order of names (by code point), falling with `reverse`. `prefix` limits them to names that begin
    with it, `after` to those that come after that one in this order, `limit` to so many.
    """

    def __init__(self, scope: Scope, store: str, space: str) -> None:
        self._scope = scope
        self._store = store
        self._space = space
        self._expires = is_keyed_store(store)  # else the budget of a value is for its freshness

    def __repr__(self) -> str:
        """Return one line."""
        return f"<{type(self).__name__}{f' of {brief(self._space)}' if self._space else ''}>"

    # ── one name, or several ──

    def _key(self, name: str) -> Key:
        return Key(self._store, self._space, check_name(f"the {self._store} key", name))

    def _head(self, name: str) -> Head | None:
        key = self._key(name)
        head = self._scope.read(lambda view: self._scope.backend.journal.head(view, key))
        if head is not None:
            self._scope.record_read((head,))
        return head

    def _is_present(self, head: Head) -> bool:
        """Return whether a head is a value: no delete, and not expired at the time of the view."""
        if head.deleted:
            return False
        return not self._expires or head.fresh_for is None or self._scope.view_time() < head.at + head.fresh_for

    def _present(self, name: str) -> Head | None:
        head = self._head(name)
        return head if head is not None and self._is_present(head) else None

    def _value(self, head: Head) -> Any:
        return decode_with(self._scope.codec, content_of(head.payload, head.key.name, head.seq))

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value at a name, or `default` where it is absent."""
        head = self._present(name)
        return default if head is None else self._value(head)

    def entry(self, name: str) -> Entry | None:
        """Return the value at a name with its seq, lineage, age and origin, or None where it is absent."""
        head = self._present(name)
        return None if head is None else self._entry(head)

    def get_many(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the values at these names, without those that are absent, in one read."""
        asked = list(dict.fromkeys(self._key(name).name for name in check_names("names", names)))
        journal = self._scope.backend.journal
        found = self._scope.read(lambda view: journal.heads(view, self._store, self._space, asked))
        self._scope.record_read(found.values())
        return {name: self._value(found[name]) for name in asked if name in found and self._is_present(found[name])}

    def _entry(self, head: Head) -> Entry:
        budget, ttl = (None, head.fresh_for) if self._expires else (head.fresh_for, None)
        return Entry(
            key=head.key.name,
            value=self._value(head),
            seq=head.seq,
            lineage=self._scope.names(head.lineage),
            at=head.at,
            # A time further ahead than the budget comes from a wrong clock: the age is unknown.
            stale=budget is not None and abs(self._scope.now() - head.at) > budget,
            origin=Origin.SOURCE if head.source else Origin.DERIVED,
            fresh_for=budget,
            expires_at=None if ttl is None else head.at + ttl,
        )

    # ── ranges ──

    def _range(
        self,
        prefix: str = "",
        after: str | None = None,
        limit: int | None = None,
        *,
        reverse: bool = False,
        payloads: bool = True,
    ) -> list[Head]:
        span = span_of(prefix, after, limit, reverse=reverse)
        while True:
            heads = self._read_range(span, prefix, payloads=payloads)
            found = [head for head in heads if self._is_present(head)]
            if span.limit is None or len(found) == len(heads):
                return found
            end = self._end(span)  # some have expired
            whole = Span(span.low, span.high, None, span.reverse) if end is None else span.upto(end)
            heads = self._read_range(whole, prefix, payloads=payloads)
            found = [head for head in heads if self._is_present(head)][: span.limit]
            if end is None or len(found) == span.limit:  # else one was deleted meanwhile
                return found

    def _read_range(self, span: Span, prefix: str, *, payloads: bool) -> list[Head]:
        """Read a range, expired values included; record what it covers."""
        journal = self._scope.backend.journal
        found = self._scope.read(lambda view: journal.range(view, self._store, self._space, span, payloads=payloads))
        if span.limit != 0:
            covered = span.covered([head.key.name for head in found.heads])
            lineages = {head.lineage for head in found.heads} | found.tombstones
            self._scope.record_range(range_read(Key(self._store, self._space, prefix), covered, found.at_seq), lineages)
        return found.heads

    def _end(self, span: Span) -> str | None:
        """Return the name of the last value of a limited range; None where the range ends before its limit."""
        missing, left = span.limit or 0, Span(span.low, span.high, max(_PAGE, span.limit or 0), span.reverse)
        journal = self._scope.backend.journal
        while True:
            page = self._scope.read(
                lambda view, left=left: journal.range(view, self._store, self._space, left, payloads=False)  # type: ignore[misc]
            ).heads
            for head in page:
                missing -= self._is_present(head)
                if not missing:
                    return head.key.name
            if len(page) < (left.limit or 0):
                return None
            left = left.after(page[-1].key.name)

    def keys(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> list[str]:
        """Return the names of a range that have a value."""
        return [head.key.name for head in self._range(prefix, after, limit, reverse=reverse, payloads=False)]

    def items(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> dict[str, Any]:
        """Return the values of a range by name."""
        return {head.key.name: self._value(head) for head in self._range(prefix, after, limit, reverse=reverse)}

    def entries(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> list[Entry]:
        """Return the entries of a range."""
        return [self._entry(head) for head in self._range(prefix, after, limit, reverse=reverse)]

    def count(self, prefix: str = "") -> int:
        """Return how many names that begin with `prefix` have a value."""
        return len(self._range(prefix, payloads=False))


def range_read(place: Key, covered: Span, at_seq: int) -> RangeRead:
    """Return what a read of a range has covered; the name of `place` is its prefix."""
    whole = below(place.name)
    if (covered.low, covered.high) == (whole.low, whole.high):
        return RangeRead(place.store, place.space, place.name, at_seq)
    return RangeRead(place.store, place.space, place.name, at_seq, None, covered.low, covered.high)


class Keyed(KeyedView):
    """Values by name in one space of a store, for a turn to read and write."""

    _scope: WritingScope
    _named, _by = "values", "names"
    _puts = Origin.DERIVED  # the origin of a put, where the caller states none

    def __init__(self, scope: WritingScope, store: str, space: str) -> None:
        super().__init__(scope, store, space)

    def _encode(self, name: str, value: Any) -> bytes:
        return encode_with(self._scope.codec, value, f"the value of {self._store} {brief(name)}", most=LARGE_BYTES_MAX)

    def _put(
        self,
        name: str,
        payload: bytes | None,
        *,
        expect: int | None,
        origin: OriginName | None,
        idempotency: str | None,
        seconds: float | None = None,
    ) -> int:
        """Put or delete; `seconds` is the value's freshness budget, or its time to live."""
        key = self._key(name)
        source = self._scope.is_source(origin, Origin.DERIVED if payload is None else self._puts)
        while True:
            failed: ExpectationFailed | None = None
            try:
                compared = None if expect is None else self._compare(name, expect)
            except ExpectationFailed as error:
                if not self._scope.may_repeat(idempotency):
                    raise
                compared, failed = NO_SEQ, error  # the same call may have committed earlier: the journal decides
            pending = Pending(key, payload, source, seconds, compared)
            again = None if expect is None else partial(self._compare_again, name, expect, failed)
            try:
                seq = only(self._scope.write((pending,), idempotency=idempotency, compare=again))
            except HeadMoved:
                if failed is not None:
                    raise failed from None
                continue  # a concurrent write: compare with its seq
            lasts = payload is not None and not (self._expires and seconds is not None)
            if expect is not None and lasts and idempotency is None and seq:
                self._scope.remember_head(key, seq, EMPTY if source else self._scope.stamp)
            return seq

    def _present(self, name: str) -> Head | None:
        head = super()._present(name)
        if head is not None and not (self._expires and head.fresh_for is not None):  # it may expire before the next
            self._scope.remember_head(head.key, head.seq, head.lineage)
        return head

    def _compare(self, name: str, expect: int) -> int:
        """Return the head's seq that the journal must find; a head that this turn has just read is not read again."""
        expect = as_integer("expect", expect, "the seq that entry() returned, or 0 for absent", least=0)
        if self._scope.compare_head(self._key(name), expect):
            return expect
        head = self._head(name)
        present = head.seq if head is not None and self._is_present(head) else 0
        if present != expect:
            found = f"its head is seq {present}" if present else "it is absent"
            raise ExpectationFailed(
                f"{self._store} {name!r} was expected at seq {expect}, but {found}; read it again and decide again",
                seq=present,
            )
        return 0 if head is None else head.seq

    def _compare_again(self, name: str, expect: int, failed: ExpectationFailed | None) -> int:
        """Compare once more, after a concurrent write to what a batch writes."""
        if failed is not None:
            raise failed
        return self._compare(name, expect)

    def _put_many(
        self, values: Mapping[str, Any], origin: OriginName | None, idempotency: str | None, ttl: float | None = None
    ) -> list[int]:
        if not isinstance(values, Mapping):
            raise InvalidValue(f"invalid {self._named} {brief(values)}: must be a mapping of {self._by} to values")
        source = self._scope.is_source(origin, self._puts)
        pending = [Pending(self._key(name), self._encode(name, value), source, ttl) for name, value in values.items()]
        return self._scope.write(pending, idempotency=idempotency)

    def put_many(
        self, values: Mapping[str, Any], *, origin: OriginName | None = None, idempotency: str | None = None
    ) -> list[int]:
        """Write values by name as one batch, all or none, and return their seqs."""
        return self._put_many(values, origin, idempotency)

    def delete_many(
        self, names: Iterable[str], *, origin: OriginName | None = None, idempotency: str | None = None
    ) -> list[int]:
        """Delete the values at these names as one batch, and return the seqs of the deletes. Reads nothing."""
        asked = dict.fromkeys(check_names("names", names))
        return self._delete_all([self._key(name) for name in asked], origin, idempotency)

    def delete_prefix(
        self, prefix: str, *, origin: OriginName | None = None, idempotency: str | None = None
    ) -> list[int]:
        """Delete all values whose names begin with `prefix`, as one batch: it reads that range. Return the seqs."""
        heads = self._range(check_name("the prefix", prefix), payloads=False)
        return self._delete_all([head.key for head in heads], origin, idempotency)

    def clear(self, *, origin: OriginName | None = None, idempotency: str | None = None) -> list[int]:
        """Delete all values as one batch: it reads them. Return the seqs of the deletes."""
        return self._delete_all([head.key for head in self._range(payloads=False)], origin, idempotency)

    def _delete_all(self, keys: list[Key], origin: OriginName | None, idempotency: str | None) -> list[int]:
        source = self._scope.is_source(origin, Origin.DERIVED)
        return self._scope.write([Pending(key, None, source) for key in keys], idempotency=idempotency)


class Context(Keyed):
    """The shared context: facts that agents share."""

    def put(
        self,
        key: str,
        value: Any,
        *,
        expect: int | None = None,
        fresh_for: float | None = None,
        origin: OriginName | None = None,
        idempotency: str | None = None,
    ) -> int:
        """Write a fact and return its seq.

        `expect` makes it a compare-and-set on the newest head that this turn sees (0: absent), which raises
        `ExpectationFailed`. `fresh_for` is its freshness budget in seconds.
        """
        payload, seconds = self._encode(key, value), check_seconds("fresh_for", fresh_for)
        return self._put(key, payload, expect=expect, origin=origin, idempotency=idempotency, seconds=seconds)

    def delete(
        self, key: str, *, expect: int | None = None, origin: OriginName | None = None, idempotency: str | None = None
    ) -> int:
        """Delete a fact, and return the seq of the delete; `expect` as in `put`."""
        return self._put(key, None, expect=expect, origin=origin, idempotency=idempotency)


class Documents(Keyed):
    """Documents of one collection; putting one is a source write unless `origin` says otherwise."""

    _named, _by = "documents", "ids"
    _puts = Origin.SOURCE

    def _encode(self, name: str, value: Any) -> bytes:
        return encode_with(self._scope.codec, value, f"the document {brief(name)}", most=LARGE_BYTES_MAX)

    def put(
        self,
        ident: str,
        value: Any,
        *,
        expect: int | None = None,
        origin: OriginName | None = None,
        idempotency: str | None = None,
    ) -> int:
        """Write a document and return its seq."""
        return self._put(ident, self._encode(ident, value), expect=expect, origin=origin, idempotency=idempotency)

    def delete(
        self, ident: str, *, expect: int | None = None, origin: OriginName | None = None, idempotency: str | None = None
    ) -> int:
        """Delete a document, and return the seq of the delete; `expect` as in `put`."""
        return self._put(ident, None, expect=expect, origin=origin, idempotency=idempotency)
