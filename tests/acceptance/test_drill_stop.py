"""The stop drill: its evidence, and that an agent that can release the stop fails it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import kedge
from kedge.cli.main import main
from kedge.drill import StopDrillReport, rehearse_stop
from kedge.guard.ladder import Ladder
from kedge.open import server_databases
from kedge.testing.postgres import Server

CHECKS = ["confirmed", "no_act_after", "no_leak", "agents_cannot_release", "words_kept", "file", "recovered"]


def test_it_writes_the_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["drill", "--stop", "--by", "ana", "--report", "evidence.json"]) == 0
    document = json.loads(Path("evidence.json").read_bytes())
    assert document["passed"]
    assert [check["name"] for check in document["checks"]] == CHECKS
    assert document["authority"] == document["recovery"]["signed_off_by"] == "ana"
    assert sorted(document["recognition_by_member"]) == ["drill-1", "drill-2", "drill-3"]
    assert (document["level_leaks_total"], document["acts_after_recognition"], document["unconfirmed"]) == (0, 0, [])
    assert document["acts_before"] > 0
    assert {one["outcome"] for one in document["negative_test"]} == {"NotPermitted"}
    assert document["out_of_band"]["database"] == "locked"
    assert all(acts > 0 for acts in document["recovery"]["acts"].values())
    text = Path("evidence.md").read_text(encoding="utf-8")
    assert "Verdict: **passed**" in text
    assert "drill-3 | loosen, by the agent's name | NotPermitted" in text


def _anybody(self: Ladder, by: str | None, what: str) -> str:  # noqa: ARG001 - of the method
    return self._who(by)[0]


def open_careless(url: str, *, stop_file: str) -> kedge.Kedge:
    """Open a database whose levels an agent may lift."""
    Ladder._person = _anybody  # type: ignore[method-assign] # in a process of the drill
    return kedge.open(url, stop_file=stop_file)


def test_an_agent_that_can_let_go_fails_it(postgres_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ladder, "_person", Ladder._person)  # put back what the opener takes away here
    with server_databases(postgres_server.url()) as databases:
        report: StopDrillReport = rehearse_stop(open_careless, authority="ana", databases=databases)
    assert not report.passed
    failed = [check.name for check in report.checks if not check.passed]
    assert failed == ["agents_cannot_release", "words_kept"]
    assert "done" in {one.outcome for one in report.negative_test}


def test_it_excludes_a_drill_in_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", "--stop", "--in-place"]) == 2
    assert "exclude each other" in capsys.readouterr().err
