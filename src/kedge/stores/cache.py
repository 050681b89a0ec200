"""Cache of computed results: a rollback hides those that it influenced."""

import hashlib
from collections.abc import Callable
from typing import Any

from kedge.model.checks import check_callables, check_name, check_seconds
from kedge.model.writes import decode, encode
from kedge.stores.scope import WritingScope


class Cache:
    """Results by key. The agent's artifacts are part of each key: no version serves another version's answers."""

    def __init__(self, scope: WritingScope) -> None:
        self._scope = scope

    def get_or_compute(self, key: str, compute: Callable[[], Any], *, ttl: float | None = None) -> Any:
        """Return the cached value at a key, or what `compute()` returns, kept for `ttl` seconds (None: no limit)."""
        check_name("the cache key", key)
        check_callables(compute=compute)
        budget = check_seconds("ttl", ttl)
        digest = hashlib.sha256(key.encode() + b"\0" + self._scope.artifacts_key()).digest()
        cache = self._scope.backend.cache
        found = self._scope.read(lambda view: cache.get(view, digest, self._scope.now()))
        if found is not None:
            self._scope.join(found.lineage)
            return decode(found.payload)
        value = compute()
        payload = encode(value, f"the result for cache key {key!r}")
        cache.put(digest, payload, self._scope.stamp, self._scope.now(), budget)
        return decode(payload)
