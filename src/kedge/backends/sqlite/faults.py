"""Errors of SQLite, translated to those of Kedge."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from kedge import errors
from kedge.backends.sqlite.file_kind import describe_file
from kedge.model.migration import moved_message

BUSY_SECONDS = 60.0
MOVED = "this database was moved"  # raised by the triggers of a database that was moved


def translate(error: sqlite3.Error, path: Path, moved_to: Callable[[], str]) -> errors.KedgeError:
    """Return the `KedgeError` for an SQLite error of the database at `path`; `moved_to` reads where it is now."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    text = str(error)
    if code == sqlite3.SQLITE_CONSTRAINT and text == MOVED:
        return errors.Moved(moved_message(f"sqlite:///{path}", moved_to()))
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return errors.Busy(f"{path} stayed locked for {BUSY_SECONDS:.0f} s ({text}); try again")
    if code == sqlite3.SQLITE_FULL:
        return errors.StorageFull(f"no room to write to {path} ({text}); nothing was written: free some space")
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}:
        return errors.ReadOnly(f"{path} cannot be written ({text}); check its permissions and its folder's")
    is_there = os.access(path, os.F_OK)  # `is_file()` would raise
    if code == sqlite3.SQLITE_CANTOPEN and is_there and not os.access(path.parent, os.W_OK):
        return errors.ReadOnly(
            f"cannot open {path}: SQLite needs two small files beside it, and {path.parent} is not "
            "writable; make it writable, or copy the database elsewhere"
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        return errors.InvalidValue(f"cannot open {path} ({text}); check the path and its permissions")
    if code == sqlite3.SQLITE_NOTADB:
        return _not_a_database(path, text)
    if code == sqlite3.SQLITE_CORRUPT:
        return errors.Corruption(f"{path} is damaged ({text}); run `kedge fsck`, then restore a backup")
    if code == sqlite3.SQLITE_IOERR:
        return errors.OutcomeUnknown(
            f"the disk failed under {path} ({text}); what was being written is there wholly or not at all: "
            "read it back, or repeat the call with the same idempotency key"
        )
    return errors.Corruption(f"{path}: unexpected SQLite error: {text}; run `kedge fsck`")


def _not_a_database(path: Path, text: str) -> errors.KedgeError:
    kind = describe_file(path)
    if kind:
        return errors.NotAKedgeDatabase(f"{path} is not a database, but {kind}; check the path")
    return errors.Corruption(
        f"the header of {path} is damaged ({text}); keep the files, run `kedge fsck`, then restore a backup"
    )
