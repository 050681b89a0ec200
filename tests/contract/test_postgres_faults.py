"""Lost connections and servers: the outcome of each call is known, and it happens once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

import kedge
from kedge.backends.postgres.backend import PostgresBackend
from kedge.model.writes import decode
from kedge.ports.control import EpochMoved
from kedge.ports.metrics import Sample
from kedge.support import failpoints
from kedge.testing import postgres
from kedge.testing.contracts.backend_driver import BackendDriver, context, put
from kedge.testing.proxy import Proxy
from tests.concurrency import fork

POINTS = ["append:begun", "append:before-rows", "append:rows", "append:heads", "append:before-commit"]


@pytest.fixture
def proxy(postgres_server: postgres.Server) -> Iterator[Proxy]:
    with Proxy(postgres_server.port) as opened:
        yield opened


@pytest.fixture
def url(postgres_url: str, proxy: Proxy) -> str:
    """The address of a new database, by way of the proxy."""
    return proxy.url(postgres_url)


@pytest.fixture
def backend(url: str) -> Iterator[PostgresBackend]:
    opened = PostgresBackend(url, durability="normal", cache_bytes=1_000)
    yield opened
    opened.close()


def values(backend: PostgresBackend) -> dict[str, object]:
    heads = backend.journal.range(BackendDriver(backend).view(), "context", "").heads
    return {head.key.name: decode(head.payload) for head in heads}


def writes_in(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM kedge.writes").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("point", POINTS)
def test_an_append_whose_connection_is_terminated_is_done_again(
    backend: PostgresBackend, postgres_url: str, point: str
) -> None:
    driver = BackendDriver(backend)
    driver.put("before", 1)

    def terminate() -> None:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'kedge'"
            )

    failpoints.arm(point, terminate, nth=1)
    seqs = driver.append([put("a", "x"), put("b", "y")])
    assert values(backend) == {"before": 1, "a": "x", "b": "y"}
    assert backend.control.position().seq == seqs[-1]
    assert writes_in(postgres_url) == 3
    assert backend.fsck(full=True, progress=None).findings == ()


@pytest.mark.parametrize("cut", [Proxy.lose_answers, Proxy.cut])
def test_an_append_whose_commit_has_no_answer_is_found_or_done_again(
    backend: PostgresBackend, proxy: Proxy, postgres_url: str, cut: Callable[[Proxy], None]
) -> None:
    driver = BackendDriver(backend)
    driver.put("before", 1)
    failpoints.arm("append:before-commit", lambda: cut(proxy), nth=1)
    seqs = driver.append([put("a", "x"), put("b", "y")])
    head = backend.journal.head(driver.view(), context("b"))
    assert head is not None
    assert head.seq == seqs[-1]
    assert writes_in(postgres_url) == 3, "once"


@pytest.mark.parametrize("cut", [Proxy.lose_answers, Proxy.cut])
def test_a_flip_whose_commit_has_no_answer_is_resolved_by_its_operation(
    backend: PostgresBackend, proxy: Proxy, cut: Callable[[Proxy], None]
) -> None:
    driver = BackendDriver(backend)
    driver.live("v1")
    failpoints.arm("control:before-commit", lambda: cut(proxy), nth=1)
    entry = driver.change("roll_back", "v1", operation="the-rollback")
    assert (entry.operation, entry.epoch) == ("the-rollback", 3)
    assert backend.control.epoch() == 3
    assert len(backend.control.entries(operation="the-rollback")) == 1


@pytest.mark.parametrize("cut", [Proxy.lose_answers, Proxy.cut])
def test_a_session_whose_commit_has_no_answer_begins_once(
    backend: PostgresBackend, proxy: Proxy, cut: Callable[[Proxy], None]
) -> None:
    failpoints.arm("session:before-commit", lambda: cut(proxy), nth=1)
    begun = backend.control.begin_session("s", 0, frozenset(), None, after=0, by="x")
    assert begun == backend.control.session("s")
    assert begun.generation == 1


def test_a_snapshot_whose_commit_has_no_answer_is_taken_once(backend: PostgresBackend, proxy: Proxy) -> None:
    failpoints.arm("snapshot:before-commit", proxy.lose_answers, nth=1)
    taken = backend.control.take_snapshot("friday", "x")
    assert backend.control.snapshots() == [taken]


def test_what_cannot_be_found_out_is_told_as_unknown(backend: PostgresBackend, proxy: Proxy) -> None:
    failpoints.arm("observe:before-commit", proxy.lose_answers, nth=1)
    with pytest.raises(kedge.OutcomeUnknown, match="lost during the commit.*wholly or not at all"):  # noqa: RUF043
        backend.metrics.observe(Sample("resolved", True, 1.0))


def test_a_read_whose_connection_is_lost_is_done_again(backend: PostgresBackend, proxy: Proxy) -> None:
    driver = BackendDriver(backend)
    driver.put("a", 1)
    for _ in range(3):
        proxy.cut()
        assert values(backend) == {"a": 1}


def test_a_server_that_stays_away_is_a_clear_error(postgres_url: str, postgres_server: postgres.Server) -> None:
    with Proxy(postgres_server.port) as proxy:
        url = proxy.url(postgres_url)
        backend = PostgresBackend(url, cache_bytes=1_000, retry_seconds=1.0)
    began = time.monotonic()
    with pytest.raises(kedge.Unreachable, match="cannot be reached.*nothing was done: try again"):  # noqa: RUF043
        BackendDriver(backend).put("a", 1)
    assert time.monotonic() - began < 30
    backend.close()
    with pytest.raises(kedge.Unreachable):
        kedge.open(url)


def test_a_restart_of_the_server_loses_nothing_acknowledged(
    postgres_url: str, postgres_server: postgres.Server
) -> None:
    done: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    with kedge.open(postgres_url) as k:

        def write(who: str) -> None:
            for number in range(60):
                with k.turn(agent="clerk") as turn:
                    done[who].append(turn.context.put(f"{who}/{number}", number))

        threads = [threading.Thread(target=write, args=(who,)) for who in done]
        for thread in threads:
            thread.start()
        for _ in range(2):
            while sum(map(len, done.values())) < 20:
                time.sleep(0.01)
            postgres_server.restart("immediate")
        for thread in threads:
            thread.join()
        assert {who: len(seqs) for who, seqs in done.items()} == {"a": 60, "b": 60, "c": 60}
        for who, seqs in done.items():
            found = [k.view().context.entry(f"{who}/{n}") for n in range(60)]
            assert [entry and entry.seq for entry in found] == seqs
        assert writes_in(postgres_url) == 180, "each once"
        assert k.fsck(full=True).findings == ()


def test_a_seq_that_a_crash_gave_to_another_is_not_taken_for_ones_own(
    postgres_url: str, postgres_server: postgres.Server
) -> None:
    backend, other = (PostgresBackend(postgres_url, cache_bytes=1_000) for _ in range(2))
    driver, elsewhere = BackendDriver(backend), BackendDriver(other)
    driver.put("before", 0)
    while backend.database.ask(b"SELECT log_cnt FROM kedge.seqs")[0][0]:
        driver.put("before", 0)  # until the server has to log the next seqs, and a crash takes them back

    def crash() -> None:
        postgres_server.restart("immediate")
        elsewhere.append([put("theirs", 1), put("theirs too", 1)])

    failpoints.arm("append:before-commit", crash, nth=1)
    driver.append([put("ours", 1), put("ours too", 1)])
    assert values(backend) == {"before": 0, "theirs": 1, "theirs too": 1, "ours": 1, "ours too": 1}
    assert backend.fsck(full=True, progress=None).findings == ()
    for opened in (backend, other):
        opened.close()


def test_a_batch_that_takes_too_long_is_told_to_be_smaller(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kedge.backends.postgres.database._TRANSACTION_SECONDS", 1)
    backend = PostgresBackend(postgres_url, cache_bytes=1_000, retry_seconds=1.0)
    failpoints.arm("append:before-commit", lambda: time.sleep(1.5), nth=1)
    with pytest.raises(kedge.Busy, match=r"took longer than 1 s.* smaller batches"):
        BackendDriver(backend).append([put("k", 1)])
    assert writes_in(postgres_url) == 0
    backend.close()


def test_a_process_that_stops_in_an_append_holds_nobody_up_for_long(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("_IDLE_SECONDS", "_TRANSACTION_SECONDS"):
        monkeypatch.setattr(f"kedge.backends.postgres.database.{limit}", 1)
    stopped = PostgresBackend(postgres_url, cache_bytes=1_000)
    other = PostgresBackend(postgres_url, cache_bytes=1_000)
    woken = threading.Event()
    batch = BackendDriver(stopped).batch([put("late", 1)])
    refused: list[BaseException] = []

    def append() -> None:
        try:
            stopped.journal.append(batch)
        except EpochMoved as error:
            refused.append(error)

    reached = threading.Event()

    def stop() -> None:
        reached.set()
        woken.wait(60)

    failpoints.arm("append:before-commit", stop, nth=1)
    thread = threading.Thread(target=append)
    thread.start()
    assert reached.wait(30)
    began = time.monotonic()
    BackendDriver(other).live("v1")
    assert time.monotonic() - began < 30
    woken.set()
    thread.join()
    assert len(refused) == 1, "what it had begun was ended, and the record has moved since"
    assert writes_in(postgres_url) == 0
    for backend in (stopped, other):
        backend.close()


def test_a_forked_child_has_connections_of_its_own(postgres_url: str) -> None:
    with kedge.open(postgres_url, durability="normal") as k:
        with k.turn(agent="clerk") as turn:
            turn.context.put("parent", 1)
        child = fork()
        if child == 0:
            code = 1
            try:
                with k.turn(agent="clerk") as turn:
                    turn.context.put("child", turn.context.get("parent"))
                code = 0
            finally:
                os._exit(code)
        with k.turn(agent="clerk") as turn:
            for number in range(20):
                turn.context.put("parent", number)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert k.view().context.get("child") is not None
        assert k.view().context.get("parent") == 19
