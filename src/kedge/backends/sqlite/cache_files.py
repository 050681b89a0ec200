"""Cache files beside the segment files: written atomically, by one process at a time, and safe to delete.

Each records the newest write that it reflects, and the digest of that write. Digests are salted, so no other history
has the same one: a file that survived the restore of an older database copy is recognised and ignored.

Cache files refer to rows by position, and a compaction moves rows. So their names begin with the stem of one layout
(`layout.py`).
"""

import fcntl
import os
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from kedge.backends.sqlite.sql import queries
from kedge.errors import KedgeError

_SQL = queries("vectors")
_CHUNK_BYTES = 1 << 22


class Proof(msgspec.Struct, frozen=True):
    """The newest write that a file reflects."""

    seq: int
    digest: bytes

    @classmethod
    def of(cls, connection: sqlite3.Connection, seq: int) -> "Proof":
        """Return the proof of a write, which must exist."""
        return cls(seq, connection.execute(_SQL["write_digest"], (seq,)).fetchone()[0])

    def holds(self, connection: sqlite3.Connection) -> bool:
        """Say whether this history contains the write."""
        found = connection.execute(_SQL["write_digest"], (self.seq,)).fetchone()
        return found is not None and found[0] == self.digest


@contextmanager
def exclusive_lock(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a file lock and give True, or give False if it is held elsewhere and `wait` is not set.

    The lock ends with the process, however that ends.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            try:
                yield True
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing is not enough: a forked child inherits the descriptor
    finally:
        os.close(descriptor)


@contextmanager
def atomic_replace(path: Path) -> Iterator[Path]:
    """Give a temporary file to write, which replaces `path` at the end; an exception removes it."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def crc_of(path: Path, upto: int | None = None) -> int:
    """Return the CRC-32 of a file, or of its first `upto` bytes."""
    found = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES if upto is None else min(_CHUNK_BYTES, upto)):
            found = zlib.crc32(chunk, found)
            upto = None if upto is None else upto - len(chunk)
    return found


def index_lock(folder: Path, stem: str) -> Path:
    """Return the lock file for changes to a segment's index."""
    return folder / f"{stem}.ivf.lock"


def drop(folder: Path, stem: str) -> None:
    """Delete all cache files of a segment. Lock files stay: replacing one that is held would break the lock."""
    for path in folder.glob(f"{stem}.*"):
        if path.suffix not in {".f32", ".lock"}:
            with suppress(OSError):
                path.unlink()


class BackgroundTask:
    """A daemon thread that runs one optional task at a time. Errors of the file system and of Kedge are ignored."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None

    def start(self, work: Callable[[], object]) -> bool:
        """Start a task, unless one is running; say whether it started."""
        if self._thread is not None and self._thread.is_alive():
            return False

        def run() -> None:
            with suppress(OSError, KedgeError):
                work()

        self._thread = threading.Thread(target=run, name=self._name, daemon=True)
        self._thread.start()
        return True

    def join(self) -> None:
        """Wait for the running task."""
        if self._thread is not None:
            self._thread.join()
