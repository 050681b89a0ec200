"""The automatic drill: it passes though pilots are killed, and fails where the release is not found or undone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge.drill import AutomaticReport, automatic, rehearse_automatically, to_document
from kedge.drill.pilot_process import STEPS
from kedge.errors import InvalidValue
from kedge.open import server_databases
from kedge.testing import postgres
from kedge.turns.turn import Turn
from tests.acceptance.cli import Run
from tests.stateful.share import SOAKING

DOCUMENTS = 120
KEYS = {
    "scenario", "shape", "passed", "release", "documents", "canary_sessions", "baseline_sessions", "python", "seconds",
    "killed_at", "timeline", "quality", "level_recognition_seconds", "rollback_commit_seconds", "replayed", "looks",
    "checks",
}  # fmt: skip


def rehearse(**options: Any) -> AutomaticReport:
    return rehearse_automatically(kedge.open, documents=DOCUMENTS, **options)


def failed(report: AutomaticReport) -> set[str]:
    return {check.name for check in report.checks if not check.passed}


def test_a_bad_release_is_found_and_undone_though_its_pilot_is_killed(tmp_path: Path) -> None:
    report = rehearse(folder=tmp_path, kill_at="roll_back")
    assert failed(report) == set(), report.checks
    assert report.killed_at == ["roll_back"]
    said = [moment.what for moment in report.timeline]
    wanted = ("the gates passed", "degraded to supervised", "a turn of the canary has", "rolling back: e = ",
              "the pilot was killed at roll_back", "the rollback is committed")  # fmt: skip
    places = [next(at for at, what in enumerate(said) if what.startswith(text)) for text in wanted]
    assert places == sorted(places), said
    document = to_document(report)
    assert set(document) == KEYS
    assert document["passed"] is True
    with kedge.open(tmp_path / "automatic") as k:
        assert k.deployment(report.release).status is kedge.Status.ROLLED_BACK
        assert k.guard.recompute(report.release).ok


def test_it_passes_on_a_server_too(postgres_server: postgres.Server, run_nowhere: Run) -> None:
    result = run_nowhere("drill", "--auto", "--docs", str(DOCUMENTS), "--server", postgres_server.url(), "--json")
    document = json.loads(result.out)
    assert (result.code, document["passed"]) == (0, True), document["checks"]


@pytest.mark.soak
@pytest.mark.skipif(not SOAKING, reason="a minute: make soak")
def test_a_pilot_may_be_killed_at_every_step(postgres_server: postgres.Server) -> None:
    assert failed(found := rehearse(kill_at="all")) == set(), found.checks
    assert found.killed_at == list(STEPS)
    with server_databases(postgres_server.url()) as databases:
        assert failed(rehearse(kill_at="all", databases=databases)) == set()


def test_it_fails_where_the_release_is_not_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    good = "Compare up to 8 documents with the question."
    monkeypatch.setattr(automatic, "_HASTY_PROMPT", good)
    monkeypatch.setattr(automatic, "SESSIONS_MAX", 12)
    assert failed(rehearse()) >= {"quality_fell", "rolled_back", "no_human_step", "degraded_first", "seen_by_nobody"}


def test_it_fails_where_levels_permit_what_they_must_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Turn, "may", lambda *_, **__: True)
    monkeypatch.setattr(kedge.Kedge, "replay", lambda *_, **__: None)
    assert failed(rehearse()) >= {"level_enforced", "replayed"}


def test_a_step_that_does_not_exist_is_refused_before_anything_is_done(run_nowhere: Run) -> None:
    with pytest.raises(InvalidValue, match="invalid step 'lunch': must be 'all' or one of deployed"):
        rehearse(kill_at="lunch")
    assert "--kill-at all has no effect without --auto" in run_nowhere("drill", "--kill-at", "all").err
    assert "exclude each other" in run_nowhere("drill", "--auto", "--in-place").err
