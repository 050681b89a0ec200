"""A connection pool of the caller: used under any settings, and connections return unchanged."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import psycopg
import psycopg_pool
import pytest
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader

import kedge
import kedge.aio
from kedge.backends.postgres import pools
from kedge.testing import postgres
from kedge.testing.proxy import Proxy
from tests import databases, populated

_ODD = (
    "SET search_path = pg_catalog; SET lock_timeout = '7s'; SET default_transaction_isolation = 'serializable'; "
    "SET default_transaction_read_only = on; SET synchronous_commit = local; SET jit = on; "
    "SET idle_in_transaction_session_timeout = '8s'"
)
_SHOWN = (
    "search_path", "lock_timeout", "default_transaction_isolation", "default_transaction_read_only",
    "synchronous_commit", "jit", "idle_in_transaction_session_timeout", "statement_timeout",
)  # fmt: skip


def odd(connection: psycopg.Connection[Any]) -> None:
    """Set a connection to all that Kedge would trip over."""
    connection.execute(_ODD.encode())
    connection.commit()
    connection.adapters.register_loader("int8", TextLoader)
    connection.adapters.register_loader("bytea", TextLoader)


def settings(connection: psycopg.Connection[Any]) -> dict[str, object]:
    found = {name: connection.execute(f"SHOW {name}".encode()).fetchone() for name in _SHOWN}
    connection.commit()
    row = connection.execute("SELECT 1::int8 AS one").fetchone()
    connection.rollback()
    return {**found, "row": row, "client": (connection.autocommit, connection.row_factory, connection.cursor_factory)}


@pytest.fixture
def pool(postgres_url: str) -> Iterator[psycopg_pool.ConnectionPool[Any]]:
    arguments = {"row_factory": dict_row, "cursor_factory": psycopg.ClientCursor}
    with psycopg_pool.ConnectionPool(
        postgres_url, kwargs=arguments, configure=odd, min_size=1, max_size=1, timeout=0.5, name="theirs", open=False
    ) as opened:
        yield opened


def test_all_works_with_one_connection_of_the_callers_and_it_comes_back_as_it_was(
    pool: psycopg_pool.ConnectionPool[Any], postgres_url: str
) -> None:
    with pool.connection() as connection:
        before = settings(connection)
    with kedge.open(postgres_url, pool=pool) as k:
        with pool.connection() as connection:
            assert settings(connection) == before
        k.collection("kb", dim=populated.DIM)
        k.deploy("base", {"support/prompt": "hello", **populated.EMBEDDER}, canary=1.0)
        with k.turn(session="s", agent="support") as turn:
            turn.memory.append("user", "hello")
            seq = turn.context.put("case/1", {"n": 1})
            turn.vectors("kb").upsert(list("abc"), populated.vectors(3, 1))
            assert turn.vectors("kb").search(populated.vectors(3, 1)[1], k=1)[0].id == "b"
            with pytest.raises(kedge.ExpectationFailed):
                turn.context.put("case/1", {"n": 2}, expect=0)
            assert turn.context.put("case/1", {"n": 2}, expect=seq) > seq
        k.snapshot("here")
        assert k.rollback("base").ok
        assert k.fsck(full=True).ok
        with pool.connection() as connection:
            assert settings(connection) == before
    assert not pool.closed, "closing Kedge leaves the pool to its owner"
    with pool.connection() as connection:
        assert settings(connection) == before


def test_a_pool_that_is_exhausted_is_busy(pool: psycopg_pool.ConnectionPool[Any], postgres_url: str) -> None:
    with kedge.open(postgres_url, pool=pool) as k:
        with (
            pool.connection(),
            pytest.raises(kedge.Busy, match=r"the pool 'theirs' came free within its 0\.5 s.*larger"),
        ):
            k.status()
        assert k.epoch == 0, "and goes on once one is back"


def test_a_pool_whose_server_is_away_is_not_called_exhausted(
    postgres_url: str, postgres_server: postgres.Server
) -> None:
    from kedge.backends.postgres.backend import PostgresBackend  # noqa: PLC0415 - not there where the server is not

    with Proxy(postgres_server.port) as proxy:
        url = postgres_url.replace(f":{postgres_server.port}/", f":{proxy.port}/")
        pool: psycopg_pool.ConnectionPool[Any] = psycopg_pool.ConnectionPool(url, min_size=1, timeout=0.5, open=True)
        backend = PostgresBackend(url, cache_bytes=1_000, retry_seconds=1.0, pool=pool)
    with pytest.raises(kedge.Unreachable, match="cannot be reached"):
        backend.control.load()
    pool.close()


def test_kedges_own_pool_says_so_too(postgres_url: str) -> None:
    from kedge.backends.postgres.database import Database  # noqa: PLC0415 - not there where the server is not

    database = Database(postgres_url, retry_seconds=0.5)
    hold, taken = threading.Event(), threading.Barrier(17)

    def lend() -> None:
        database.read(lambda _: (taken.wait(30), hold.wait(30)))

    threads = [threading.Thread(target=lend) for _ in range(16)]
    for thread in threads:
        thread.start()
    taken.wait(30)
    with pytest.raises(kedge.Busy, match=r"within 0\.5 s: all 16 are in use.*try again, from fewer threads"):
        database.ask(b"SELECT 1")
    hold.set()
    for thread in threads:
        thread.join()
    assert database.ask(b"SELECT 1") == [(1,)]
    database.close()


def test_a_pool_that_cannot_be_used_is_refused_by_name(
    pool: psycopg_pool.ConnectionPool[Any], postgres_url: str, postgres_server: postgres.Server, tmp_path: Any
) -> None:
    with pytest.raises(kedge.InvalidValue, match=r"needs a postgresql://.*leave pool= out"):
        kedge.open(tmp_path, pool=pool)
    never: psycopg_pool.ConnectionPool[Any] = psycopg_pool.ConnectionPool(postgres_url, open=False, name="never")
    with pytest.raises(kedge.InvalidValue, match="'never' is closed, or was never opened"):
        kedge.open(postgres_url, pool=never)
    nothing: Any = postgres_url
    with pytest.raises(kedge.InvalidValue, match=r"is not a psycopg_pool\.ConnectionPool"):
        kedge.open(postgres_url, pool=nothing)
    asynchronous: Any = psycopg_pool.AsyncConnectionPool(postgres_url, open=False, name="async")
    with pytest.raises(kedge.InvalidValue, match="'async' is an AsyncConnectionPool"):
        kedge.open(postgres_url, pool=asynchronous)
    for elsewhere in (postgres_server.url(), databases.create(postgres_server)):
        with (
            psycopg_pool.ConnectionPool(elsewhere, min_size=1, name="elsewhere") as other,
            pytest.raises(kedge.InvalidValue, match="'elsewhere' connects to another database"),
        ):
            kedge.open(postgres_url, pool=other)


def test_connections_of_another_encoding_are_refused(postgres_url: str) -> None:
    arguments = {"client_encoding": "latin1"}
    with (
        psycopg_pool.ConnectionPool(postgres_url, kwargs=arguments, min_size=1) as pool,
        pytest.raises(kedge.InvalidValue, match="set client_encoding='utf8'"),
    ):
        kedge.open(postgres_url, pool=pool)


def test_a_pool_that_is_closed_under_kedge_is_a_clear_error(
    pool: psycopg_pool.ConnectionPool[Any], postgres_url: str
) -> None:
    with kedge.open(postgres_url, pool=pool) as k:
        pool.close()
        with pytest.raises(kedge.TurnClosed, match="the pool was closed while Kedge used it"):
            k.deployments()


def test_a_pools_own_check_may_leave_a_transaction_behind(postgres_url: str) -> None:
    def check(connection: psycopg.Connection[Any]) -> None:
        connection.execute("SELECT 1")

    with (
        psycopg_pool.ConnectionPool(postgres_url, check=check, min_size=1) as pool,
        kedge.open(postgres_url, pool=pool) as k,
        k.turn(agent="support") as turn,
    ):
        turn.context.put("a", 1)
        assert turn.context.get("a") == 1


def test_a_connection_of_the_callers_that_was_lost_is_replaced(
    pool: psycopg_pool.ConnectionPool[Any], postgres_url: str
) -> None:
    with kedge.open(postgres_url, pool=pool) as k, k.turn(agent="support") as turn:
        turn.context.put("a", 1)
        with psycopg.connect(postgres_url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        turn.context.put("a", 2)
        assert turn.context.get("a") == 2


def test_a_forked_process_needs_a_pool_of_its_own(pool: psycopg_pool.ConnectionPool[Any], postgres_url: str) -> None:
    with kedge.open(postgres_url, pool=pool) as k:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                k.deployments()
            except kedge.InvalidValue as error:
                os.write(writer, str(error).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as told:
            assert "belongs to the parent of this forked process" in told.read()
        assert os.waitpid(child, 0)[1] == 0
        assert k.deployments() == []


def test_the_async_face_takes_the_same_pool(pool: psycopg_pool.ConnectionPool[Any], postgres_url: str) -> None:
    async def work() -> object:
        async with kedge.aio.open(postgres_url, pool=pool) as k, k.turn(session="s", agent="support") as turn:
            await turn.context.put("a", {"n": np.float32(1.5).item()})
            return await turn.context.get("a")

    assert asyncio.run(work()) == {"n": 1.5}
    assert not pool.closed


# ── interruptions ──


CHECKS = {"given": None, "checked": psycopg_pool.ConnectionPool.check_connection}


@pytest.fixture(params=["own", *CHECKS])
def k(request: pytest.FixtureRequest, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[kedge.Kedge]:
    """A database with a pool of two connections, Kedge's own or the caller's."""
    monkeypatch.setattr(pools, "_CONNECTIONS_MAX", 2)
    if request.param == "own":
        with kedge.open(postgres_url, durability="normal") as opened:
            yield opened
        return
    check = CHECKS[request.param]
    with (
        psycopg_pool.ConnectionPool(postgres_url, min_size=1, max_size=2, timeout=2.0, check=check, open=True) as pool,
        kedge.open(postgres_url, durability="normal", pool=pool) as opened,
    ):
        yield opened


def test_an_interruption_of_the_clean_up_loses_no_connection(k: kedge.Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: psycopg.Connection[Any]) -> None:
        raise KeyboardInterrupt

    for _ in range(5):
        with monkeypatch.context() as patched:
            patched.setattr(pools, "_roll_back", interrupted)
            with pytest.raises(KeyboardInterrupt):
                k.deployments()
        assert k.deployments() == []


@pytest.fixture
def drops_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python drop an interruption of a finalizer, as it does outside of pytest."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)


def interrupted_at(after_seconds: float, again_seconds: float, work: Callable[[], object]) -> None:
    """Call a function that a signal interrupts after a while, and once more a while after that."""
    heard = 0

    def interrupt(*_: object) -> None:
        nonlocal heard
        heard += 1
        if heard == 1:
            signal.setitimer(signal.ITIMER_REAL, again_seconds)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, after_seconds)
        while heard < 2:  # Python drops an exception that is raised in a finalizer
            work()
    except KeyboardInterrupt:
        pass
    finally:
        with suppress(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("drops_exceptions")
def test_two_interruptions_at_any_moment_lose_no_connection(k: kedge.Kedge) -> None:
    for moment in range(200):
        with suppress(KeyboardInterrupt):
            interrupted_at(1e-5 * (1 + moment), (2e-5, 2e-4, 2e-3)[moment % 3], k.deployments)
    both = threading.Barrier(2)
    threads = [threading.Thread(target=lambda: read(k, lambda: both.wait(30))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not both.broken, "the pool still has its two connections"


def read(k: kedge.Kedge, look: Callable[[], object]) -> None:
    """Call a function that uses a connection."""
    k._kernel.backend.control._database.read(lambda _: look())  # type: ignore[attr-defined]


def interrupted_twice(work: Callable[[], object], pause_seconds: float) -> None:
    """Call a function until an interruption ends it, with another one while it, or its clean-up, is under way.

    Each signal is sent once the one before it was heard: psycopg looks at signals when none has come for 0.1 s. Python
    drops an exception that is raised in a finalizer; then the keys are pressed again.
    """
    heard, ended = threading.Semaphore(0), threading.Event()

    def note(*_: object) -> None:
        heard.release()
        if not ended.is_set():
            raise KeyboardInterrupt

    def interrupt() -> None:
        while not ended.wait(pause_seconds):
            os.kill(os.getpid(), signal.SIGINT)
            while not heard.acquire(timeout=0.05) and not ended.is_set():
                pass

    before = signal.signal(signal.SIGINT, note)
    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        while True:
            work()
    except KeyboardInterrupt:
        pass
    finally:
        ended.set()
        thread.join()
        signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("drops_exceptions")
def test_ctrl_c_twice_loses_no_connection(k: kedge.Kedge, postgres_url: str) -> None:
    for pause_seconds in (0.0, 0.001, 0.003, 0.01, 0.03, 0.12):
        with psycopg.connect(postgres_url) as other:
            other.execute("SELECT 1 FROM kedge.control FOR UPDATE")
            with suppress(KeyboardInterrupt):
                interrupted_twice(lambda: k.set_level("support", "frozen"), pause_seconds)
    k.set_level("support", "frozen")
    assert k.levels() == {"support": "frozen"}


def test_ctrl_c_ends_a_check_of_the_callers_that_hangs_and_loses_no_connection(postgres_url: str) -> None:
    hanging = threading.Event()

    def check(connection: psycopg.Connection[Any]) -> None:
        connection.execute("SELECT pg_sleep(%s)", (60 if hanging.is_set() else 0,))

    with (
        psycopg_pool.ConnectionPool(postgres_url, min_size=1, max_size=1, timeout=30.0, check=check) as pool,
        kedge.open(postgres_url, durability="normal", pool=pool) as k,
    ):
        for _ in range(3):
            hanging.set()
            interrupted_twice(k.deployments, 0.05)
            hanging.clear()
            assert k.deployments() == []
