"""The drill: it passes on a sound Kedge, and fails on one that breaks a law."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge.drill import HelpdeskReport, helpdesk, rehearse_helpdesk, to_document
from kedge.drill.content import visible
from kedge.drill.results import Check
from kedge.drill.team import Team
from kedge.drill.trace import Place
from kedge.model.control import ControlRecord
from kedge.model.lineage import Lineage
from kedge.turns.scope import TurnScope
from tests.acceptance.cli import spawn

DOCUMENTS, SESSIONS = 150, 8
KEYS = {
    "scenario", "shape", "passed", "documents", "sessions", "canary_sessions", "questions", "turns", "processes",
    "threads", "release", "weight", "python", "seconds", "quality", "contamination", "stores", "plan_seconds",
    "rollback_commit_seconds", "rollback_completion_seconds", "rollback_verdict", "indicators", "replayed",
    "replay_seconds", "stopped_twin", "clean_twin", "checks",
}  # fmt: skip
INDICATORS = {
    "rollback_commit_seconds", "rollback_completion_seconds", "consensus_latency_seconds", "vector_consistency_ratio",
    "memory_divergence_ratio", "context_divergence_ratio", "hidden_writes_total", "replay_pending_total",
}  # fmt: skip


def rehearse(**options: Any) -> HelpdeskReport:
    return rehearse_helpdesk(kedge.open, documents=DOCUMENTS, sessions=SESSIONS, **options)


def failed(checks: Iterable[Check]) -> set[str]:
    return {check.name for check in checks if not check.passed}


def test_a_small_drill_passes_and_its_document_has_its_shape(tmp_path: Path) -> None:
    said: list[str] = []
    report = rehearse(folder=tmp_path / "kept", say=said.append)
    assert failed(report.checks) == set()
    document = to_document(report)
    assert set(document) == KEYS
    assert set(report.indicators) >= INDICATORS
    assert document["passed"] is True
    assert len(said) > 8
    assert [quality.when for quality in report.quality] == ["before", "during", "during", "after", "after"]
    assert {store.store for store in report.stores} == {"artifacts", "documents", "memory", "vectors", "context"}
    assert {found.agent for found in report.contamination if not found.in_release} >= {"librarian", "reviewer"}
    assert report.stopped_twin.left_out == 0
    assert report.stopped_twin.compared > DOCUMENTS
    assert report.clean_twin.compared > DOCUMENTS
    with kedge.open(str(tmp_path / "kept" / "main")) as k:
        assert k.deployment(report.release).status is kedge.Status.ROLLED_BACK


def test_the_command_ends_with_zero_and_a_verdict(tmp_path: Path) -> None:
    process = spawn("drill", "--docs", str(DOCUMENTS), "--sessions", str(SESSIONS), cwd=tmp_path)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, out + err
    assert "PASSED" in out
    assert "rolling helpdesk-v2 back" in err


def test_the_same_documents_tell_the_same_story() -> None:
    first, second = rehearse(threads=1), rehearse(threads=4)
    assert first.quality == second.quality
    assert first.stores == second.stores
    assert first.contamination == second.contamination


# ── sabotage: each breaks one law, and the drill must say so ──


def test_hidden_writes_that_are_seen_fail_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def seen_by(record: ControlRecord, base: Iterable[int]) -> frozenset[int]:
        return frozenset(base) & frozenset(record.by_number)

    monkeypatch.setattr(ControlRecord, "seen_by", seen_by)
    assert {"counterfactual_stopped", "bookkeeping", "processes_agree"} <= failed(rehearse().checks)


def test_influence_that_is_not_stamped_fails_it(monkeypatch: pytest.MonkeyPatch) -> None:
    original = TurnScope.record_range

    def record_range(scope: TurnScope, read: Any, _: Iterable[Lineage]) -> None:
        original(scope, read, ())

    monkeypatch.setattr(TurnScope, "record_range", record_range)
    assert {"every_read_right", "plan_exact", "counterfactual_stopped"} <= failed(rehearse().checks)


def test_user_words_that_are_taken_for_derived_fail_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TurnScope, "is_source", lambda _scope, _origin, _default: False)
    assert {"sources_survive", "counterfactual_stopped"} <= failed(rehearse().checks)


def test_a_replay_that_leaves_something_out_fails_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Team, "again_attachment", lambda *_: None)
    assert failed(rehearse().checks) == {"counterfactual_replayed"}


def test_a_store_that_forgets_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lose one fact from every listing after the rollback."""

    def forgetting(*arguments: Any, **options: Any) -> dict[Place, Any]:
        content = visible(*arguments, **options)
        if not options:
            content.pop(min(place for place in content if place.store == "context"))
        return content

    monkeypatch.setattr(helpdesk, "visible", forgetting)
    assert {"processes_agree", "bookkeeping"} <= failed(rehearse().checks)
