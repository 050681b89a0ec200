"""Disk space reserved for control changes: a preallocated file beside the database.

A rollback must go through on a full disk. Its transaction deletes the file while it holds SQLite's write lock, so that
no other writer of this database takes the space, and allocates the file again afterwards, as large as there is room.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from kedge.errors import KedgeError, OutcomeUnknown, StorageFull

T = TypeVar("T")

RESERVE_BYTES = 2 << 20  # a control record may have 64 KiB; a rollback commits one and a few steps
_LEAST_BYTES = 64 << 10
_OPEN_BYTES = 512 << 10  # what opening a database needs: the index of its WAL


class Reserve:
    """The reserved space of one database."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(database.name + "-reserve")

    def fill(self) -> None:
        """Allocate the file, as large as there is room beside what opening the database needs."""
        bytes_ = RESERVE_BYTES
        while bytes_ >= _LEAST_BYTES and (size := self._size()) < bytes_:
            if _has_room(self._database, bytes_ - size + _OPEN_BYTES):
                with suppress(OSError):
                    allocate(self._path, bytes_)
            bytes_ //= 2

    def free(self) -> None:
        """Give all of the space back to the file system."""
        with suppress(OSError):
            self._path.unlink()

    def opening(self, act: Callable[[], T]) -> T:
        """Return the result of `act`, which opens the database, with a part of the space where the disk is full."""
        try:
            return act()
        except KedgeError:
            if not self._size() or _has_room(self._database, _OPEN_BYTES):
                raise
            with suppress(OSError):
                os.truncate(self._path, max(0, self._size() - _OPEN_BYTES))
            return act()

    def using(self, act: Callable[[Callable[[], None]], T]) -> T:
        """Return the result of `act(begun)`, a control change; it is repeated with the space where the disk is full.

        `act` calls `begun` once it holds the write lock, and is wholly done or not at all.
        """
        try:
            done = act(lambda: None)
        except (StorageFull, OutcomeUnknown):
            if not self._path.exists():
                raise
            try:
                return act(self.free)
            finally:
                self.fill()
        if not self._size():
            self.fill()  # it was used before, and there may be room again
        return done

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0


def allocate(path: Path, bytes_: int) -> None:
    """Make a file of at least this size whose blocks are allocated; raise `OSError`, and leave none, without room."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, bytes_)
        else:  # macOS
            os.pwrite(file, bytes(bytes_), 0)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)


def check_room(database: Path, bytes_: int, what: str) -> None:
    """Raise `StorageFull` unless this much space is free beside a database."""
    if not _has_room(database, bytes_):
        raise StorageFull(
            f"no room for {what} beside {database}: it needs {bytes_:,} bytes; nothing was written: free some space"
        )


def _has_room(database: Path, bytes_: int) -> bool:
    probe = database.with_name(f"{database.name}-room-{os.getpid()}")
    try:
        allocate(probe, bytes_)
    except OSError:
        return False
    with suppress(OSError):
        probe.unlink()
    return True
