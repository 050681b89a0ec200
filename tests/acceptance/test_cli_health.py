"""Command health: its exit codes are those of a probe."""

from __future__ import annotations

from pathlib import Path

import pytest

import kedge
from kedge.cli import database
from kedge.model import drills
from kedge.turns.scope import scope_of
from tests.acceptance.cli import Run


def test_exit_codes_are_those_of_a_probe(run: Run, world: Path) -> None:
    with kedge.open(world) as k:
        k.recover()
        for deployment in k.deployments():
            if deployment.status == "canary":
                k.rollback(deployment.name)
    found = run("health")
    assert (found.code, "WARNING  drills" in found.out or "WARNING drills" in found.out) == (0, True)
    with kedge.open(world) as k:
        backend = scope_of(k.view()).backend
        backend.control.step("op", drills.FAILED, by="x", detail={"failed": ["unseen"]})
    found = run("health", "--json")
    assert found.code == 1
    assert (found.document["state"], found.document["ok"]) == ("ill", False)
    assert found.document["findings"][0]["check"] == "drills"
    assert found.document["findings"][0]["severity"] == "ill"
    assert "ILL" in run("health").out


def test_what_cannot_be_read_is_not_healthy(run_nowhere: Run) -> None:
    found = run_nowhere("health", "--json", "--db", "postgresql://nobody@127.0.0.1:1/none")
    assert found.code == 2
    assert (found.document["state"], found.document["checks"]) == ("unknown", {"database": "unknown"})
    assert run_nowhere("health").code == 2, "there is no database"


def test_a_damaged_database_is_ill(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(_: object) -> None:
        raise kedge.Corruption("page 7 is damaged; run `kedge fsck`")

    monkeypatch.setattr(database, "for_reading", damaged)
    found = run("health", "--json")
    assert (found.code, found.document["state"]) == (1, "ill")
    assert "page 7" in found.document["findings"][0]["what"]
