"""Stop files: what they say, how they are written, and that nothing in them loosens."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kedge
from kedge.model.ladder import EVERYTHING, Scope, effective
from kedge.model.levels import Level, strictness
from kedge.model.stop_file import ALL_OFF, BYTES_MAX, StopLine, Stops, entries_of, format_stops, parse_stops
from kedge.turns.stop_files import StopFiles, remove_stop, write_stop

SUPPORT = StopLine(Scope("feature", "support"), Level.FROZEN, "by ana: it sends mails")


@pytest.mark.parametrize("content", [b"", b"\n \n", b"# only a comment\n", b"everything", b"everything off\n"])
def test_what_turns_everything_off(content: bytes) -> None:
    found = parse_stops(content)
    assert [(line.scope, line.level) for line in found.lines] == [(EVERYTHING, Level.OFF)]
    assert found.fault is None


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"feature:support full", "full"),
        (b"suport", "line 1"),
        (b"feature:support off\ncohort:3-4 off", "line 2"),
        (b"\xff\xfe", "UTF-8"),
        (b"#" * (BYTES_MAX + 1), "larger"),
        (b"\0", "line 1"),
    ],
)
def test_what_cannot_be_read_turns_everything_off(content: bytes, fault: str) -> None:
    found = parse_stops(content)
    assert [(line.scope, line.level) for line in found.lines] == [(EVERYTHING, Level.OFF)]
    assert found.fault is not None
    assert fault in found.fault


@given(st.binary(max_size=80))
def test_no_content_loosens_or_fails(content: bytes) -> None:
    entries = entries_of(parse_stops(content), "STOP", 0.0)
    assert entries
    assert all(strictness(entry.level) > strictness(Level.FULL) for entry in entries)


def test_lines_survive_being_written() -> None:
    cohort, tool = Scope("cohort", "", 0.0, 0.25), Scope("tool", "pay out")
    lines = (SUPPORT, StopLine(cohort, Level.OFF), StopLine(tool, Level.CAUTIOUS))
    assert parse_stops(format_stops(lines)) == Stops(lines)


# ── files ──


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "STOP"


def level(files: StopFiles, feature: str = "support") -> Level:
    files.look()
    return effective(files.entries, feature=feature)


def test_a_file_is_seen_when_it_comes_changes_and_goes(path: Path) -> None:
    files = StopFiles([path])
    assert level(files) is Level.FULL
    assert write_stop(path, SUPPORT)
    assert (level(files), level(files, "other")) == (Level.FROZEN, Level.FULL)
    assert write_stop(path, ALL_OFF)
    assert (level(files), level(files, "other")) == (Level.OFF, Level.OFF)
    assert remove_stop(path, EVERYTHING)
    assert (level(files), level(files, "other")) == (Level.FROZEN, Level.FULL)
    assert remove_stop(path)
    assert not remove_stop(path)
    assert level(files) is Level.FULL


def test_entries_are_read_again_without_being_asked(path: Path) -> None:
    files = StopFiles([path])
    assert not files.entries
    path.touch()
    while effective(files.entries) is not Level.OFF:
        pass


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to(path)], ids=["folder", "loop"])
def test_a_file_that_cannot_be_read_turns_everything_off(path: Path, make: object) -> None:
    make(path)  # type: ignore[operator]
    files = StopFiles([path])
    assert level(files) is Level.OFF
    assert str(path) in files.faults


@pytest.mark.usefixtures("full")
def test_a_stop_of_everything_needs_no_room(path: Path) -> None:
    assert not write_stop(path, ALL_OFF)
    assert path.read_bytes() == b""


def test_a_narrow_file_becomes_everything_without_room(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_stop(path, SUPPORT)
    monkeypatch.setattr(os, "fsync", _no_room)
    assert not write_stop(path, ALL_OFF)
    assert level(StopFiles([path]), "other") is Level.OFF


@pytest.mark.usefixtures("full")
def test_a_narrow_stop_without_room_says_what_to_do(path: Path) -> None:
    with pytest.raises(kedge.StorageFull, match="nothing was written there; to stop everything"):
        write_stop(path, SUPPORT)
    assert not list(path.parent.iterdir())


def _no_room(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every write fail as on a full disk."""
    monkeypatch.setattr(os, "fsync", _no_room)
