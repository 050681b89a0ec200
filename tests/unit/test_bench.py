"""The benchmark runs, and its document has its shape. No time is asserted."""

import json
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench import on_langgraph
from bench.harness import Measured, Sizes
from tests.stateful.share import SOAKING

DEAR = {"sizes", "churn", "combining", "members", "touched", "chained", "caching", "langgraph"}
TINY = Sizes(
    writes=2_000, few_writes=1_000, load_batch=100, hidden=60, rows=200, many_rows=400, dim=8, batch=20, rounds=2,
    puts=2, reads=5, gets=2, ranges=1, flips=2, write_seconds=0.2,
    members=4, processes=2, releases=20, cycles=3, turns=20, lineages=4,
    sessions=20, launches=4,
)  # fmt: skip


@pytest.mark.parametrize("group", sorted(bench.GROUPS))
@pytest.mark.soak
def test_every_group_measures_and_reports(tmp_path: Path, group: str) -> None:
    if group in DEAR and not SOAKING:
        pytest.skip("it starts servers, or makes hundreds of releases: make soak")
    if group == "langgraph" and on_langgraph.missing():
        pytest.skip("`make hosts` installs it")
    found = bench.run(TINY, [group], folder=tmp_path)
    document = json.loads(json.dumps(bench.report(found, TINY)))
    assert {line["group"] for line in document["measured"]} == {group}
    assert document["sizes"]["writes"] == 2_000
    assert set(document["machine"]) == {"cpus", "python", "sqlite", "numpy"}
    for line in document["measured"]:
        assert set(line) == {"group", "name", "value", "unit", "detail", "at_most", "at_least", "met"}
        assert line["value"] > 0
        assert (line["met"] is None) == (line["at_most"] is None and line["at_least"] is None)
    assert bench.table(found).row_count == len(document["measured"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "met"),
    [
        (Measured("a", 1.5, "×", at_most=1.5), True),
        (Measured("a", 1.6, "×", at_most=1.5), False),
        (Measured("a", 0.5, "×", at_least=0.5), True),
        (Measured("a", 0.4, "×", at_least=0.5), False),
        (Measured("a", 0.4, "s"), None),
    ],
)
def test_a_target_is_met_or_not_or_there_is_none(line: Measured, met: bool | None) -> None:
    assert line.met is met


def test_an_unknown_group_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--only", "nothing"])
    assert "invalid choice" in capsys.readouterr().err
