"""`kedge launch` as a user types it: the plan, the verbs, exit codes, Ctrl-C, and the view in a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import kedge
from tests.acceptance.cli import Run, content, runner, spawn

RELEASE = """
deployment = "v2"
ramp = [0.3, 0.5]
min_sessions = 5
soak = 0
skip_gates = ["drill"]

[metrics.resolved]
kind = "success"
margin = 0.3
deadline = "1ms"

[artifacts]
"support/prompt" = "two"
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a database, in which v1 is live, and a release file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "release.toml").write_text(RELEASE)
    with kedge.open(".kedge", durability="normal") as k:
        k.deploy("v1", {"support/prompt": "one"})
        k.promote("v1")
    return tmp_path


@pytest.fixture
def run(place: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys, place / ".kedge")


def test_a_dry_run_shows_the_plan_and_changes_nothing(run: Run, place: Path) -> None:
    before = content(place)
    shown = run("launch", "release.toml", "--dry-run")
    assert shown.code == 0
    assert "v2: no gate has run yet" in shown.out, "it is not staged"
    assert "canary at 30%: 5 sessions of each arm, 0 s at least" in shown.out
    assert "watch it for 1 d" in shown.out
    assert "Nothing was changed" in shown.out
    document = run("launch", "release.toml", "--dry-run", "--json").document
    assert document["ok"]
    assert document["digest"].startswith("sha256:")
    assert content(place) == before


def test_a_failed_gate_starts_nothing_and_exits_with_1(run: Run, place: Path) -> None:
    (place / "release.toml").write_text(RELEASE.replace('skip_gates = ["drill"]\n', ""))
    shown = run("launch", "release.toml", "--once")
    assert shown.code == 1
    assert "gate drill failed" in shown.out
    with kedge.open(".kedge") as k:
        assert k.deployment("v2").status is kedge.Status.STAGED
    assert run("launch", "release.toml", "--dry-run").code == 1


def test_the_verbs_act_on_a_launch_and_give_one_document(run: Run) -> None:
    assert run("launch", "list").out.startswith("No launch has begun")
    status = run("launch", "release.toml", "--once", "--json", "--by", "ann").document["launch"]
    assert (status["phase"], status["weight"], status["begun_by"]) == ("ramp", 0.3, "ann")
    assert status["pilot"] is None, "this pilot has ended"
    paused = run("launch", "pause", "v2", "--reason", "lunch", "--by", "ann", "--json").document["launch"]
    assert "paused by ann (lunch)" in paused["why"]
    assert run("launch", "resume", "v2", "--json").document == {"resumed": ["v2"]}
    assert [each["name"] for each in run("launch", "list", "--json").document["launches"]] == ["v2"]
    assert "no pilot runs: nothing is watched until `kedge launch v2`" in run("launch", "status", "v2").out
    assert "not before" not in run("launch", "status", "v2").out, "a time that has passed says nothing"
    assert "v2: every gate passed; skipped: drill" in run("launch", "release.toml", "--dry-run").out
    shown = " ".join(run("status").out.split())
    assert re.search(r"Launch: v2, begun by ann \d+ s ago|Launch: v2, begun by ann just now", shown)
    assert "ramp, stage 1 of 2, 30% of the sessions, level full; highest e 1 of resolved, rolls back at 20" in shown
    assert "no pilot runs: kedge launch v2" in shown
    assert [each["name"] for each in run("status", "--json").document["launches"]] == ["v2"]
    assert "write: kedge launch pause v2" in run("launch", "v2", "pause").err
    assert run("launch", "approve", "v2").code == 3
    assert run("launch", "v2", "--once").code == 0
    found = run("launch", "recompute", "v2", "--json")
    assert (found.code, found.document["ok"]) == (0, True)
    refused = run("launch", "abort", "v2")
    assert (refused.code, "add --yes" in refused.err) == (2, True)
    assert run("launch", "abort", "v2", "--yes", "--reason", "wrong").code == 0
    ended = run("launch", "release.toml", "--once")
    assert ended.code == 3
    assert "Launch:" not in run("status").out, "it has ended"
    assert "has ended" in ended.err
    assert run("launch", "recompute", "v2").code == 0


def test_a_file_named_like_a_verb_is_a_file_where_it_is_written_as_one(run: Run, place: Path) -> None:
    (place / "pause").write_text(RELEASE)
    refused = run("launch", "pause")
    assert refused.code == 2
    assert "write ./pause" in refused.err
    assert run("launch", "./pause", "--dry-run").code == 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("launch", "puase", "v2"), "did you mean 'pause'"),
        (("launch", "list", "v2"), "kedge launch status v2"),
        (("launch", "pause", "v2", "--once"), "--once cannot be combined"),
        (("launch", "release.toml", "--keep"), "only for `kedge launch abort`"),
        (("launch", "v2", "--dry-run"), "needs a release file"),
        (("launch", "none.toml"), "cannot be read"),
        (("launch", "v7"), "no launch is named 'v7'"),
        (("launch", "pause", "v7"), "no launch is named 'v7'"),
    ],
)
def test_a_slip_on_the_command_line_is_refused(run: Run, argv: tuple[str, ...], words: str) -> None:
    shown = run(*argv)
    assert shown.code == 2
    assert words in shown.err


def test_a_changed_value_in_the_log_exits_with_1(run: Run, place: Path) -> None:
    run("launch", "release.toml", "--once")
    import sqlite3  # noqa: PLC0415 - below Kedge, as damage does it

    with sqlite3.connect(place / ".kedge" / "kedge.db") as connection:
        connection.execute("DROP TRIGGER control_log_is_immutable")
        connection.execute("UPDATE control_log SET detail = replace(detail, '0.3', '0.4') WHERE kind = 'launch:begin'")
    shown = run("launch", "recompute", "v2")
    assert shown.code == 1
    assert "NOT reproduced" in shown.out


# ── processes ──


def _until(read: Callable[[], str], words: str) -> str:
    text = ""
    while words not in text:
        more = read()
        assert more, f"it ended without {words!r}:\n{text}"
        text += more
    return text


def test_ctrl_c_leaves_the_launch_resumable_and_says_how(place: Path) -> None:
    pilot = spawn("launch", "release.toml", "--every", "0.1", cwd=place)
    assert pilot.stdout is not None
    _until(pilot.stdout.readline, "canary at 30%")
    second = spawn("launch", "release.toml", "--json", cwd=place)
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 3
    assert re.search(r"runs at .* until .*UTC", json.loads(out)["error"]["message"])
    os.killpg(pilot.pid, signal.SIGINT)
    _, err = pilot.communicate(timeout=60)
    assert pilot.returncode == 130
    told = " ".join(err.split())
    assert "To go on: kedge launch release.toml" in told
    assert "nothing watches it now" in told
    with kedge.open(place / ".kedge") as k:
        assert k.guard.status("v2").pilot is None
        assert k.guard.pilot("v2", once=True).phase == "ramp"


def test_a_supervisor_that_ends_a_pilot_gets_the_lease_back_at_once(place: Path) -> None:
    pilot = spawn("launch", "release.toml", "--every", "0.1", cwd=place)
    assert pilot.stdout is not None
    _until(pilot.stdout.readline, "canary at 30%")
    os.killpg(pilot.pid, signal.SIGTERM)
    pilot.communicate(timeout=60)
    assert pilot.returncode == 130
    with kedge.open(place / ".kedge") as k:
        assert k.guard.status("v2").pilot is None


def test_a_terminal_shows_the_launch_live(place: Path) -> None:
    ours, theirs = pty.openpty()
    pilot = spawn(
        "launch", "release.toml", "--every", "0.1", cwd=place, stdout=theirs, stderr=theirs,
        env={"TERM": "xterm-256color", "COLUMNS": "140"},
    )  # fmt: skip
    os.close(theirs)

    def read() -> str:
        ready, _, _ = select.select([ours], [], [], 60)
        try:
            return os.read(ours, 65_536).decode(errors="replace") if ready else ""
        except OSError:
            return ""

    shown = _until(read, "Ctrl-C stops the pilot")
    shown += _until(read, "Next: raises the weight to 50%")
    assert "resolved" in shown
    assert "stage 1 of 2" in shown
    os.killpg(pilot.pid, signal.SIGINT)
    while read():
        pass
    pilot.wait(60)
    os.close(ours)
    assert pilot.returncode == 130
