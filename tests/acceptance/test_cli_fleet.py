"""fleet, and what status and rollback say of members."""

from __future__ import annotations

import os
import pty
import signal
import time
from pathlib import Path

import pytest

import kedge
from kedge.model.fleet import Standing
from tests.acceptance.cli import Run, spawn
from tests.acceptance.test_cli_process import finish, read_until

MEMBER = {
    "name", "state", "epoch", "serves", "host", "pid", "lease_seconds", "joined_at", "refreshed_at", "holds",
    "code", "other_code",
}  # fmt: skip


def silent(k: kedge.Kedge, name: str, *, age: float = 0.0, epoch: int | None = None) -> None:
    """Add a member that no longer refreshes its lease."""
    at = time.time() - age
    epoch = k.epoch if epoch is None else epoch
    k._kernel.backend.fleet.refresh(Standing(name, name, "elsewhere", 7, ("billing",), 0.3, epoch, at, at))


def test_fleet_without_members(run: Run) -> None:
    assert "No members. A process joins with k.join(" in run("fleet").out
    assert "Members:" not in run("status").out


def test_members_are_listed(run: Run, world: Path) -> None:
    with kedge.open(world) as k:
        with k.join("support-1", serves=["support"]):
            silent(k, "billing-1", age=60)
            lines = run("fleet").out.splitlines()
            assert lines[1].split()[:2] + lines[1].split()[-1:] == ["billing-1", "silent", str(k.epoch)]
            assert lines[2].split()[:2] + lines[2].split()[-1:] == ["support-1", "serving", str(k.epoch)]
            assert lines[-1] == f"1 of 2 serving at the current epoch; silent: billing-1 (epoch {k.epoch})"
            assert "Members: 1 of 2 serving at the current epoch; silent: billing-1" in run("status").out
            found = run("fleet", "--json").document
            assert set(found) == {"epoch", "at", "members"}
            assert [set(member) for member in found["members"]] == [MEMBER] * 2
        assert "support-1" not in run("fleet").out


def test_a_rollback_names_the_laggards(run: Run, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kedge.open(world) as k, k.join("support-1"):
        silent(k, "billing-1")
        before = k.epoch
        result = run("rollback", "support-v2", "--yes", "--hold", "support", "--hold", "librarian")
        assert result.code == 0
        flat, steps = " ".join(result.out.split()), " ".join(result.err.split())
        assert "waiting for billing-1: at most 0.8 s" in steps
        assert (
            "1 of 2 members acknowledged; "
            "did not acknowledge: billing-1 on elsewhere (lease expired: it serves nothing)" in flat
        )
        assert "released: librarian, support" in steps
        assert "consensus_latency_seconds 0." in flat
        assert run("log", "--json").document["entries"][3]["kind"] == "rollback:converged"
        monkeypatch.setenv("COLUMNS", "200")
        assert "rollback:converged support-v2 without billing-1" in run("log").out
        assert "expired: billing-1" in run("status").out
        (laggard,) = next(e for e in k.log() if e.kind == "rollback:converged").detail["laggards"]
        assert (laggard["name"], laggard["epoch"]) == ("billing-1", before)


def test_a_bounded_wait_is_no_success(run: Run, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kedge.open(world) as k:
        silent(k, "billing-1")
    result = run("rollback", "support-v2", "--yes", "--wait", "0")
    assert result.code == 1
    assert "NOT CONVERGED" in result.out
    monkeypatch.setenv("COLUMNS", "200")
    assert "rollback:not-converged support-v2 without billing-1" in run("log").out
    assert run("recover").code == 0


def test_an_unknown_feature_gives_a_warning(run: Run, world: Path) -> None:
    with kedge.open(world) as k:
        silent(k, "billing-1")
    held = run("rollback", "support-v2", "--yes", "--hold", "suport", "--hold", "librarian", "--hold", "billing")
    assert held.code == 0
    said = " ".join(held.err.split())
    assert "unknown feature 'suport'" in said
    assert "(did you mean 'support'?)" in said
    assert said.count("unknown feature") == 1, "an agent that it influenced is known, and what a member serves"
    assert "unknown feature 'suport'" in " ".join(run("level", "suport", "off").err.split())
    assert run("level", "support", "off").err == ""


def test_watching_ends_with_ctrl_c(world: Path, tmp_path: Path) -> None:
    with kedge.open(world) as k:
        silent(k, "billing-1")
    ours, theirs = pty.openpty()
    process = spawn("fleet", "--watch", "--db", str(world), cwd=tmp_path, stdout=theirs, env={"COLUMNS": "120"})
    os.close(theirs)
    read_until(ours, "billing-1")
    with kedge.open(world) as k:
        silent(k, "billing-2")
    read_until(ours, "billing-2")
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = finish(process)
    os.close(ours)
    assert (code, err) == (0, "")


def test_watching_is_no_json(run: Run) -> None:
    result = run("fleet", "--watch", "--json")
    assert result.code == 2
    assert result.document["error"]["kind"] == "InvalidValue"


@pytest.mark.parametrize("wait", ["-1", "x"])
def test_a_wait_is_seconds(run: Run, wait: str) -> None:
    assert run("rollback", "support-v2", "--yes", "--wait", wait).code == 2


def test_other_code_shows_in_fleet_status_and_verdicts(run: Run, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with kedge.open(world) as k, kedge.open(world, code="sha256:2", other_code="refuse") as other:
        k.deploy("code", {"support/code": "sha256:1"})
        k.promote("code")
        with other.join("support-2", serves=["support"]):
            with pytest.raises(kedge.OtherCode):
                other.turn(agent="support")
            assert "code differs from what new sessions pin: support-2 (support)" in run("fleet").out
            status = run("status").out
            assert "code differs from what new sessions pin: support-2 (support)" in status
            assert "Code mismatch: 1 turn of support refused" in status
            assert "runs sha256:2, view pins sha256:1" in status
    assert "code:refuse" in run("verdicts").out
