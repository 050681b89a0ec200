"""Addresses of databases: which backend one names, and where its file is."""

import os
import re
from pathlib import Path

from kedge.errors import InvalidValue
from kedge.model.secrets import public_address, redact
from kedge.support.display import brief

FILE_NAME = "kedge.db"
_POSTGRES = frozenset({"postgresql", "postgres"})
_LOOKS_LIKE_SERVER = re.compile(
    r"\s*(?:postgres\w*:|\w+\s*=\s*\S+\s+\w+\s*=|(?:password|host|dbname)\s*=)", re.IGNORECASE
)


def _address(url: object) -> str:
    """Return an address as a string; raise `InvalidValue` for what is neither a string nor a path."""
    found = os.fspath(url) if isinstance(url, os.PathLike) else url
    if not isinstance(found, str):
        raise InvalidValue(
            f"invalid address {brief(url)} ({type(url).__name__}): must be a folder, sqlite:///PATH or postgresql://…"
        )
    return found


def is_server(url: str | Path) -> bool:
    """Return whether a URL names a database on a server."""
    scheme, separator, _ = _address(url).partition("://")
    return bool(separator) and scheme in _POSTGRES


def locate(url: str | Path) -> Path:
    """Return the database file that a URL or a folder names, existing or not."""
    text = _address(url)
    if "\0" in text:
        raise InvalidValue(f"invalid path {shown(text)}: must not contain NUL")
    scheme, separator, rest = text.partition("://")
    if separator and scheme != "sqlite":
        raise InvalidValue(
            f"invalid address {shown(text)}: unknown scheme {scheme!r}; use sqlite:///PATH, postgresql://… or a folder"
        )
    if separator:
        if not rest.startswith("/") or not Path(rest[1:]).name:
            raise InvalidValue(
                f"invalid address {shown(text)}: no file name; write sqlite:///relative.db or sqlite:////absolute.db"
            )
        return Path(rest[1:])
    if not text:
        raise InvalidValue("invalid path '': must not be empty; give a folder, or sqlite:///PATH")
    path = Path(text)
    try:
        if not path.exists() and _LOOKS_LIKE_SERVER.match(text):
            raise InvalidValue(f"invalid address {shown(text)}: write postgresql://user:password@host:5432/database")
        return path if path.is_file() else path / FILE_NAME
    except OSError as error:
        raise InvalidValue(f"invalid path {shown(text)} ({error.strerror}); choose another") from None


def shown(address: object) -> str:
    """Return an address as an error shows it: quoted, without secrets, and not too long."""
    return f"{redact(public_address(str(address)))!r:.80}"
