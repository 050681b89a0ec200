"""Where a test's databases are: on every backend, one after the other, in a fresh database each.

One PostgreSQL server serves the whole run; the first test that asks for it starts it.
"""

from __future__ import annotations

import importlib.util
import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kedge.testing import postgres

NewPlace = Callable[[], str]

_numbers = itertools.count(1)
_TEMPLATE = "kedge_template"


@pytest.fixture(params=["sqlite", "postgres"])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewPlace]:
    """Make databases to open, on one backend; `only(…)` marks a test that is of one alone."""
    mark = request.node.get_closest_marker("only")
    if mark is not None and mark.args[0] != request.param:
        pytest.skip(f"of {mark.args[0]} alone: {mark.kwargs['reason']}")
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


@pytest.fixture
def place(new_place: NewPlace) -> str:
    """Return the address of a new database."""
    return new_place()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """Start the server of this run."""
    if importlib.util.find_spec(postgres.PACKAGE) is None:
        pytest.skip(f"the package {postgres.PACKAGE} is not installed: `make test` installs it")
    with postgres.running() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: postgres.Server) -> Iterator[str]:
    """Make a database on PostgreSQL alone."""
    url = create(postgres_server)
    yield url
    drop(postgres_server, url)


def create(server: postgres.Server, *, empty: bool = False) -> str:
    """Make a database, with Kedge's schema unless it shall be empty, and return its address."""
    import psycopg  # noqa: PLC0415 - not there where the server is not

    from kedge.backends.postgres.database import Database  # noqa: PLC0415 - as above

    name = f"test_{next(_numbers)}"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        made = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (_TEMPLATE,)).fetchone()
        if not made and not empty:
            connection.execute(f"CREATE DATABASE {_TEMPLATE}".encode())
            Database(server.url(_TEMPLATE)).close()
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {'template1' if empty else _TEMPLATE}".encode())
    return server.url(name)


def drop(server: postgres.Server, url: str) -> None:
    """Take a database away, whoever is still connected."""
    import psycopg  # noqa: PLC0415 - as above

    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)".encode())


def raw_rows(place: str, sql: str) -> list[Any]:
    """Return what a statement finds in a database, beside whoever has it open."""
    if place.startswith("sqlite"):
        with closing(sqlite3.connect(place.removeprefix("sqlite:///"))) as connection:
            return connection.execute(sql).fetchall()
    import psycopg  # noqa: PLC0415 - as above

    with psycopg.connect(place, options="-c search_path=kedge") as connection:
        return connection.execute(sql.encode()).fetchall()
