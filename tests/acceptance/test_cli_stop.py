"""`kedge stop`, as typed at 3 a.m.: also where the database, or Kedge itself, is broken."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

import kedge
from kedge.cli.main import main
from kedge.testing import postgres
from kedge.turns.stop_files import FILE_NAME, VARIABLE
from tests.acceptance.cli import make_world

ROOT = Path(__file__).resolve().parents[2]
BROKEN = "raise ImportError('this library is broken')\n"


@pytest.fixture
def db(tmp_path: Path) -> Path:
    make_world(tmp_path / "db")
    return tmp_path / "db"


def test_it_says_what_it_did_and_lets_go_again(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop", "--reason", "wrong refunds", "--by", "ana", "--db", str(db)]) == 0
    said = capsys.readouterr()
    assert f"This host: off for everything by {db / FILE_NAME}." in said.out
    assert "All hosts: recorded as L" in said.out
    assert main(["stop", "--release", "--by", "agent:support", "--db", str(db)]) == 6
    assert "a person does" in " ".join(capsys.readouterr().err.split())
    assert (db / FILE_NAME).exists()
    assert main(["stop", "--release", "--by", "ben", "--db", str(db)]) == 0
    assert "removed everything from" in capsys.readouterr().out
    assert main(["stop", "--release", "--by", "ben", "--db", str(db)]) == 0
    assert "No stop of everything here." in capsys.readouterr().out


def test_it_names_what_is_still_stopped(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop", "tool:refund", "--level", "cautious", "--db", str(db)]) == 0
    assert main(["stop", "--release", "--db", str(db)]) == 0
    assert "No stop of everything here; still stopped: cautious for tool:refund." in capsys.readouterr().out
    assert main(["status", "--db", str(db)]) == 0
    assert "kedge ladder loosen" not in capsys.readouterr().out, "that would leave the file"


def test_a_feature_that_may_be_a_slip_is_stopped_and_named(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop", "feature:suport", "--db", str(db)]) == 0
    assert "agent 'suport': did you mean 'support'?" in " ".join(capsys.readouterr().err.split())
    assert main(["stop", "feature:support", "--db", str(db)]) == 0
    assert "did you mean" not in capsys.readouterr().err


def test_a_deployment_that_is_not_there_is_not_tried_again(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop", "deployment:nope", "--db", str(db)]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "no deployment is named 'nope'" in said
    assert "To take this back: kedge stop --release deployment:nope" in said
    assert "again here" not in said


def test_a_stop_file_that_cannot_be_written_is_named(
    db: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    missing = db / "no" / "STOP"
    assert main(["stop", "--file", str(missing), "--db", str(db)]) == 0
    assert f"Stop file: {missing} cannot be written (No such file or directory)." in " ".join(
        capsys.readouterr().err.split()
    )
    assert main(["stop", "--db", str(db)]) == 0
    assert f"# by {pwd.getpwuid(os.getuid()).pw_name}" in (db / FILE_NAME).read_text()


def test_its_json_has_the_indicators(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with kedge.open(db) as k, k.join("worker"):
        assert main(["stop", "tool:refund", "--level", "cautious", "--json", "--db", str(db)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["stop"]["scope"], document["stop"]["level"]) == ("tool:refund", "cautious")
    assert list(document["stop"]["recorded"]["recognition"]["by_member"]) == ["worker"]
    assert document["level_commit_seconds"] > 0
    assert document["level_recognition_seconds"]["max"] >= 0
    assert (document["level_leaks_total"], document["unconfirmed"], document["ok"]) == (0, [], True)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["suport"], "invalid scope 'suport'"),
        (["--level", "full"], "invalid level 'full' of a stop"),
        (["--db", "no/such/place"], "there is no folder"),
    ],
)
def test_a_slip_stops_nothing(
    db: Path, capsys: pytest.CaptureFixture[str], typed: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(db.parent)
    assert main(["stop", *typed, *([] if "--db" in typed else ["--db", str(db)])]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (db / FILE_NAME).exists()


def test_it_stops_this_host_with_the_server_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "halt"))
    with postgres.running() as server:
        url = server.url()
        with kedge.open(url) as k, k.turn(session="s1", agent="support") as turn:
            server.kill()
            assert main(["stop", "--db", url, "--reason", "nobody answers"]) == 1
            said = capsys.readouterr()
            assert f"This host: off for everything by {tmp_path / 'halt'}." in said.out
            assert "Not recorded:" in said.err
            k._kernel.stop_files.look()
            assert turn.level is kedge.Level.OFF
            with pytest.raises(kedge.NotPermitted):
                turn.require("act", tool="refund")


def test_it_says_that_nothing_is_stopped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert main(["stop", "--db", "postgresql://localhost:1/none"]) == 1
    said = capsys.readouterr()
    assert "Nothing is stopped." in said.err
    assert "Other hosts go on" not in said.err
    assert said.out == ""


def test_ctrl_c_says_what_holds(db: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["kedge.open"], "record_stop", interrupted)
    assert main(["stop", "--db", str(db)]) == 130
    said = " ".join(capsys.readouterr().err.split())
    assert f"interrupted: {db / FILE_NAME} holds on this host; whether it is recorded for other hosts" in said


def test_it_stops_this_host_with_libraries_that_are_broken(db: Path, tmp_path: Path) -> None:
    (tmp_path / "faiss.py").write_text(BROKEN, encoding="utf-8")
    (tmp_path / "sqlite3.py").write_text(BROKEN, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "kedge.cli.main", "stop", "--db", str(db)],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "This host: off for everything" in done.stdout, done.stderr
    assert "this library is broken" in done.stderr
    assert done.returncode == 1
    assert (db / FILE_NAME).exists()
