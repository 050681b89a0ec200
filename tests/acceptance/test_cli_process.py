"""The command as a process: terminals, pipes, signals and other processes."""

import json
import os
import pty
import select
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

import kedge
from tests.acceptance.cli import Run, content, spawn


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def read_until(terminal: int, wanted: str, seconds: float = 30.0) -> str:
    """Return what appears on a terminal up to and with the wanted text."""
    seen, end = "", time.monotonic() + seconds
    while wanted not in seen:
        assert time.monotonic() < end, seen
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 65_536).decode()
    return seen


def test_without_a_terminal(world: Path, tmp_path: Path) -> None:
    code, out, err = finish(spawn("status", "--db", str(world), cwd=tmp_path))
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    before = content(world)
    code, out, err = finish(spawn("rollback", "support-v2", "--db", str(world), cwd=tmp_path))
    assert code == 2
    assert "--yes" in err
    assert content(world) == before


def test_json_is_all_there_is_on_stdout(world: Path, tmp_path: Path) -> None:
    process = spawn("rollback", "support-v2", "--yes", "--json", "--db", str(world), cwd=tmp_path)
    code, out, err = finish(process)
    assert (code, err) == (0, "")
    assert json.loads(out)["ok"] is True


@pytest.mark.parametrize("no_color", [False, True])
def test_colour_on_a_terminal_and_not_with_no_color(world: Path, tmp_path: Path, no_color: bool) -> None:
    ours, theirs = pty.openpty()
    environment = {"TERM": "xterm-256color", **({"NO_COLOR": "1"} if no_color else {})}
    process = spawn("status", "--db", str(world), cwd=tmp_path, stdout=theirs, env=environment)
    os.close(theirs)
    seen = read_until(ours, "Last change")
    process.communicate(timeout=60)
    os.close(ours)
    assert ("\x1b[" in seen and "33m" in seen) is not no_color


def test_asking_on_a_terminal(world: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    argv = ("purge", "support-v2", "--db", str(world))
    with kedge.open(world) as k:
        k.rollback("support-v2")
    process = spawn(*argv, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    read_until(ours, "Type the deployment's name to continue:")
    os.write(ours, b"support-v2\n")
    read_until(ours, "is purged")
    process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0


def test_ctrl_c_at_a_question(world: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    before = content(world)
    process = spawn("rollback", "support-v2", "--db", str(world), cwd=tmp_path, stdin=theirs, stderr=theirs)
    os.close(theirs)
    read_until(ours, "Roll back support-v2?")
    os.killpg(process.pid, signal.SIGINT)
    seen = read_until(ours, "stopped")
    out, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 130
    assert "Traceback" not in out + seen
    assert content(world) == before


def test_a_rollback_that_waits_for_a_writer_says_so_and_hears_ctrl_c(world: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(world / "kedge.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        process = spawn("rollback", "support-v2", "--yes", "--db", str(world), cwd=tmp_path)
        assert process.stderr is not None
        assert "support-v2 is not rolled back yet" in process.stderr.readline()
        os.killpg(process.pid, signal.SIGINT)
        code, out, err = finish(process)  # while the writer is still at it
    assert (code, out) == (130, "")
    assert "nothing was changed" in " ".join(err.split())
    with kedge.open(world) as k:
        assert k.deployment("support-v2").status == "canary"


def test_ctrl_c_in_a_drill(tmp_path: Path) -> None:
    process = spawn("drill", "--docs", "2000", "--json", cwd=tmp_path, env={"TMPDIR": str(tmp_path)})
    end = time.monotonic() + 60
    while not list(tmp_path.glob("kedge-drill-*/main*")):  # it is at work
        assert time.monotonic() < end
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    code, out, err = finish(process)
    assert code == 130, err
    assert json.loads(out)["error"]["kind"] == "Interrupted"
    assert list(tmp_path.iterdir()) == []  # its folder is thrown away
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # and so is the reviewer's process


def test_a_reader_that_goes_away(world: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    process = spawn("log", "--db", str(world), cwd=tmp_path, stdout=write)
    os.close(write)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 141
    assert err == ""


def test_a_database_that_another_process_writes_to(world: Path, tmp_path: Path) -> None:
    with kedge.open(world) as k, k.turn(session="s-1", person="ann") as turn:
        processes = [spawn(command, "--db", str(world), cwd=tmp_path) for command in ("status", "log", "fsck")]
        for number in range(200):
            turn.context.put(f"new/{number}", number)
        assert [finish(process)[0] for process in processes] == [0, 0, 0]


def test_a_folder_that_cannot_be_written(world: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    world.chmod(0o500)
    try:
        assert finish(spawn("status", "--db", str(world), cwd=tmp_path))[0] == 0
        code, _, err = finish(spawn("promote", "support-v2", "--yes", "--db", str(world), cwd=tmp_path))
    finally:
        world.chmod(0o700)
    assert code == 2
    assert "cannot be written" in err


def test_a_drill_writes_its_report(tmp_path: Path) -> None:
    argv = ("drill", "--docs", "400", "--sessions", "6", "--report", "found.json")
    code, out, err = finish(spawn(*argv, cwd=tmp_path))
    assert code == 0, out + err
    assert "PASSED" in out
    assert json.loads((tmp_path / "found.json").read_text())["passed"] is True
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]


def test_a_drill_that_cannot_report_does_not_begin(run_nowhere: Run, tmp_path: Path) -> None:
    result = run_nowhere("drill", "--report", str(tmp_path / "no" / "such" / "folder.json"))
    assert (result.code, result.out) == (2, "")
    assert "cannot write the report" in " ".join(result.err.split())
    assert "reading the standard library" not in result.err


def test_a_drill_says_that_it_would_not_touch_the_database(run: Run, run_nowhere: Run) -> None:
    for result in (run("drill"), run_nowhere("--db", "mine", "drill")):
        assert result.code == 2
        assert "add --in-place" in " ".join(result.err.split())
