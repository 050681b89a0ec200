"""Stop files of this host: read without the database, written before it."""

import errno
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from kedge.errors import InvalidValue, KedgeError, StorageFull
from kedge.model.address import is_server, locate
from kedge.model.ladder import EVERYTHING, LevelEntry, Scope
from kedge.model.levels import Level
from kedge.model.stop_file import (
    BYTES_MAX,
    StopLine,
    Stops,
    add_line,
    entries_of,
    format_stops,
    parse_stops,
    unreadable,
    without_scope,
)
from kedge.support.fork_lock import ForkSafeLock

FILE_NAME = "STOP"
VARIABLE = "KEDGE_STOP_FILE"
LOOK_SECONDS = 0.02
_ABSENT = Stops(())
_FULL = {errno.ENOSPC, errno.EDQUOT}


class _Seen(NamedTuple):
    """A file as it was read: what tells that it has changed, and what it says."""

    stamp: tuple[int, ...]
    stops: Stops
    entries: tuple[LevelEntry, ...]


_NOTHING = _Seen((), _ABSENT, ())


class StopFiles:
    """The stop files that this process obeys. `entries` asks the file system at most every `LOOK_SECONDS`."""

    def __init__(self, paths: Iterable[Path] = ()) -> None:
        self.paths = tuple(dict.fromkeys(path.absolute() for path in paths))
        self._seen = dict.fromkeys(self.paths, _NOTHING)
        self._entries: tuple[LevelEntry, ...] = ()
        self._looked_at = -1.0
        self._looking = ForkSafeLock()

    @property
    def entries(self) -> tuple[LevelEntry, ...]:
        """The level entries of the files, as of `LOOK_SECONDS` ago at most."""
        if self.paths and not 0 <= time.monotonic() - self._looked_at < LOOK_SECONDS:
            self.look()
        return self._entries

    @property
    def marks(self) -> dict[str, str]:
        """A text for each file that is there, by its path: it changes when the file does."""
        if not self.entries:
            return {}
        return {str(path): repr(seen.stamp) for path, seen in self._seen.items() if seen.entries}

    @property
    def faults(self) -> dict[str, str]:
        """What cannot be read, by path: each of these turns everything off."""
        self.look()
        return {str(path): seen.stops.fault for path, seen in self._seen.items() if seen.stops.fault is not None}

    def look(self) -> None:
        """Read what has changed."""
        with self._looking.here:
            now = time.monotonic()
            self._seen = {path: _look(path, seen) for path, seen in self._seen.items()}
            self._entries = tuple(entry for seen in self._seen.values() for entry in seen.entries)
            self._looked_at = now


def _look(path: Path, seen: _Seen) -> _Seen:
    stamp: tuple[int, ...] = ()
    try:
        found = path.stat()
        stamp = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if stamp == seen.stamp and seen.stops.fault is None:
            return seen
        stops, since = parse_stops(_read(path)), found.st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return _NOTHING
    except OSError as error:  # that it is there is all that is known
        since, stops = time.time(), unreadable(error.strerror or str(error))
    return _Seen(stamp, stops, entries_of(stops, str(path), since))


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(BYTES_MAX + 1)


# ── writing ──


def write_stop(path: Path, line: StopLine) -> bool:
    """Add a line to a stop file, and return whether it is there with its reason; make the file where there is none.

    A stop of everything needs no room on the disk: where there is none, the file stays empty, and False is returned.
    """
    is_all = line.scope == EVERYTHING and line.level is Level.OFF
    before = _standing(path)
    if is_all and before is _ABSENT:
        path.touch()  # an empty file turns everything off
    try:
        _replace(path, add_line(before, line))
    except OSError as error:
        if is_all:
            path.write_bytes(b"")  # whatever it said before
            return False
        if error.errno in _FULL:
            raise StorageFull(
                f"no room for the stop file {path}: nothing was written there; to stop everything on this host, which "
                "needs no room, run `kedge stop`"
            ) from error
        raise
    return True


def _standing(path: Path) -> Stops:
    try:
        return parse_stops(_read(path))
    except FileNotFoundError:
        return _ABSENT


def remove_stop(path: Path, scope: Scope | None = None) -> bool:
    """Take the lines of a scope out of a stop file, or all of it; return whether there was something to take."""
    try:
        stops = parse_stops(_read(path))
    except FileNotFoundError:
        return False
    left = () if scope is None else without_scope(stops, scope)
    if left == stops.lines:
        return False
    if left:
        _replace(path, left)
    else:
        path.unlink()
        _sync(path.parent)
    return True


def _replace(path: Path, lines: Iterable[StopLine]) -> None:
    """Write a file so that readers find the old or the new one."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with fresh.open("wb") as file:
            file.write(format_stops(lines))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_path(path: object) -> Path:
    """Return the path of a stop file, or raise `InvalidValue`."""
    if not isinstance(path, str | Path) or not str(path) or "\0" in str(path):
        raise InvalidValue(f"invalid stop file {path!r:.80}: must be a path")
    return Path(path)


# ── which files ──


def paths_of(url: str | Path, stop_file: str | Path | None = None) -> tuple[Path, ...]:
    """Return the stop files that processes of a database on this host obey.

    `STOP` beside a database of SQLite; and `stop_file`, else the one that KEDGE_STOP_FILE names.
    """
    named = os.environ.get(VARIABLE) if stop_file is None else stop_file
    beside = () if is_server(url) else (locate(url).parent / FILE_NAME,)
    return (*beside, *(() if not named else (check_path(named),)))


class Written(NamedTuple):
    """What became of the stop file: its path; why nothing was written, or why its reason was left out."""

    path: Path | None
    error: str | None = None
    is_stopped: bool = False


def stop_by_file(url: str | Path, line: StopLine, stop_file: str | Path | None = None) -> Written:
    """Add a line to the stop file of an address; say why where that fails. Needs no database."""
    paths = paths_of(url, stop_file)
    path = paths[-1] if stop_file is not None else next(iter(paths), None)
    if path is None:
        return Written(
            None, f"no stop file is set for this host: set {VARIABLE}, or give its path (--file, stop_file=)"
        )
    try:
        is_whole = write_stop(path, line)
    except (OSError, KedgeError) as error:
        why = getattr(error, "strerror", None)
        return Written(path, f"{path} cannot be written ({why})" if why else str(error))
    said = None if is_whole else "the file is empty, without the reason: it could not be written"
    return Written(path, said, is_stopped=True)
