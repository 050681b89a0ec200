"""Files beside the segments that only save time: delete them at will. Written whole or not at all, by one at a time.

Each names the newest write that it reflects with that write's digest. Digests are salted, so that no other history has
it: a file that was left behind when an older copy of the database came back is known for what it is. Rows in them are
positions, which compaction moves: so their names begin with the stem of a layout, as no other layout's do.
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
        """Return the proof that goes with a write, which must be there."""
        return cls(seq, connection.execute(_SQL["write_digest"], (seq,)).fetchone()[0])

    def holds(self, connection: sqlite3.Connection) -> bool:
        """Say whether this history has that write."""
        found = connection.execute(_SQL["write_digest"], (self.seq,)).fetchone()
        return found is not None and found[0] == self.digest


@contextmanager
def alone(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Let one at a time do something; where another does, wait for it, or give False. The killed hold no lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a file to write to, which takes the place of `path` at the end; an exception takes it away."""
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
    """Return the CRC-32 of a file, or of what it begins with."""
    found = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES if upto is None else min(_CHUNK_BYTES, upto)):
            found = zlib.crc32(chunk, found)
            upto = None if upto is None else upto - len(chunk)
    return found


def index_lock(folder: Path, stem: str) -> Path:
    """Return the lock of whoever changes a segment's index."""
    return folder / f"{stem}.ivf.lock"


def drop(folder: Path, stem: str) -> None:
    """Take away all that is kept beside a segment. Locks stay: one that is held must not be made anew."""
    for path in folder.glob(f"{stem}.*"):
        if path.suffix not in {".f32", ".lock"}:
            with suppress(OSError):
                path.unlink()


class Behind:
    """One piece of work at a time in a thread of its own, for what nobody waits for: its failure costs time only."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None

    def start(self, work: Callable[[], object]) -> bool:
        """Begin it, unless one is under way; say whether it has begun."""
        if self._thread is not None and self._thread.is_alive():
            return False

        def run() -> None:
            with suppress(OSError, KedgeError):
                work()

        self._thread = threading.Thread(target=run, name=self._name, daemon=True)
        self._thread.start()
        return True

    def join(self) -> None:
        """Wait for what is under way."""
        if self._thread is not None:
            self._thread.join()
