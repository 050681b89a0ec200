"""The laws of `Aside`: a cache stamped like the journal, and samples."""

import pytest

from kedge.ports.aside import Sample, Tally
from kedge.ports.backend import Backend
from kedge.ports.ledger import EpochMoved
from kedge.testing.contracts.hand import Hand

CACHE_BYTES = 10_000  # what the fixture opens the backend with


class AsideContract:
    """Fixture: `backend`, opened with `CACHE_BYTES` as the cap of its cache."""

    def test_samples_are_counted_by_metric_agent_and_value(self, backend: Backend) -> None:
        for at, metric, agent, value in (
            (1.0, "kedge:b", "x", "one"), (2.0, "kedge:a", None, 1), (4.0, "kedge:b", "x", "one"),
            (3.0, "kedge:b", "x", "two"), (5.0, "other", "x", "one"), (6.0, "Kedge:b", "x", "one"),
        ):  # fmt: skip
            backend.aside.observe(Sample(metric, value, at, agent=agent))
        assert backend.aside.tallies("kedge:") == [
            Tally("kedge:a", None, 1, 1, 2.0),
            Tally("kedge:b", "x", "one", 2, 4.0),
            Tally("kedge:b", "x", "two", 1, 3.0),
        ]
        assert backend.aside.tallies("kedge:%") == []

    def found(self, backend: Backend, key: bytes, seen: set[int], now: float = 100.0) -> bytes | None:
        """Look a key up in a view of these deployments."""
        cached = backend.aside.cached(Hand(backend).view(seen), key, now)
        return None if cached is None else cached.payload

    def test_an_entry_is_found_by_views_that_see_its_lineage(self, backend: Backend) -> None:
        Hand(backend).live("v1", "v2")
        backend.aside.cache(b"k", b"clean", frozenset(), 1.0, None)
        backend.aside.cache(b"k", b"tainted", frozenset({2}), 2.0, None)
        assert self.found(backend, b"k", {1}) == b"clean"
        assert self.found(backend, b"k", {1, 2}) == b"tainted", "the newest"
        assert self.found(backend, b"other", {1, 2}) is None

    def test_an_entry_carries_its_lineage(self, backend: Backend) -> None:
        hand = Hand(backend)
        hand.live("v1")
        backend.aside.cache(b"k", b"x", frozenset({1}), 1.0, None)
        cached = backend.aside.cached(hand.view({1}), b"k", 2.0)
        assert cached is not None
        assert (cached.lineage, cached.at) == (frozenset({1}), 1.0)

    def test_it_vanishes_with_a_rollback_and_comes_back_with_a_reinstatement(self, backend: Backend) -> None:
        hand = Hand(backend)
        hand.live("v1")
        backend.aside.cache(b"k", b"x", frozenset({1}), 1.0, None)
        before = hand.view({1})
        hand.change("roll_back", "v1")
        assert self.found(backend, b"k", {1}) is None
        with pytest.raises(EpochMoved):
            backend.aside.cached(before, b"k", 1.0)
        hand.change("reinstate", "v1")
        assert self.found(backend, b"k", {1}) == b"x"

    def test_it_holds_for_its_time_to_live(self, backend: Backend) -> None:
        backend.aside.cache(b"k", b"x", frozenset(), 100.0, 10.0)
        assert self.found(backend, b"k", set(), 109.9) == b"x"
        assert self.found(backend, b"k", set(), 110.0) is None

    def test_a_newer_result_replaces_the_older(self, backend: Backend) -> None:
        backend.aside.cache(b"k", b"old", frozenset(), 100.0, 10.0)
        backend.aside.cache(b"k", b"new", frozenset(), 105.0, 10.0)
        assert self.found(backend, b"k", set(), 112.0) == b"new"

    def test_the_oldest_go_beyond_the_cap(self, backend: Backend) -> None:
        for n in range(30):
            backend.aside.cache(b"k%d" % n, bytes(1_000), frozenset(), float(n), None)
        kept = [n for n in range(30) if self.found(backend, b"k%d" % n, set()) is not None]
        assert kept
        assert kept == list(range(30 - len(kept), 30)), "the newest"
        assert len(kept) * 1_000 <= CACHE_BYTES

    def test_expired_entries_make_room_first(self, backend: Backend) -> None:
        backend.aside.cache(b"keep", bytes(1_000), frozenset(), 0.0, None)
        for n in range(9):
            backend.aside.cache(b"k%d" % n, bytes(1_000), frozenset(), 1.0, 5.0)
        backend.aside.cache(b"late", bytes(5_000), frozenset(), 50.0, None)
        assert self.found(backend, b"keep", set()) is not None

    def test_samples_come_back_in_order(self, backend: Backend) -> None:
        Hand(backend).live("v1")
        for value in (True, 0.5, "yes", 3):
            backend.aside.observe(Sample("resolved", value, 1.0, "s", "support", seen=frozenset({1})))
        backend.aside.observe(Sample("other", 1, 1.0))
        samples = backend.aside.observations("resolved")
        assert [s.value for s in samples] == [True, 0.5, "yes", 3]
        assert {(s.metric, s.session, s.agent, s.seen) for s in samples} == {
            ("resolved", "s", "support", frozenset({1}))
        }
        assert backend.aside.observations("nothing") == []
