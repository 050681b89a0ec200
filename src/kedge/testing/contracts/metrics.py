"""Contract of `Metrics`: samples and their tallies."""

from kedge.ports.backend import Backend
from kedge.ports.metrics import Sample, Stored, Tally
from kedge.testing.contracts.backend_driver import BackendDriver


class MetricsContract:
    """Fixture: `backend`, opened with `CACHE_BYTES` as the cap of its cache."""

    def test_samples_are_counted_by_metric_agent_and_value(self, backend: Backend) -> None:
        for at, metric, agent, value in (
            (1.0, "kedge:b", "x", "one"), (2.0, "kedge:a", None, 1), (4.0, "kedge:b", "x", "one"),
            (3.0, "kedge:b", "x", "two"), (5.0, "other", "x", "one"), (6.0, "Kedge:b", "x", "one"),
        ):  # fmt: skip
            backend.metrics.observe(Sample(metric, value, at, agent=agent))
        assert backend.metrics.tallies("kedge:") == [
            Tally("kedge:a", None, 1, 1, 2.0),
            Tally("kedge:b", "x", "one", 2, 4.0),
            Tally("kedge:b", "x", "two", 1, 3.0),
        ]
        assert backend.metrics.tallies("kedge:%") == []

    def test_samples_come_back_in_order(self, backend: Backend) -> None:
        BackendDriver(backend).live("v1")
        for value in (True, 0.5, "yes", 3):
            backend.metrics.observe(Sample("resolved", value, 1.0, "s", "support", seen=frozenset({1})))
        backend.metrics.observe(Sample("other", 1, 1.0))
        samples = backend.metrics.observations("resolved")
        assert [s.value for s in samples] == [True, 0.5, "yes", 3]
        assert {(s.metric, s.session, s.agent, s.seen) for s in samples} == {
            ("resolved", "s", "support", frozenset({1}))
        }
        assert backend.metrics.observations("nothing") == []

    def test_a_key_stores_once(self, backend: Backend) -> None:
        BackendDriver(backend).live("v1")
        first = Sample("resolved", 1, 1.0, "s", None, recorded_at=3.0, idempotency="a", seen=frozenset({1}))
        other = Sample("resolved", 0, 2.0, "t" * 80, "judge", recorded_at=4.0, idempotency="b")
        changed = Sample("resolved", 0, 1.0, "s", None, recorded_at=3.0, idempotency="a")
        assert backend.metrics.store([first]) == [Stored.STORED]
        again = [first, changed, other, other, Sample("free", 1, 1.0), Sample("free", 1, 1.0)]
        assert backend.metrics.store(again) == [
            Stored.REPEATED, Stored.MISMATCH, Stored.STORED, Stored.REPEATED, Stored.STORED, Stored.STORED,
        ]  # fmt: skip
        assert backend.metrics.store([other]) == [Stored.REPEATED]
        assert backend.metrics.store([]) == []
        assert [s.value for s in backend.metrics.observations("resolved")] == [1, 0]
        assert [s.value for s in backend.metrics.observations("free")] == [1, 1]

    def test_a_batch_leaves_out_what_was_purged(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        driver.change("roll_back", "v1")
        driver.change("purge", "v1")
        samples = [Sample("resolved", n, 1.0, "s", lineage=frozenset(n), idempotency=str(n)) for n in ([1], [])]
        assert backend.metrics.store(samples) == [Stored.PURGED, Stored.STORED]
        assert [s.value for s in backend.metrics.observations("resolved")] == [[]]

    def test_samples_are_found_by_session_and_by_number(self, backend: Backend) -> None:
        assert backend.metrics.newest() == 0
        long = "x" * 90
        for metric, value, session in (
            ("a", True, "s"), ("b", False, long), ("c", 1, "s"), ("a", False, None), ("a", False, long),
            ("a", False, "t"),
        ):  # fmt: skip
            backend.metrics.observe(Sample(metric, value, 1.0, session, recorded_at=7.0))
        found = backend.metrics.of_sessions(["s", long, "none"], ["a", "b"])
        assert [(s.metric, s.value, s.session) for s in found] == [
            ("a", True, "s"),
            ("b", False, long),
            ("a", False, long),
        ]
        assert {s.arrived for s in found} == {7.0}
        bad = backend.metrics.arrived(["a", "b"], "false", 0, 0.0, 10)
        assert [s.session for s in bad] == [long, None, long, "t"]
        assert backend.metrics.arrived(["a", "b"], "false", bad[1].number, 1.0, 1) == [bad[2]]
        assert backend.metrics.arrived(["a", "b"], "false", 0, 1.5, 10) == []
        assert backend.metrics.newest() == bad[-1].number
