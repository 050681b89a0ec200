"""Contract of `Cache`: results carry lineages like writes of the journal."""

import pytest

from kedge.ports.backend import Backend
from kedge.ports.control import EpochMoved
from kedge.testing.contracts.backend_driver import BackendDriver

CACHE_BYTES = 10_000  # what the fixture opens the backend with


class CacheContract:
    """Fixture: `backend`, opened with `CACHE_BYTES` as the cap of its cache."""

    def found(self, backend: Backend, key: bytes, seen: set[int], now: float = 100.0) -> bytes | None:
        """Look a key up in a view of these deployments."""
        cached = backend.cache.find(BackendDriver(backend).view(seen), key, now)
        return cached[0].payload if cached else None

    def test_an_entry_is_found_by_views_that_see_its_lineage(self, backend: Backend) -> None:
        BackendDriver(backend).live("v1", "v2")
        backend.cache.put(b"k", b"clean", frozenset(), 1.0, None)
        backend.cache.put(b"k", b"tainted", frozenset({2}), 2.0, None)
        assert self.found(backend, b"k", {1}) == b"clean"
        assert self.found(backend, b"k", {1, 2}) == b"tainted", "the newest"
        both = backend.cache.find(BackendDriver(backend).view({1, 2}), b"k", 100.0)
        assert [entry.payload for entry in both] == [b"tainted", b"clean"]
        assert self.found(backend, b"other", {1, 2}) is None

    def test_an_entry_carries_its_lineage(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        backend.cache.put(b"k", b"x", frozenset({1}), 1.0, None)
        (cached,) = backend.cache.find(driver.view({1}), b"k", 2.0)
        assert (cached.lineage, cached.at) == (frozenset({1}), 1.0)

    def test_it_vanishes_with_a_rollback_and_comes_back_with_a_reinstatement(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        backend.cache.put(b"k", b"x", frozenset({1}), 1.0, None)
        before = driver.view({1})
        driver.change("roll_back", "v1")
        assert self.found(backend, b"k", {1}) is None
        with pytest.raises(EpochMoved):
            backend.cache.find(before, b"k", 1.0)
        driver.change("reinstate", "v1")
        assert self.found(backend, b"k", {1}) == b"x"

    def test_it_holds_for_its_time_to_live(self, backend: Backend) -> None:
        backend.cache.put(b"k", b"x", frozenset(), 100.0, 10.0)
        assert self.found(backend, b"k", set(), 109.9) == b"x"
        assert self.found(backend, b"k", set(), 110.0) is None

    def test_a_newer_result_replaces_the_older(self, backend: Backend) -> None:
        backend.cache.put(b"k", b"old", frozenset(), 100.0, 10.0)
        backend.cache.put(b"k", b"new", frozenset(), 105.0, 10.0)
        assert self.found(backend, b"k", set(), 112.0) == b"new"

    def test_the_oldest_go_beyond_the_cap(self, backend: Backend) -> None:
        for n in range(30):
            backend.cache.put(b"k%d" % n, bytes(1_000), frozenset(), float(n), None)
        kept = [n for n in range(30) if self.found(backend, b"k%d" % n, set()) is not None]
        assert kept
        assert kept == list(range(30 - len(kept), 30)), "the newest"
        assert len(kept) * 1_000 <= CACHE_BYTES

    def test_expired_entries_make_room_first(self, backend: Backend) -> None:
        backend.cache.put(b"keep", bytes(1_000), frozenset(), 0.0, None)
        for n in range(9):
            backend.cache.put(b"k%d" % n, bytes(1_000), frozenset(), 1.0, 5.0)
        backend.cache.put(b"late", bytes(5_000), frozenset(), 50.0, None)
        assert self.found(backend, b"keep", set()) is not None
