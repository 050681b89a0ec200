"""`make drill SCENARIO=langgraph`, on few customers: what is left and lost is measured, and differs by plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest

import kedge

pytest.importorskip("langgraph.graph", reason="`make hosts` installs it")
pytest.importorskip("langgraph.checkpoint.sqlite", reason="`make hosts` installs it")

from examples import langgraph_drill as drill
from examples import langgraph_drill_team as team
from kedge.integrations.langgraph import KedgeStore

EVERYDAY = ()
CUSTOMERS = 8


@pytest.fixture(autouse=True)
def _without_chroma(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the cases in LangGraph's store, which is quicker."""
    monkeypatch.setattr(team, "HAS_CHROMA", False)


def test_kedge_leaves_and_loses_nothing(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--server", place] if place.startswith("postgres") else []
    assert drill.main(["--customers", str(CUSTOMERS), "--json", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    ours, redeployed, restored, deleted = found["plans"]
    assert found["passed"]
    assert ours["before"] == redeployed["before"] > 0, "the same day, so the same contamination"
    assert (ours["contaminated_at_once"], ours["contaminated"], ours["lost"], ours["owed"]) == (0, 0, 0, 0)
    assert (ours["questions_bad"], ours["questions_lost"], ours["questions_misled"]) == (0, 0, 0)
    assert redeployed["contaminated"] == redeployed["before"]
    assert redeployed["questions_bad"] > 0
    assert restored["contaminated"] == 0
    assert restored["lost"] > 0
    assert restored["questions_lost"] > 0
    assert 0 < deleted["contaminated"] < deleted["before"], "what the untouched agent derived has another tag"
    assert deleted["lost"] > 0
    assert all("payouts" in each or "billing/" in each for each in deleted["examples"]), deleted["examples"]


def test_the_drill_fails_where_answers_are_not_given_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(team.OnKedge, "replay", lambda *_: "nothing was replayed")
    monkeypatch.setattr(drill, "on_langgraph", lambda *_: [])
    assert drill.main(["--customers", "4"]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_contamination_is_found_where_reads_leave_no_lineage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutant: billing finds notes and cases outside its turn, so nothing says what its payouts derive from."""
    batch, nearest = KedgeStore.batch, team.KedgeCases.nearest

    def outside(call: Callable[..., Any]) -> Callable[..., Any]:
        def leak(self: Any, *arguments: Any) -> Any:
            turn = kedge.current_turn()
            leaks = turn is not None and turn.agent == "billing"
            return Context().run(call, self, *arguments) if leaks else call(self, *arguments)

        return leak

    monkeypatch.setattr(KedgeStore, "batch", outside(batch))
    monkeypatch.setattr(team.KedgeCases, "nearest", outside(nearest))
    found = drill.on_kedge(tmp_path, 4, tell=print)
    assert found.contaminated > 0
    assert not found.passes()
