"""Test databases: a fresh one a test, on each backend in turn.

One PostgreSQL server serves the whole run; the first test that asks for it starts it.
"""

from __future__ import annotations

import importlib.util
import itertools
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import settings

from kedge.testing import postgres
from tests import populated

NewPlace = Callable[[], str]

_numbers = itertools.count(1)
_TEMPLATE = "kedge_template"


@pytest.fixture(params=["sqlite", "postgres"])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewPlace]:
    """Return a maker of databases on one backend; the mark `only(…)` limits a test to one."""
    mark = request.node.get_closest_marker("only")
    if mark is not None and mark.args[0] != request.param:
        pytest.skip(f"only for {mark.args[0]}: {mark.kwargs['reason']}")
    if request.param == "sqlite":
        files = itertools.chain(["kedge.db"], (f"kedge-{n}.db" for n in itertools.count(2)))
        yield lambda: f"sqlite:///{tmp_path / next(files)}"
        return
    server = request.getfixturevalue("postgres_server")
    made: list[str] = []

    def make() -> str:
        made.append(create(server))
        return made[-1]

    yield make
    for url in made:
        drop(server, url)


@pytest.hookimpl(tryfirst=True)  # before `-m soak` deselects
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Thin the PostgreSQL tests of modules with POSTGRES_ONE_IN; when soaking, run what is left out otherwise."""
    left_out = thinned_out(items)
    for item in left_out:
        item.add_marker(pytest.mark.soak)
    if left_out and settings.default is not settings.get_profile("soak"):
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def thinned_out(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Return the tests to leave out: of each test function, one in POSTGRES_ONE_IN runs on PostgreSQL, at least one.

    Always the same ones. A test function states a law, its parameters are examples: every law is tested on PostgreSQL.
    """
    functions: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        backend = getattr(item, "callspec", None) and item.callspec.params.get("new_place")  # type: ignore[attr-defined]
        if backend == "postgres" and item.get_closest_marker("both") is None:
            functions[item.nodeid.partition("[")[0]].append(item)
    return [item for cases in functions.values() for item in _left_out(cases)]


def _left_out(cases: Sequence[pytest.Item]) -> list[pytest.Item]:
    one_in = getattr(getattr(cases[0], "module", None), "POSTGRES_ONE_IN", 1)
    by_chance = sorted(cases, key=lambda item: crc32(item.nodeid.encode()))
    return by_chance[-(-len(cases) // one_in) :]


def alter(place: str, sql: str) -> int:
    """Change tables below Kedge, as an older version or damage left them; return how many rows changed."""
    if place.startswith("postgres"):
        import psycopg  # noqa: PLC0415 - an extra

        with psycopg.connect(place, autocommit=True) as server:
            server.execute("SET search_path = kedge")
            server.execute("SET session_replication_role = replica")  # no triggers
            return server.execute(sql.encode()).rowcount
    with closing(sqlite3.connect(place.removeprefix("sqlite:///"))) as connection:
        changed = connection.execute(sql).rowcount
        connection.commit()
        return changed


@pytest.fixture
def place(new_place: NewPlace) -> str:
    """Return the address of a new database."""
    return new_place()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """Start the PostgreSQL server of this run."""
    if importlib.util.find_spec(postgres.PACKAGE) is None:
        pytest.skip(f"the package {postgres.PACKAGE} is not installed: `make test` installs it")
    with postgres.running({"max_wal_size": "128MB"}) as server:  # its files may be in memory
        yield server


@pytest.fixture(scope="session")
def full_places(tmp_path_factory: pytest.TempPathFactory, postgres_server: postgres.Server) -> dict[str, str]:
    """Make a populated database on each backend, as a template: a folder, and an address on PostgreSQL."""
    made = {
        "sqlite": str(populated.populate(tmp_path_factory.mktemp("full")).parent),
        "postgres": create(postgres_server),
    }
    populated.populate_at(made["postgres"])
    return made


@pytest.fixture
def postgres_url(postgres_server: postgres.Server) -> Iterator[str]:
    """Make a database on PostgreSQL."""
    url = create(postgres_server)
    yield url
    drop(postgres_server, url)


def create(server: postgres.Server, *, empty: bool = False, like: str | None = None) -> str:
    """Make a database with Kedge's schema, an `empty` one, or a copy of another; return its address."""
    import psycopg  # noqa: PLC0415 - not there where the server is not

    from kedge.backends.postgres.database import Database  # noqa: PLC0415 - as above

    name = f"test_{next(_numbers)}"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        made = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (_TEMPLATE,)).fetchone()
        if not made and not empty:
            connection.execute(f"CREATE DATABASE {_TEMPLATE}".encode())
            Database(server.url(_TEMPLATE)).close()
        template = "template1" if empty else _TEMPLATE if like is None else like.rpartition("/")[2]
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    return server.url(name)


def drop(server: postgres.Server, url: str) -> None:
    """Drop a database, even if clients are connected."""
    import psycopg  # noqa: PLC0415 - as above

    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)".encode())


def raw_rows(place: str, sql: str) -> list[Any]:
    """Return the rows of a statement, over a separate connection."""
    if place.startswith("sqlite"):
        with closing(sqlite3.connect(place.removeprefix("sqlite:///"))) as connection:
            return connection.execute(sql).fetchall()
    import psycopg  # noqa: PLC0415 - as above

    with psycopg.connect(place, options="-c search_path=kedge") as connection:
        return connection.execute(sql.encode()).fetchall()


def run(place: str, statement: str) -> None:
    """Run a statement over a separate connection."""
    if place.startswith("sqlite"):
        with closing(sqlite3.connect(place.removeprefix("sqlite:///"))) as connection:
            connection.execute(statement)
            connection.commit()
        return
    import psycopg  # noqa: PLC0415 - as above

    with psycopg.connect(place, options="-c search_path=kedge") as connection:
        connection.execute(statement.encode())
