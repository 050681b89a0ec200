"""Keyed stores: documents and the shared context."""

from collections.abc import Mapping
from typing import Any

from kedge.errors import ExpectationFailed, InvalidValue
from kedge.model.checks import check_name, check_seconds
from kedge.model.choices import OriginName
from kedge.model.lineage import EMPTY
from kedge.model.numbers import as_integer
from kedge.model.reads import RangeRead
from kedge.model.retention import value_of
from kedge.model.writes import Head, Key, Origin, Pending, encode
from kedge.ports.journal import HeadMoved
from kedge.stores.scope import Scope, WritingScope
from kedge.support.display import Value, brief

_NO_SEQ = -1  # no head has this seq, so nothing is written


class Entry(Value, frozen=True):
    """One value with its metadata. `lineage` holds deployment names; `stale`: older than its freshness budget."""

    key: str
    value: Any
    seq: int
    lineage: frozenset[str]
    at: float
    stale: bool
    origin: Origin
    fresh_for: float | None = None


class KeyedView:
    """Values by name in one space of a store, as a view sees them."""

    def __init__(self, scope: Scope, store: str, space: str) -> None:
        self._scope = scope
        self._store = store
        self._space = space

    def __repr__(self) -> str:
        """Return one line."""
        return f"<{type(self).__name__}{f' of {brief(self._space)}' if self._space else ''}>"

    def _key(self, name: str) -> Key:
        return Key(self._store, self._space, check_name(f"the {self._store} key", name))

    def _head(self, name: str) -> Head | None:
        key = self._key(name)
        head = self._scope.read(lambda view: self._scope.backend.journal.head(view, key))
        if head is not None:
            self._scope.record_read((head,))
        return head

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value at a name, or `default` where it is absent."""
        head = self._head(name)
        return default if head is None or head.deleted else value_of(head)

    def entry(self, name: str) -> Entry | None:
        """Return the value at a name with its seq, lineage, age and origin, or None where it is absent."""
        head = self._head(name)
        return None if head is None or head.deleted else self._entry(head)

    def _entry(self, head: Head) -> Entry:
        return Entry(
            key=head.key.name,
            value=value_of(head),
            seq=head.seq,
            lineage=self._scope.names(head.lineage),
            at=head.at,
            # A time further ahead than the budget comes from a wrong clock: the age is unknown.
            stale=head.fresh_for is not None and abs(self._scope.now() - head.at) > head.fresh_for,
            origin=Origin.SOURCE if head.source else Origin.DERIVED,
            fresh_for=head.fresh_for,
        )

    def _range(self, prefix: str, *, payloads: bool = True) -> list[Head]:
        check_name("the prefix", prefix, empty=True)
        journal = self._scope.backend.journal
        found = self._scope.read(lambda view: journal.range(view, self._store, self._space, prefix, payloads=payloads))
        lineages = {head.lineage for head in found.heads} | found.tombstones
        self._scope.record_range(RangeRead(self._store, self._space, prefix, found.at_seq), lineages)
        return found.heads

    def items(self, prefix: str = "") -> dict[str, Any]:
        """Return the values at all names that begin with `prefix`, in name order."""
        return {head.key.name: value_of(head) for head in self._range(prefix)}

    def entries(self, prefix: str = "") -> list[Entry]:
        """Return the entries at all names that begin with `prefix`, in name order."""
        return [self._entry(head) for head in self._range(prefix)]

    def count(self, prefix: str = "") -> int:
        """Return how many names that begin with `prefix` have a value."""
        return len(self._range(prefix, payloads=False))


class Keyed(KeyedView):
    """Values by name in one space of a store, for a turn to read and write."""

    _scope: WritingScope

    def __init__(self, scope: WritingScope, store: str, space: str) -> None:
        super().__init__(scope, store, space)

    def _put(
        self,
        name: str,
        payload: bytes | None,
        *,
        expect: int | None,
        origin: OriginName | None,
        default: Origin,
        idempotency: str | None,
        fresh_for: float | None = None,
    ) -> int:
        key = self._key(name)
        source = self._scope.is_source(origin, default)
        budget = check_seconds("fresh_for", fresh_for)
        while True:
            failed: ExpectationFailed | None = None
            try:
                compared = None if expect is None else self._compare(name, expect)
            except ExpectationFailed as error:
                if idempotency is None:
                    raise
                compared, failed = _NO_SEQ, error  # the same call may have committed earlier: the journal decides
            pending = Pending(key, payload, source, budget, compared)
            try:
                seq = self._scope.write((pending,), idempotency=idempotency)[0]
            except HeadMoved:
                if failed is not None:
                    raise failed from None
                continue  # a concurrent write: compare with its seq
            if expect is not None and payload is not None and idempotency is None:
                self._scope.remember_head(key, seq, EMPTY if source else self._scope.stamp)
            return seq

    def _head(self, name: str) -> Head | None:
        head = super()._head(name)
        if head is not None and not head.deleted:
            self._scope.remember_head(head.key, head.seq, head.lineage)
        return head

    def _compare(self, name: str, expect: int) -> int:
        """Return the head's seq that the journal must find; a head that this turn has just read is not read again."""
        expect = as_integer("expect", expect, "the seq that entry() returned, or 0 for absent", least=0)
        if self._scope.compare_head(self._key(name), expect):
            return expect
        head = self._head(name)
        present = 0 if head is None or head.deleted else head.seq
        if present != expect:
            found = f"its head is seq {present}" if present else "it is absent"
            raise ExpectationFailed(
                f"{self._store} {name!r} was expected at seq {expect}, but {found}; read it again and decide again",
                seq=present,
            )
        return 0 if head is None else head.seq


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
        payload = encode(value, f"the value of context {brief(key)}")
        return self._put(
            key,
            payload,
            expect=expect,
            origin=origin,
            default=Origin.DERIVED,
            idempotency=idempotency,
            fresh_for=fresh_for,
        )

    def delete(
        self, key: str, *, expect: int | None = None, origin: OriginName | None = None, idempotency: str | None = None
    ) -> int:
        """Delete a fact and return the seq of the delete."""
        return self._put(key, None, expect=expect, origin=origin, default=Origin.DERIVED, idempotency=idempotency)


class Documents(Keyed):
    """Documents of one collection; putting one is a source write unless `origin` says otherwise."""

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
        payload = encode(value, f"the document {brief(ident)}")
        return self._put(ident, payload, expect=expect, origin=origin, default=Origin.SOURCE, idempotency=idempotency)

    def put_many(
        self, values: Mapping[str, Any], *, origin: OriginName | None = None, idempotency: str | None = None
    ) -> list[int]:
        """Write documents by id as one batch, all or none, and return their seqs."""
        if not isinstance(values, Mapping):
            raise InvalidValue(f"invalid documents {brief(values)}: must be a mapping of ids to values")
        source = self._scope.is_source(origin, Origin.SOURCE)
        pending = [
            Pending(self._key(ident), encode(value, f"the document {brief(ident)}"), source)
            for ident, value in values.items()
        ]
        return self._scope.write(pending, idempotency=idempotency)

    def delete(
        self, ident: str, *, expect: int | None = None, origin: OriginName | None = None, idempotency: str | None = None
    ) -> int:
        """Delete a document and return the seq of the delete."""
        return self._put(ident, None, expect=expect, origin=origin, default=Origin.DERIVED, idempotency=idempotency)
