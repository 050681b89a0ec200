"""kedge migrate-store and kedge diff --with."""

from __future__ import annotations

from pathlib import Path

import pytest

import kedge
from kedge.support import failpoints
from tests import populated
from tests.acceptance.cli import runner


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return populated.populate(tmp_path / "here").parent


def says(text: str, what: str) -> bool:
    """Say whether that is in a text, whichever lines a narrow terminal breaks it into."""
    return "".join(what.split()) in "".join(text.split())


def test_a_database_is_moved_and_compared(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, there = runner(capsys, None), str(tmp_path / "there")
    refused = run("migrate-store", str(here), there)
    assert (refused.code, says(refused.err, "refusing without confirmation; add --yes")) == (2, True)
    moved = run("migrate-store", str(here), there, "--yes", "--by", "ann")
    assert moved.code == 0
    assert says(moved.out, f"Moved to sqlite:///{there}/kedge.db, up to seq")
    assert says(moved.err, "is closed to writes at seq")
    again = run("migrate-store", str(here), there, "--yes", "--json")
    assert again.document["move"]["already_done"] is True
    looked = run("log", "--limit", "1", "--db", str(here))
    assert says(looked.err, "This database was moved to sqlite:///")
    assert says(looked.out, f"sqlite:///{there}")
    assert says(run("log", "--limit", "1", "--json", "--db", str(here)).out, f"sqlite:///{there}")
    changed = run("promote", "x", "--yes", "--db", str(here))
    assert (changed.code, says(changed.err, "open that; this one is read-only now")) == (2, True)
    same = run("diff", "--with", there, "--db", str(here))
    assert (same.code, says(same.out, "No differences:")) == (0, True)
    assert run("promote", "x", "--yes", "--db", there).code == 0
    told = run("diff", "--with", there, "--db", str(here), "--json")
    assert (told.code, told.document["same"], told.document["a_seq"] < told.document["b_seq"]) == (0, True, True)


def test_differences_are_printed(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runner(capsys, here)
    populated.copy_of(here, tmp_path / "copy")
    with populated.raw(tmp_path / "copy" / "kedge.db") as connection:
        connection.execute("UPDATE writes SET at = at + 1 WHERE name = 'doc'")
        connection.commit()
    found = run("diff", "--with", str(tmp_path / "copy"))
    assert found.code == 1
    assert says(found.out, "writes: 0 only in A, 0 only in B, 2 different")
    assert run("diff").code == run("diff", "now", "--with", str(here)).code == 2


def test_a_move_that_was_stopped_is_given_up(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, there = runner(capsys, None), str(tmp_path / "there")

    def stop() -> None:
        raise KeyboardInterrupt

    failpoints.arm("move:sealed", stop)
    stopped = run("migrate-store", str(here), there, "--yes")
    assert (stopped.code, says(stopped.err, "run the same command again; to cancel, add --abandon")) == (
        130,
        True,
    )
    failpoints.disarm()
    unfinished = run("status", "--db", there)
    assert (unfinished.code, says(unfinished.err, "is not complete: a move from")) == (4, True)
    given_up = run("migrate-store", str(here), there, "--abandon", "--yes")
    assert (given_up.code, says(given_up.out, "is writable again")) == (0, True)
    with kedge.open(here) as k:
        assert k.moved_to is None
        assert k.promote("x").deployment.name == "x"
