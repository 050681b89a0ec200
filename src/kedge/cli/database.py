"""Opening the database that the user means: `--db`, KEDGE_DB, or the folder .kedge/ here."""

import os
from pathlib import Path

from kedge import open as open_database
from kedge.cli.terminal import whisper
from kedge.errors import InvalidValue, UnknownName
from kedge.face import Kedge
from kedge.open import is_server, locate

DEFAULT = ".kedge"
CONFIG = Path("kedge.toml")


def for_reading(url: str | None, reconcilers: Path | None = None) -> Kedge:
    """Open a database to look at: nothing is created, changed or locked."""
    _must_exist(url)
    k = open_database(url or DEFAULT, read_only=True, reconcilers=reconcilers)
    moved = k.moved_to
    if moved is not None:
        whisper(f"This database was moved to {moved}: what you see is how it stood then.", "yellow")
    return k


def for_changing(url: str | None) -> Kedge:
    """Open a database to change; it must be there."""
    return _change(url, None)


def for_moving(url: str | None) -> Kedge:
    """Open a database to change what external systems follow, with the reconcilers that are set up here."""
    return _change(url, config())


def config() -> Path | None:
    """Return the file that sets up reconcilers: KEDGE_CONFIG, or kedge.toml here, where it is there."""
    named = os.environ.get("KEDGE_CONFIG")
    return Path(named) if named else CONFIG if CONFIG.exists() else None


def for_beginning(url: str | None) -> Kedge:
    """Open a database to change, creating it where there is none."""
    return open_database(url or DEFAULT)


def _change(url: str | None, reconcilers: Path | None) -> Kedge:
    _must_exist(url)
    if url is not None and is_server(url):
        open_database(url, read_only=True).close()  # which makes nothing, where there is nothing
    return open_database(url or DEFAULT, reconcilers=reconcilers)


def _must_exist(url: str | None) -> None:
    if url is not None and is_server(url):
        return  # opening it to look says so itself
    path = locate(url or DEFAULT)
    try:
        there = path.exists()
    except OSError as error:
        raise InvalidValue(
            f"{path} cannot be looked at ({error.strerror}); check the path and its permissions"
        ) from error
    if not there:
        raise UnknownName(
            f"there is no database at {path}; name yours with --db or KEDGE_DB (a folder, sqlite:///PATH, "
            "or postgresql://…), or make one with `kedge deploy`"
        )
