"""The only place that chooses backends."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kedge.backends.sqlite.backend import SqliteBackend
from kedge.errors import InvalidValue, UnknownName
from kedge.face import Kedge
from kedge.ports.backend import Backend
from kedge.ports.clock import Clock, SystemClock
from kedge.ports.reconciler import Reconciler
from kedge.reconcilers.config import read_config

if TYPE_CHECKING:
    from kedge.backends.postgres.backend import PostgresBackend
    from kedge.backends.postgres.databases import ServerDatabases

FILE_NAME = "kedge.db"
CACHE_BYTES = 256 * 1024 * 1024
_POSTGRES = frozenset({"postgresql", "postgres"})


def open(
    url: str | Path,
    *,
    durability: str = "full",
    session_ttl: float | None = None,
    cache_bytes: int = CACHE_BYTES,
    read_only: bool = False,
    clock: Clock | None = None,
    reconcilers: Mapping[str, Reconciler] | str | Path | None = None,
    code: str | Mapping[str, str] | None = None,
    other_code: str = "warn",
) -> Kedge:
    """Open a database, creating it or bringing its schema up to date where needed.

    `url` is `sqlite:///relative.db`, `sqlite:////absolute.db`, a folder, or `postgresql://user@host/database`, which
    must be there. `durability="normal"` may lose the last commits on power failure, never on a crash of the process.
    `session_ttl` (seconds) fixes sessions anew when over. `read_only` makes nothing, and raises `UnknownName` where
    there is no database. `reconcilers` bring external systems to what is pinned: by name, or a path to a `kedge.toml`.
    `code` is what this process runs, one digest or by agent; where a turn's view pins another in `<agent>/code`,
    `other_code` says whether to "ignore", "warn" or "refuse".
    """
    chosen = read_config(Path(reconcilers)) if isinstance(reconcilers, str | Path) else reconcilers
    backend: Backend
    if is_server(url):
        backend = _postgres(str(url), durability, cache_bytes, clock, read_only=read_only)
    else:
        path = locate(url)
        if read_only and not path.exists():
            raise UnknownName(f"there is no database at {path}; check the path, or open it for writing to make one")
        backend = SqliteBackend(
            path, clock or SystemClock(), durability=durability, read_only=read_only, cache_bytes=cache_bytes
        )
    try:
        return Kedge(
            backend, session_ttl=session_ttl, reconcilers=chosen, code=code, other_code=other_code, read_only=read_only
        )
    except BaseException:
        backend.close()
        raise


def server_databases(url: str) -> "ServerDatabases":
    """Return a maker of databases of one's own on a server, to be used as a context manager: it drops them."""
    if not is_server(url):
        raise InvalidValue(f"{url!r} is no server; give postgresql://user@host/database")
    _need_driver()
    from kedge.backends.postgres.databases import ServerDatabases  # noqa: PLC0415 - its driver is an extra

    return ServerDatabases(url)


def _need_driver() -> None:
    if importlib.util.find_spec("psycopg") is None or importlib.util.find_spec("psycopg_pool") is None:
        raise InvalidValue("a postgresql:// address needs the extra `postgres`: pip install 'kedge[postgres]'")


def _postgres(
    url: str, durability: str, cache_bytes: int, clock: Clock | None, *, read_only: bool
) -> "PostgresBackend":
    _need_driver()
    from kedge.backends.postgres.backend import PostgresBackend  # noqa: PLC0415 - its driver is an extra

    return PostgresBackend(url, clock, durability=durability, read_only=read_only, cache_bytes=cache_bytes)


def is_server(url: str | Path) -> bool:
    """Say whether a URL means a database of a server, and no file."""
    scheme, separator, _ = str(url).partition("://")
    return bool(separator) and scheme in _POSTGRES


def locate(url: str | Path) -> Path:
    """Return the database file that a URL or a folder means, whether it is there or not."""
    text = str(url)
    if "\0" in text:
        raise InvalidValue(f"the path {text!r:.80} holds a NUL, which no path may; remove it")
    scheme, separator, rest = text.partition("://")
    if separator and scheme != "sqlite":
        raise InvalidValue(
            f"{text!r}: the scheme {scheme!r} is not supported; use sqlite:///PATH, postgresql://… or a folder"
        )
    if separator:
        if not rest.startswith("/") or len(rest) == 1:
            raise InvalidValue(f"{text!r} names no file; write sqlite:///relative.db or sqlite:////absolute.db")
        return Path(rest[1:])
    if not text:
        raise InvalidValue("the path is empty; name a folder, or sqlite:///PATH")
    path = Path(text)
    try:
        return path if path.is_file() else path / FILE_NAME
    except OSError as error:
        raise InvalidValue(f"the path {text!r:.80} cannot be ({error.strerror}); choose another") from None
