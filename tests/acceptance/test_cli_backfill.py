"""kedge backfill, as typed at night: what it says, what stops it, and that it goes on."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

import kedge
from tests.acceptance.cli import Run, runner, spawn
from tests.embedders import NARROW, WIDE, narrow

ROOT = Path(__file__).parents[2]
WIDE_ONE, SLOW_ONE, PICKY_ONE = "tests.embedders:wide", "tests.embedders:slow", "tests.embedders:picky"


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Make a database with sixty documents in the narrow space, and a staged deployment of the wide one."""
    texts = {f"doc-{number:02}": f"text number {number}" for number in range(60)}
    with kedge.open(tmp_path / "db", durability="normal") as k:
        k.collection("kb", dim=NARROW)
        k.deploy("narrow", {"shared/embedder": {"name": "narrow", "dim": NARROW}})
        k.promote("narrow")
        with k.turn(agent="pipeline") as turn:
            for ident, text in texts.items():
                turn.documents("kb").put(ident, text)
            turn.vectors("kb").upsert(list(texts), narrow(list(texts.values())))
        k.deploy("wide", {"shared/embedder": {"name": "wide", "dim": WIDE}})
    return tmp_path / "db"


@pytest.fixture
def run(db: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("KEDGE_DB", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    return runner(capsys, db)


def test_it_says_what_it_did_and_what_was_done_before(run: Run) -> None:
    first = run("backfill", "wide", "--embedder", WIDE_ONE, "--batch", "7")
    assert (first.code, first.err) == (0, ""), "no progress bar where nobody looks"
    assert first.out.startswith("kb: 60 documents embedded for readers of wide\n  0 already had a vector; took ")
    assert "60 already had a vector" in run("backfill", "wide", "--embedder", WIDE_ONE).out
    report = run("backfill", "wide", "--embedder", WIDE_ONE, "--json").document
    assert (report["embedded"], report["unchanged"], report["failed"], report["ok"]) == (0, 60, [], True)


def test_what_cannot_be_embedded_is_named_and_the_exit_code_says_so(run: Run, db: Path) -> None:
    with kedge.open(db) as k, k.turn(person="ann") as turn:
        turn.documents("kb").put("doc-bad", "bones")
    result = run("backfill", "wide", "--embedder", PICKY_ONE)
    assert result.code == 1
    assert "1 document failed" in result.out
    assert "kb/doc-bad: ValueError: bones are hard to swallow" in result.out
    report = run("backfill", "wide", "--embedder", PICKY_ONE, "--json")
    assert (report.code, report.document["ok"]) == (1, False)
    assert report.document["failed"] == [["kb/doc-bad", "ValueError: bones are hard to swallow"]]
    with kedge.open(db) as k, k.turn(person="ann") as turn:
        turn.documents("kb").put("doc-worse", "bones again")
    report = run("backfill", "wide", "--embedder", PICKY_ONE, "--json")
    assert (report.code, len(report.document["failed"])) == (1, 2), "nothing but what fails is left, again"
    run("promote", "wide", "--yes")
    assert [run("settle", name, "--yes").code for name in ("narrow", "wide")] == [0, 0]
    followed = run("backfill", "wide", "--embedder", PICKY_ONE, "--follow", "1s", "--json")
    assert (followed.code, len(followed.document["failed"])) == (1, 2), "which ends at once: it is settled"
    assert followed.err.splitlines() == [
        f"could not embed kb/{ident}: ValueError: bones are hard to swallow" for ident in ("doc-bad", "doc-worse")
    ]


def test_after_a_rollback_what_is_missing_is_found_and_embedded(run: Run, db: Path) -> None:
    run("backfill", "wide", "--embedder", WIDE_ONE)
    run("promote", "wide", "--yes")
    with kedge.open(db) as k, k.turn(person="ann") as turn:
        turn.documents("kb").put("doc-new", "came later")
    run("backfill", "wide", "--embedder", WIDE_ONE)
    said = " ".join(run("plan", "wide").out.split())
    assert "1 document will not be found by search until embedded again, such as kb/doc-new" in said
    assert run("plan", "wide", "--json").document["unsearchable"] == 1
    dual = run("backfill", "wide", "--embedder", WIDE_ONE, "--dual", "tests.embedders:narrow")
    assert "1 document embedded for readers outside wide" in dual.out
    assert run("plan", "wide", "--json").document["unsearchable"] == 0
    with kedge.open(db) as k, k.turn(person="ann") as turn:
        turn.documents("kb").put("doc-newer", "came later still")
    run("backfill", "wide", "--embedder", WIDE_ONE)
    assert "1 input" in run("rollback", "wide", "--yes").out
    missing = run("backfill", "--missing", "--embedder", "tests.embedders:narrow")
    assert missing.out.startswith("kb: 1 document embedded for readers of live state\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--embedder", WIDE_ONE], "use --missing for live state"),
        (["wide", "--missing", "--embedder", WIDE_ONE], "exclude each other"),
        (["wide"], "--embedder"),
        (["wide", "--embedder", "nowhere:embed"], "cannot be imported"),
        (["wide", "--embedder", WIDE_ONE, "--follow", "soon"], "invalid duration"),
        (["wide", "--embedder", "tests.embedders:narrow"], "returned 8 dimensions for kb 'doc-00'"),
        (["wyde", "--embedder", WIDE_ONE], "did you mean 'wide'"),
        (["wide", "--embedder", WIDE_ONE, "--rate", "0"], "rate=0"),
    ],
)
def test_what_cannot_work_is_wrong_usage(run: Run, arguments: list[str], message: str) -> None:
    result = run("backfill", *arguments)
    assert result.code == 2
    assert message in " ".join(result.err.split())


def test_the_embedder_is_looked_for_where_one_stands(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_embedder.py").write_text("from tests.embedders import wide as mine\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert "60 documents embedded" in run("backfill", "wide", "--embedder", "my_own_embedder:mine").out


@pytest.mark.parametrize("workers", ["0", "2"])
def test_ctrl_c_leaves_what_was_done_and_the_same_command_goes_on(run: Run, db: Path, workers: str) -> None:
    arguments = ["backfill", "wide", "--db", str(db), "--embedder", SLOW_ONE, "--batch", "5", "--workers", workers]
    process = spawn(*arguments, cwd=ROOT)
    with kedge.open(db) as k:
        while not (done := inside(k)):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err == "kedge: stopped. Stored vectors are kept. To resume, run the same command again\n"
    with kedge.open(db) as k:
        done = inside(k)
        assert 0 < done < 60
    assert f"{60 - done} documents embedded" in run("backfill", "wide", "--embedder", WIDE_ONE).out
    assert run("fsck", "--full").code == 0


def test_its_processes_end_with_it_however_it_ends(db: Path, tmp_path: Path) -> None:
    held = tmp_path / "held"
    held.touch()
    arguments = ["backfill", "wide", "--db", str(db), "--embedder", "tests.embedders:last", "--workers", "1"]
    process = spawn(*arguments, cwd=ROOT, env={"HELD": str(held)})
    while not held.read_text(encoding="utf-8"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.kill()
    with held.open() as file:
        for _ in range(600):
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                process.communicate()
                return
            time.sleep(0.05)
    os.kill(int(held.read_text(encoding="utf-8")), signal.SIGKILL)
    pytest.fail("a process of the embedder has outlived the backfill by half a minute")


def inside(k: kedge.Kedge) -> int:
    return sum(effect.writes for effect in k.plan("wide").effects if effect.store == "vectors")


def test_on_a_terminal_a_bar_says_how_many_and_how_fast(db: Path) -> None:
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    arguments = ["backfill", "wide", "--db", str(db), "--embedder", SLOW_ONE, "--batch", "5"]
    process = spawn(*arguments, cwd=ROOT, stderr=slave, env={"TERM": "xterm", "COLUMNS": "100"})
    os.close(slave)
    drawn = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        drawn += part
    out, _ = process.communicate(timeout=30)
    os.close(master)
    assert "60 documents embedded" in out
    assert b"of 60 documents" in drawn
    assert b"/s" in drawn
