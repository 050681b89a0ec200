"""Contract of `Metrics`: samples and their tallies."""

from kedge.ports.backend import Backend
from kedge.ports.metrics import Sample, Tally
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
