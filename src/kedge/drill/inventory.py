"""Inventory of all visible keys with their seqs, in little memory, and a sample of a past state."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kedge.model.writes import Key
from kedge.turns.scope import scope_of
from kedge.turns.view import ReadView

PAST_KEYS_MAX = 10_000


class Inventory:
    """The heads visible in a view, 16 bytes each: hashes of names (valid in this process), and seqs."""

    def __init__(self, view: ReadView) -> None:
        """Read every space of every store."""
        self._spaces: dict[tuple[str, str], tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        self.count = 0
        for store, space in spaces(view):
            hashes, seqs = _arrays(heads(view, store, space))
            order = np.argsort(hashes)
            self._spaces[store, space] = hashes[order], seqs[order]
            self.count += len(hashes)

    def changes(self, now: ReadView, then: ReadView) -> Iterator[Key]:
        """Yield the keys whose head changed, appeared or disappeared.

        `then` is a view of the inventoried past; it provides the names of keys that disappeared.
        """
        for store, space in spaces(now):
            found = heads(now, store, space)
            known_hashes, known_seqs = self._spaces.get((store, space), _arrays({}))
            hashes, seqs = _arrays(found)
            at = np.minimum(np.searchsorted(known_hashes, hashes), max(len(known_hashes) - 1, 0))
            known = known_hashes[at] == hashes if len(known_hashes) else np.zeros(len(hashes), bool)
            same = known & (known_seqs[at] == seqs) if len(known_hashes) else known
            yield from (Key(store, space, name) for name, is_same in zip(found, same, strict=True) if not is_same)
            if known.sum() < len(known_hashes):
                yield from (Key(store, space, name) for name in heads(then, store, space) if name not in found)


class PastSample:
    """Up to `PAST_KEYS_MAX` evenly spread keys, read at one past point now and again later."""

    def __init__(self, now: ReadView, past: ReadView, count: int) -> None:
        """Choose from the `count` keys that are visible now."""
        step = -(-count // PAST_KEYS_MAX) or 1
        self._names: dict[tuple[str, str], list[str]] = {}
        offset = 0
        for store, space in spaces(now):
            names = list(heads(now, store, space))
            self._names[store, space] = names[-offset % step :: step]
            offset += len(names)
        self.count = sum(len(names) for names in self._names.values())
        self._seqs = self._read(past)

    def is_same(self, past: ReadView) -> bool:
        """Return whether all sampled keys still have the same seqs."""
        return self._read(past) == self._seqs

    def _read(self, past: ReadView) -> dict[Key, int]:
        seqs: dict[Key, int] = {}
        for (store, space), names in self._names.items():
            seqs |= _seqs_of(past, store, space, names)
        return seqs


def spaces(view: ReadView) -> Iterator[tuple[str, str]]:
    """Yield every space of every store: collections, sessions, the shared ones."""
    journal = scope_of(view).backend.journal
    for store in journal.stores():
        for space in sorted(journal.spaces(store)):
            yield store, space


def heads(view: ReadView, store: str, space: str) -> dict[str, int]:
    """Return the seqs of all visible heads of one space, by name."""
    scope = scope_of(view)
    seen = scope.read(lambda v: scope.backend.journal.range(v, store, space, payloads=False))
    return {head.key.name: head.seq for head in seen.heads}


def _seqs_of(view: ReadView, store: str, space: str, names: list[str]) -> dict[Key, int]:
    scope = scope_of(view)
    found = scope.read(lambda v: scope.backend.journal.heads(v, store, space, names))
    return {head.key: head.seq for head in found.values()}


def _arrays(found: dict[str, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    hashes = np.fromiter((hash(name) for name in found), np.int64, len(found))
    return hashes, np.fromiter(found.values(), np.int64, len(found))


__all__ = ["Inventory", "PastSample"]
