"""Cache of computed results: a rollback hides those that it influenced."""

import hashlib
from collections.abc import Callable
from typing import Any

from kedge.model.artifact_reads import pack, unpack
from kedge.model.checks import check_callables, check_name, check_seconds
from kedge.model.codec import decode_with, encode_with
from kedge.stores.scope import WritingScope

_LAYOUT = b"2\0"  # of the stored bytes; results in another layout have other keys


class Cache:
    """Results by key. No version serves another version's answers.

    The agent's own artifacts are part of each key. A result also rests on every other artifact that its turn had read,
    and is found only where the turn that looks reads the same heads.
    """

    def __init__(self, scope: WritingScope) -> None:
        self._scope = scope

    def get_or_compute(self, key: str, compute: Callable[[], Any], *, ttl: float | None = None) -> Any:
        """Return the cached value at a key, or what `compute()` returns, kept for `ttl` seconds (None: no limit)."""
        check_name("the cache key", key)
        check_callables(compute=compute)
        budget = check_seconds("ttl", ttl)
        digest = hashlib.sha256(_LAYOUT + key.encode() + b"\0" + self._scope.artifacts_key()).digest()
        cache = self._scope.backend.cache
        for found in self._scope.read(lambda view: cache.find(view, digest, self._scope.now())):
            taken, payload = unpack(found.payload)
            if self._scope.matches_pins(taken):
                self._scope.join(found.lineage)
                self._scope.pins.learn(taken)
                return decode_with(self._scope.codec, payload)
        value = compute()
        payload = encode_with(self._scope.codec, value, f"the result for cache key {key!r}")
        cache.put(digest, pack(self._scope.pins.taken(), payload), self._scope.stamp, self._scope.now(), budget)
        return decode_with(self._scope.codec, payload)
