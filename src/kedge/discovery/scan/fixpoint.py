"""Evaluation of values that depend on one another: each once, cycles and depth bounded."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from kedge.discovery.scan.values import Values

DEPTH = 70
"""Nested evaluations after which a value is taken as unknown."""
_ATTEMPTS = 3
_COMPLETE = DEPTH + 1


class Fixpoint:
    """Keeps the value of each key, computed on demand.

    A key that is asked for while it is computed gives nothing. What was computed from that is not complete, and is
    kept only after a few attempts: asked for later, when the key is known, it is computed anew.
    """

    def __init__(self) -> None:
        self._values: dict[Hashable, Values] = {}
        self._active: dict[Hashable, int] = {}
        self._attempts: dict[Hashable, int] = {}
        self._lowest = _COMPLETE
        """The outermost of the active keys on which what is being computed depends."""

    def get(self, key: Hashable, compute: Callable[[], Values]) -> Values:
        """Return the value of a key."""
        known = self._values.get(key)
        if known is not None:
            return known
        if key in self._active or len(self._active) >= DEPTH:
            self._lowest = min(self._lowest, self._active.get(key, -1))
            return ()
        index = len(self._active)
        self._active[key] = index
        outer, self._lowest = self._lowest, _COMPLETE
        try:
            found = compute()
        finally:
            del self._active[key]
            inner, self._lowest = self._lowest, outer
        if inner >= index:
            self._values[key] = found
            return found
        self._lowest = min(outer, inner)
        self._attempts[key] = self._attempts.get(key, 0) + 1
        if self._attempts[key] >= _ATTEMPTS:
            self._values[key] = found
        return found
