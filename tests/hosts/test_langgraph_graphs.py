"""LangGraph's own tests of graphs pass with `KedgeSaver` and `KedgeStore`, and notice broken ones: `make hosts`."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("langgraph.graph", reason="`make hosts` installs it")

from tests.hosts import suites
from tests.hosts.langgraph_graphs import CONFTEST, SAVERS

EVERYDAY = ()
TESTS = 1_495  # of the pinned version, in modules that work with checkpointers or stores; 938 make or are given one
MUTANTS = sorted(set(SAVERS) - {"KedgeSaver"})
LEFT_OUT = {
    "test_prune_postgres.py": "rows of `PostgresSaver`",
    "test_remote_graph.py": "a client of a server; it skips itself without one",
    "test_delta_channel_benchmark.py::test_delta_channel_benchmark": "a benchmark; it skips itself",
    "test_channels.py::test_delta_channel_snapshot_version_based": "looks at `InMemorySaver.blobs`",
    "test_delta_channel_update_state.py::test_bulk_update_state_replays_updates_in_the_order_given": (
        "looks at `InMemorySaver.writes`"
    ),
    "test_pregel.py::test_sync_streaming_with_functional_api": "measures a delay, without a checkpointer",
    "test_pregel.py::test_stream_subgraphs_during_execution": "expects steps at their second, give or take 0.1",
    "test_pregel_async.py::test_stream_subgraphs_during_execution": "expects the same",
    "test_pregel_async.py::test_imp_nested": "expects two calls of tasks to end within 10 ms",
    "test_pregel_async.py::test_checkpoint_put_after_cancellation": "expects a node to have begun after 0.2 s",
    "test_pregel_async.py::test_checkpoint_put_after_cancellation_stream_anext": "expects a node to have begun, too",
    "test_pregel_async.py::test_checkpoint_put_after_cancellation_stream_events_anext": "expects the same",
}
IN_CANARIES = (  # left out there: what a canary's session has written is not seen outside sessions, where these look
    "test_pregel.py::test_store_injected",
    "test_pregel_async.py::test_store_injected_async",
)
FAST = ["-p", "no:asyncio", "-n", "2", "--timeout=300"]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return suites.unpacked("langgraph", tmp_path_factory.mktemp("sdist"))


def run(suite: Path, folder: Path, *tests: str, **environment: str) -> suites.Outcome:
    copy = suites.copied(suite / "tests", folder / "suite" / "tests")
    (copy / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    names = [*LEFT_OUT, *(IN_CANARIES if environment.get("KEDGE_CANARY") else ())]
    left_out = [f"--deselect=tests/{name}" if "::" in name else f"--ignore=tests/{name}" for name in names]
    return suites.run(copy.parent, [*FAST, *left_out, *tests], "", **environment)


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("canary", ["", "yes"], ids=["live", "canary"])
def test_it_passes_the_tests_of_graphs(suite: Path, tmp_path: Path, canary: str) -> None:
    outcome = run(suite, tmp_path, "tests", KEDGE_SAVER="KedgeSaver", KEDGE_CANARY=canary)
    assert (outcome.failed, outcome.skipped) == ((), ()), outcome.output
    assert outcome.passed == TESTS - (len(IN_CANARIES) if canary else 0)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_they_notice_a_broken_checkpointer(suite: Path, tmp_path: Path, mutant: str) -> None:
    some = ["tests/test_time_travel.py", "tests/test_subgraph_persistence.py"]
    outcome = run(suite, tmp_path, *some, KEDGE_SAVER=mutant)
    assert outcome.failed, outcome.output
    assert outcome.passed > len(outcome.failed), "it is broken in one place"
