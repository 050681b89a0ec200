"""Opening, moving and comparing databases: the only module that chooses backends."""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedge.backends.sqlite.backend import SqliteBackend
from kedge.backends.sqlite.migration import SqliteExporter, SqliteImporter
from kedge.errors import InvalidValue, UnknownName
from kedge.face import Kedge
from kedge.guard import stopping
from kedge.guard.ladder import Ladder
from kedge.guard.stopping import WAIT_SECONDS, ReleaseReport, StopReport
from kedge.migration import migrate
from kedge.migration.compare import Side, StoreDiff, compare
from kedge.migration.migrate import MoveReport, Progress, Say
from kedge.model.address import is_server, locate, shown
from kedge.model.choices import DurabilityName, LevelName, OtherCodePolicy
from kedge.model.codec import Codec
from kedge.model.ladder import Scope, parse_scope
from kedge.model.stop_file import StopLine, check_stop_level
from kedge.ports.backend import Backend
from kedge.ports.clock import Clock, SystemClock
from kedge.ports.migration import Exporter, Importer
from kedge.ports.reconciler import Reconciler
from kedge.ports.resolver import Resolver
from kedge.reconcilers.config import read_config, read_resolvers
from kedge.recovery.converge import check_wait
from kedge.turns.kernel import actor
from kedge.turns.stop_files import StopFiles, Written, paths_of, stop_by_file

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

    from kedge.backends.postgres.backend import PostgresBackend
    from kedge.backends.postgres.databases import ServerDatabases

CACHE_BYTES = 256 * 1024 * 1024


def open(
    url: str | Path,
    *,
    durability: DurabilityName = "full",
    session_ttl: float | None = None,
    cache_bytes: int = CACHE_BYTES,
    read_only: bool = False,
    clock: Clock | None = None,
    pool: "ConnectionPool[Any] | None" = None,
    reconcilers: Mapping[str, Reconciler] | str | Path | None = None,
    resolvers: Mapping[str, Resolver] | None = None,
    code: str | Mapping[str, str] | None = None,
    other_code: OtherCodePolicy = "warn",
    standby: str = "refuse",
    codec: Codec | None = None,
    stop_file: str | Path | None = None,
) -> Kedge:
    """Open a database; create it, or migrate its schema, where needed.

    `url` is `sqlite:///relative.db`, `sqlite:////absolute.db`, a folder, or `postgresql://user@host/database`, which
    must exist. `durability="normal"` may lose the last commits when the power fails or a PostgreSQL server crashes, but
    never when this process crashes.
    `session_ttl`: a session older than this many seconds is reassigned. `read_only` creates nothing, and raises
    `UnknownName` where there is no database. `pool` is a psycopg_pool.ConnectionPool to the same server database; Kedge
    uses it instead of its own and never closes it. `reconcilers` bring external systems to the current pins: a mapping
    by name, or a path to a `kedge.toml`. `resolvers` tell plans whether artifacts can still be had.
    `code` is the code that this process runs, one digest or a mapping by agent.
    `standby`: a read-only PostgreSQL standby may lag behind a rollback, so by default it refuses views of the present;
    "stale" shows them as the standby has them. `codec` stores and returns values that JSON cannot hold.
    `other_code` is the policy for turns whose view pins another digest in `<agent>/code`: "ignore", "warn" or "refuse".
    `stop_file`: a file that turns everything off in this process once it exists, without the database; by default the
    one that KEDGE_STOP_FILE names. A file `STOP` beside a database of SQLite does the same, always.
    """
    chosen = read_config(Path(reconcilers)) if isinstance(reconcilers, str | Path) else reconcilers
    asked = read_resolvers(Path(reconcilers)) if isinstance(reconcilers, str | Path) else {}
    backend = _backend(url, durability=durability, cache_bytes=cache_bytes, read_only=read_only, clock=clock, pool=pool)
    try:
        return Kedge(
            backend,
            session_ttl=session_ttl,
            reconcilers=chosen,
            resolvers=asked | dict(resolvers or {}),
            code=code,
            other_code=other_code,
            read_only=read_only,
            standby=standby,
            codec=codec,
            stop_files=StopFiles(paths_of(url, stop_file)),
        )
    except BaseException:
        backend.close()
        raise


def _backend(
    url: str | Path,
    *,
    durability: DurabilityName = "full",
    cache_bytes: int = CACHE_BYTES,
    read_only: bool = False,
    clock: Clock | None = None,
    pool: "ConnectionPool[Any] | None" = None,
) -> Backend:
    if is_server(url):
        return _postgres(str(url), durability, cache_bytes, clock, read_only=read_only, pool=pool)
    if pool is not None:
        raise InvalidValue(f"pool= needs a postgresql://… address, and {shown(url)} is a file; leave pool= out")
    path = locate(url)
    if read_only and not path.exists():
        raise UnknownName(f"there is no database at {path}; check the path, or open it for writing to create one")
    return SqliteBackend(
        path, clock or SystemClock(), durability=durability, read_only=read_only, cache_bytes=cache_bytes
    )


def server_databases(url: str) -> "ServerDatabases":
    """Return a context manager that creates databases on a server, and drops them at its end."""
    if not is_server(url):
        raise InvalidValue(f"invalid server address {shown(url)}: must be postgresql://user@host/database")
    _need_driver()
    from kedge.backends.postgres.databases import ServerDatabases  # noqa: PLC0415 - its driver is an extra

    return ServerDatabases(url)


# ── stops ──


def stop(
    url: str | Path,
    scope: Scope | str = "everything",
    *,
    level: LevelName = "off",
    reason: str = "",
    by: str | None = None,
    stop_file: str | Path | None = None,
    wait: float | None = WAIT_SECONDS,
) -> StopReport:
    """Turn everything off at once, or a scope, or to another level; report what was done, and who has confirmed it.

    It writes the stop file of this host first, which needs no database, then records the stop for all hosts, and waits
    for the members: `wait` seconds at most, None until their leases run out. A database that does not answer is no
    error: the report says so. `stop_file` is by default `STOP` beside a database of SQLite, else KEDGE_STOP_FILE.
    """
    where, chosen, who = parse_scope(scope), check_stop_level(level), actor(by)
    line = StopLine(where, chosen, f"by {who}{f': {reason}' if reason else ''}")
    written = stop_by_file(url, line, stop_file)
    return record_stop(url, line, written, stop_file=stop_file, reason=reason, by=by, wait=wait)


def record_stop(
    url: str | Path,
    line: StopLine,
    written: Written,
    *,
    stop_file: str | Path | None,
    reason: str,
    by: str | None,
    wait: float | None,
) -> StopReport:
    """Record a stop whose file was written, or was not."""

    @contextmanager
    def opened() -> Iterator[Ladder]:
        _must_exist(url)
        with open(url, stop_file=stop_file) as k:
            yield k.ladder

    seconds = None if wait is None else check_wait(wait)
    return stopping.stop(opened, line, written, reason=reason, by=actor(by), wait=seconds)


def release(
    url: str | Path,
    scope: Scope | str = "everything",
    *,
    reason: str = "",
    by: str | None = None,
    stop_file: str | Path | None = None,
) -> ReleaseReport:
    """Lift the stops of a scope: what is recorded, then its lines in this host's stop files. Agents are refused.

    Where the database does not answer, or a second person has to approve, it raises and the file stays.
    """
    _must_exist(url)
    with open(url, stop_file=stop_file) as k:
        return k.ladder.release(scope, stop_file=stop_file, reason=reason, by=by)


def _must_exist(url: str | Path) -> None:
    """Raise `UnknownName` where there is no database: stopping one creates none."""
    if not is_server(url) and not locate(url).exists():
        raise UnknownName(f"no database at {locate(url)}; check the path")
    if is_server(url):
        _backend(url, read_only=True).close()


def role_split() -> str:
    """Return the SQL of the role split for PostgreSQL: with it, agents tighten levels and never loosen them."""
    return resources.files("kedge.backends.postgres.sql").joinpath("roles.sql").read_text(encoding="utf-8")


def _need_driver() -> None:
    if importlib.util.find_spec("psycopg") is None or importlib.util.find_spec("psycopg_pool") is None:
        raise InvalidValue("a postgresql:// address needs the extra `postgres`: pip install 'kedge[postgres]'")


def _postgres(
    url: str,
    durability: DurabilityName,
    cache_bytes: int,
    clock: Clock | None,
    *,
    read_only: bool,
    pool: "ConnectionPool[Any] | None",
) -> "PostgresBackend":
    _need_driver()
    from kedge.backends.postgres.backend import PostgresBackend  # noqa: PLC0415 - its driver is an extra

    return PostgresBackend(url, clock, durability=durability, read_only=read_only, cache_bytes=cache_bytes, pool=pool)


# ── moving ──


def migrate_store(
    source: str | Path,
    target: str | Path,
    *,
    by: str | None = None,
    abandon: bool = False,
    progress: Progress | None = None,
    say: Say | None = None,
) -> MoveReport | None:
    """Move a database between or within SQLite and PostgreSQL; a stopped move resumes when it is called again.

    The source accepts writes until little is left to copy. Then it is closed for good, and its users get `Moved`.
    `abandon` cancels an unfinished move, opens the source again, and returns None. `progress(done, total)` counts seqs;
    `say(text)` is called for each step.
    """
    with ExitStack() as stack:
        leaving = _exporter(source)
        stack.callback(leaving.close)
        try:
            arriving = _importer(target)
        except UnknownName:
            if not abandon:
                raise
            migrate.abandon(leaving, None, by=actor(by))  # the target does not exist: nothing to clean up there
            return None
        stack.callback(arriving.close)
        if leaving.url == arriving.url:
            raise InvalidValue(f"cannot move {leaving.url} to itself; give another target")
        if abandon:
            migrate.abandon(leaving, arriving, by=actor(by))
            return None
        return migrate.move(leaving, arriving, by=actor(by), progress=progress, say=say)


def compare_stores(a: str | Path, b: str | Path, *, progress: Progress | None = None) -> StoreDiff:
    """Compare two databases, row by row and view by view, up to the smaller of their last seqs.

    Writes nothing. The source and target of a finished move stay equal up to the seq of the move.
    """
    with ExitStack() as stack:
        sides = []
        for url in (a, b):
            backend, exporter = _backend(url, read_only=True), _exporter(url, read_only=True)
            stack.callback(backend.close)
            stack.callback(exporter.close)
            sides.append(Side(backend, exporter))
        return compare(sides[0], sides[1], progress)


def _exporter(url: str | Path, *, read_only: bool = False) -> Exporter:
    if is_server(url):
        _need_driver()
        from kedge.backends.postgres.migration import PostgresExporter  # noqa: PLC0415 - its driver is an extra

        found = PostgresExporter(str(url), read_only=True)  # creates nothing where there is no database
        if read_only:
            return found
        found.close()
        return PostgresExporter(str(url))
    path = locate(url)
    if not path.exists():
        raise UnknownName(f"there is no database at {path}; check the path")
    return SqliteExporter(path.absolute(), read_only=read_only)


def _importer(url: str | Path) -> Importer:
    if not is_server(url):
        return SqliteImporter(locate(url).absolute())
    _need_driver()
    from kedge.backends.postgres.migration import PostgresImporter  # noqa: PLC0415 - its driver is an extra

    return PostgresImporter(str(url))
