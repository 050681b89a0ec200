"""kedge migrate-store and kedge diff --with, as a user types them."""

from __future__ import annotations

from pathlib import Path

import pytest

import kedge
from kedge import failpoints
from tests import populated
from tests.acceptance.cli import runner


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return populated.populate(tmp_path / "here").parent


def test_a_database_is_moved_and_compared(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, there = runner(capsys, None), str(tmp_path / "there")
    refused = run("migrate-store", str(here), there)
    assert (refused.code, "add --yes if you mean it" in refused.err) == (2, True)
    moved = run("migrate-store", str(here), there, "--yes", "--by", "ann")
    assert moved.code == 0
    assert f"Moved to sqlite:///{there}/kedge.db, up to seq" in moved.out
    assert "is closed at seq" in moved.err
    again = run("migrate-store", str(here), there, "--yes", "--json")
    assert again.document["move"]["already_done"] is True
    looked = run("log", "--limit", "1", "--db", str(here))
    assert "This database was moved to sqlite:///" in looked.err
    assert "moved to sqlite:///" in looked.out
    assert "ann" in looked.out
    changed = run("promote", "x", "--db", str(here))
    assert (changed.code, "open that; this one takes no writes any more" in changed.err) == (2, True)
    same = run("diff", "--with", there, "--db", str(here))
    assert (same.code, "Both hold the same:" in same.out) == (0, True)
    assert run("promote", "x", "--db", there).code == 0
    told = run("diff", "--with", there, "--db", str(here), "--json")
    assert (told.code, told.document["same"], told.document["a_seq"] < told.document["b_seq"]) == (0, True, True)


def test_what_differs_is_told(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runner(capsys, here)
    populated.copy_of(here, tmp_path / "copy")
    with populated.raw(tmp_path / "copy" / "kedge.db") as connection:
        connection.execute("UPDATE writes SET at = at + 1 WHERE name = 'doc'")
        connection.commit()
    found = run("diff", "--with", str(tmp_path / "copy"))
    assert found.code == 1
    assert "writes: 0 only in a, 0 only in b, 2 different" in found.out
    assert run("diff").code == run("diff", "now", "--with", str(here)).code == 2


def test_a_move_that_was_stopped_is_given_up(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, there = runner(capsys, None), str(tmp_path / "there")

    def stop() -> None:
        raise KeyboardInterrupt

    failpoints.arm("move:sealed", stop)
    stopped = run("migrate-store", str(here), there, "--yes")
    assert (stopped.code, "the same command again goes on, --abandon gives the move up" in stopped.err) == (130, True)
    failpoints.disarm()
    unfinished = run("status", "--db", there)
    assert (unfinished.code, "is not complete: a move from" in unfinished.err) == (4, True)
    given_up = run("migrate-store", str(here), there, "--abandon", "--yes")
    assert (given_up.code, "can be written to again" in given_up.out) == (0, True)
    with kedge.open(here) as k:
        assert k.moved_to is None
        assert k.promote("x").deployment.name == "x"
