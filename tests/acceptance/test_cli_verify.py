"""Command verify."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import kedge
from kedge.recovery.verify import Indicators
from tests.acceptance.cli import Run, spawn


def test_the_indicators_now_and_of_the_last_runs(run: Run, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kedge.open(world) as k:
        before = len(k.guard.indicator_runs())
        k.rollback(k.deploy("v8", {"support/prompt": "eight"}).name)
        found = k.verify()
    shown = run("verify")
    assert shown.code == 0
    assert "vector_consistency_ratio" in shown.out
    assert "v8" in shown.out
    assert f"no fault found in {found.keys_checked} key" in shown.out
    document = run("verify", "--json").document
    assert (document["ok"], len(document["runs"])) == (True, before + 1)
    assert document["indicators"]["keys_checked"] == found.keys_checked > 0
    assert len(run("verify", "--json", "--runs", "1").document["runs"]) == 1
    assert "exclude each other" in run("verify", "--watch", "--json").out
    assert run("verify", "--watch", "--every", "inf").code == 2
    monkeypatch.setattr(Indicators, "ok", property(lambda _self: False))
    shown = run("verify")
    assert shown.code == 1
    assert "A FAULT was found" in shown.out
    assert run("verify", "--json").code == 1


def test_an_empty_database_is_not_called_verified(run: Run, tmp_path: Path) -> None:
    kedge.open(tmp_path / "new").close()
    shown = run("verify", "--db", str(tmp_path / "new"))
    assert "nothing was compared" in shown.out
    assert "None has been verified yet" in shown.out


def test_watching_ends_with_ctrl_c(world: Path) -> None:
    process = spawn("verify", "--watch", "--every", "0.1", "--db", str(world), cwd=world.parent, bufsize=1)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, ""), "Ctrl-C ends it"
    assert lines[0].startswith("UTC")
    assert all("no fault found" in line for line in lines[1:])
