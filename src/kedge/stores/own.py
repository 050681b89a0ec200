"""Keyed stores of users' own: `turn.store("checkpoints").space("thread-1")`."""

from collections.abc import Mapping
from typing import Any

from kedge.model.checks import check_name, check_seconds
from kedge.model.choices import OriginName
from kedge.model.ranges import span_of
from kedge.model.stores import keyed_store
from kedge.stores.keyed import Keyed, KeyedView
from kedge.stores.scope import Scope, WritingScope
from kedge.support.display import brief


class StoreView:
    """A keyed store of a user's own, as a view sees it: values by name, space by space."""

    def __init__(self, scope: Scope, name: str) -> None:
        self._scope = scope
        self._name = name
        self._store = keyed_store(name, reading=True)

    def __repr__(self) -> str:
        """Return one line."""
        return f"<{type(self).__name__} {brief(self._name)}>"

    def space(self, name: str) -> KeyedView:
        """Return one space of the store: its names are its own."""
        return KeyedView(self._scope, self._store, check_name("the space", name, empty=True))


class Store:
    """A keyed store of a user's own, for a turn to read and write."""

    def __init__(self, scope: WritingScope, name: str) -> None:
        self._scope = scope
        self._name = name
        self._store = keyed_store(name)

    def __repr__(self) -> str:
        """Return one line."""
        return f"<{type(self).__name__} {brief(self._name)}>"

    def space(self, name: str) -> "Values":
        """Return one space of the store: its names are its own."""
        return Values(self._scope, self._store, check_name("the space", name, empty=True))


class Values(Keyed):
    """Values by name in one space of a user's own store: JSON or bytes, derived, and no inputs of a replay."""

    def put(
        self,
        name: str,
        value: Any,
        *,
        expect: int | None = None,
        ttl: float | None = None,
        origin: OriginName | None = None,
        idempotency: str | None = None,
    ) -> int:
        """Write a value and return its seq.

        `expect` makes it a compare-and-set on the newest head that this turn sees (0: absent), which raises
        `ExpectationFailed`. After `ttl` seconds it counts as absent; what it replaced does not come back.
        """
        payload, seconds = self._encode(name, value), check_seconds("ttl", ttl)
        return self._put(name, payload, expect=expect, origin=origin, idempotency=idempotency, seconds=seconds)

    def delete(
        self, name: str, *, expect: int | None = None, origin: OriginName | None = None, idempotency: str | None = None
    ) -> int:
        """Delete a value, and return the seq of the delete; `expect` as in `put`."""
        return self._put(name, None, expect=expect, origin=origin, idempotency=idempotency)

    def put_many(
        self,
        values: Mapping[str, Any],
        *,
        ttl: float | None = None,
        origin: OriginName | None = None,
        idempotency: str | None = None,
    ) -> list[int]:
        """Write values by name as one batch, all or none, and return their seqs."""
        return self._put_many(values, origin, idempotency, check_seconds("ttl", ttl))

    def delete_expired(
        self, prefix: str = "", *, origin: OriginName | None = None, idempotency: str | None = None
    ) -> list[int]:
        """Delete the values whose time to live is over, as one batch: it reads that range. Return the seqs.

        They are absent without it. It gives retention policies what to reclaim, and ranges less to pass over.
        """
        heads = self._read_range(span_of(prefix, None, None, reverse=False), prefix, payloads=False)
        return self._delete_all([head.key for head in heads if not self._is_present(head)], origin, idempotency)
