"""Database selection: `--db`, KEDGE_DB, or .kedge/ in the current folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kedge import open as open_database
from kedge.cli.interrupts import ignore_interrupts
from kedge.cli.terminal import whisper
from kedge.errors import InvalidValue, UnknownName
from kedge.face import Kedge
from kedge.model.address import is_server, locate

DEFAULT = ".kedge"
CONFIG = Path("kedge.toml")


def for_reading(url: str | None, reconcilers: Path | None = None) -> Kedge:
    """Open a database read-only: create, change and lock nothing."""
    _must_exist(url)
    k = open_database(url or DEFAULT, read_only=True, reconcilers=reconcilers, standby="stale")
    if k.is_standby:
        whisper(f"This is a standby at epoch {k.epoch}. The primary may have newer changes.", "yellow")
    moved = k.moved_to
    if moved is not None:
        whisper(f"This database was moved to {moved}. This output shows its state at the move.", "yellow")
    return k


@contextmanager
def for_changing(url: str | None) -> Iterator[Kedge]:
    """Open an existing database for writing; after the block, the command ignores Ctrl-C."""
    with _change(url, None) as k:
        yield k
        ignore_interrupts()


@contextmanager
def for_reconciling(url: str | None) -> Iterator[Kedge]:
    """Open one with the reconcilers configured here for external systems; after the block, the same."""
    with _change(url, config()) as k:
        yield k
        ignore_interrupts()


def config() -> Path | None:
    """Return the reconcilers' configuration file: KEDGE_CONFIG, or kedge.toml in the current folder if it exists."""
    named = os.environ.get("KEDGE_CONFIG")
    return Path(named) if named else CONFIG if CONFIG.exists() else None


@contextmanager
def for_creating(url: str | None) -> Iterator[Kedge]:
    """Open a database for writing, and create it if it does not exist; after the block, the same."""
    with open_database(url or DEFAULT) as k:
        yield k
        ignore_interrupts()


def _change(url: str | None, reconcilers: Path | None) -> Kedge:
    _must_exist(url)
    if url is not None and is_server(url):
        open_database(url, read_only=True).close()  # raises, and creates nothing, if there is no database
    return open_database(url or DEFAULT, reconcilers=reconcilers)


def _must_exist(url: str | None) -> None:
    if url is not None and is_server(url):
        return  # opening it read-only reports a missing database
    path = locate(url or DEFAULT)
    try:
        there = path.exists()
    except OSError as error:
        raise InvalidValue(f"cannot access {path} ({error.strerror}); check the path and its permissions") from error
    if not there:
        raise UnknownName(
            f"no database at {path}; set --db or KEDGE_DB (a folder, sqlite:///PATH or postgresql://…), "
            "or create one with `kedge deploy`"
        )
