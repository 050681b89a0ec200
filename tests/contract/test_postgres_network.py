"""Network failures between Kedge and PostgreSQL: at any byte, in any call, also silent ones."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

import kedge
from kedge.backends.postgres import database
from kedge.backends.postgres.backend import PostgresBackend
from kedge.testing import postgres
from kedge.testing.contracts.backend_driver import BackendDriver, put
from kedge.testing.proxy import Proxy
from tests.databases import raw_rows
from tests.stateful.share import SOAKING

SOON = 30.0
CUTS = 60 if SOAKING else 2  # of each call, each way, and one at the end
PREPARED = 8  # calls after which every statement is prepared


@pytest.fixture
def proxy(postgres_server: postgres.Server) -> Iterator[Proxy]:
    with Proxy(postgres_server.port, seed=7) as opened:
        yield opened


@pytest.fixture
def k(postgres_url: str, proxy: Proxy) -> Iterator[kedge.Kedge]:
    with kedge.open(proxy.url(postgres_url), durability="normal") as opened:
        opened.collection("kb", dim=2)
        opened.deploy("base", {"support/prompt": "x"})
        opened.promote("base")
        with opened.turn(agent="support") as turn:
            turn.vectors("kb").upsert(["a", "b"], [[1, 0], [0, 1]])
        yield opened


# ── cut at any byte ──


Call = Callable[[kedge.Kedge, int], object]


def append(k: kedge.Kedge, number: int) -> None:
    with k.turn(agent="clerk") as turn:
        turn.context.put(f"n/{number}", number)


def talk(k: kedge.Kedge, number: int) -> None:
    with k.turn(session=f"s-{number}", agent="support") as turn:
        turn.memory.extend([("user", f"{number} {n}") for n in range(3)])


def embed(k: kedge.Kedge, number: int) -> None:
    with k.turn(agent="support") as turn:
        turn.vectors("kb").upsert(["a", f"c{number}"], [[1, number], [number, 1]])


def flip(k: kedge.Kedge, number: int) -> None:
    name = f"f{number}"
    k.deploy(name, {"support/prompt": name}, canary=1.0)
    assert k.rollback(name).ok


def purge(k: kedge.Kedge, number: int) -> None:
    name = f"p{number}"
    with k.turn(agent="support", deployment=k.deploy(name, {"support/prompt": name}, canary=1.0).name) as turn:
        turn.context.put(f"purged/{number}", 1)
    assert k.rollback(name).ok
    k.purge(name, confirm=name)


def name_point(k: kedge.Kedge, number: int) -> None:
    k.snapshot(f"at {number}")
    k.collection(f"kb{number}", dim=3)


COUNTS: dict[Call, str] = {
    append: "SELECT count(*) FROM writes w JOIN spaces s ON s.id = w.space WHERE s.store = 'context'",
    talk: "SELECT count(*) / 3.0 FROM writes w JOIN spaces s ON s.id = w.space WHERE s.store = 'memory'",
    embed: "SELECT count(*) / 2.0 FROM vector_rows",
    flip: "SELECT count(*) FROM control_log WHERE kind = 'rollback' AND record IS NOT NULL",
    purge: "SELECT count(*) FROM control_log WHERE kind = 'purge' AND record IS NOT NULL",
    name_point: "SELECT count(*) FROM snapshots WHERE deployment IS NULL",
}


@pytest.mark.parametrize(
    "call", [append, embed, flip, *(pytest.param(call, marks=pytest.mark.soak) for call in (talk, purge, name_point))]
)
def test_a_call_whose_connection_is_cut_at_any_byte_is_done_once(
    k: kedge.Kedge, proxy: Proxy, postgres_url: str, call: Call
) -> None:
    def count() -> float:
        return float(raw_rows(postgres_url, COUNTS[call])[0][0])

    before = dict(proxy.passed)
    for number in range(PREPARED):  # so that another one takes as many bytes
        before = dict(proxy.passed)
        call(k, number)
    took = {way: proxy.passed[way] - before[way] for way in before}
    dice = random.Random(call.__name__)
    there = count()
    for way, size in took.items():
        for byte in [*sorted(dice.sample(range(1, size - 8), CUTS)), size - 8]:
            number += 1
            proxy.cut_at(way, byte)
            call(k, number)
            proxy.heal()
            there += 1
            assert count() == there, f"cut at byte {byte} of the {way}"
    assert k.fsck(full=True).findings == ()


@pytest.mark.parametrize("call", [lambda t: t.observe("seen", 1), lambda t: t.headers()], ids=["sample", "edge"])
def test_what_is_not_found_again_is_told_as_unknown(
    k: kedge.Kedge, proxy: Proxy, call: Callable[[kedge.Turn], object]
) -> None:
    unknown = 0
    with k.turn(session="s", agent="support") as turn:
        before = proxy.passed["answers"]
        for _ in range(PREPARED):
            before = proxy.passed["answers"]
            call(turn)
        size = proxy.passed["answers"] - before
        for byte in (*range(1, size, max(1, size // 12)), size - 8):
            proxy.cut_at("answers", byte)
            try:
                call(turn)
            except kedge.OutcomeUnknown:
                unknown += 1
            proxy.heal()
    assert unknown
    assert k.fsck(full=True).findings == ()


def test_resets_and_delays_change_nothing(k: kedge.Kedge, proxy: Proxy) -> None:
    proxy.delay(0.004)
    dice = random.Random(3)
    for number in range(12):
        if dice.random() < 0.5:
            threading.Timer(dice.random() * 0.05, proxy.cut, kwargs={"reset": True}).start()
        append(k, number)
    proxy.heal()
    assert k.view().context.items() == {f"n/{number}": number for number in range(12)}
    assert k.fsck(full=True).findings == ()


# ── silence ──


@pytest.fixture
def driver(postgres_url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[BackendDriver]:
    """A driver that asks soon after an answer that does not come."""
    monkeypatch.setattr("kedge.backends.postgres.liveness.ASK_SECONDS", 0.2)
    monkeypatch.setattr("kedge.backends.postgres.liveness.CONNECT_SECONDS", 2)
    monkeypatch.setitem(database._OPTIONS, "connect_timeout", 2)
    backend = PostgresBackend(proxy.url(postgres_url), durability="normal", cache_bytes=1_000, retry_seconds=2.0)
    yield BackendDriver(backend)
    backend.close()


def test_nobody_waits_for_ever_for_a_network_that_swallows_all(
    driver: BackendDriver, proxy: Proxy, postgres_url: str
) -> None:
    driver.put("a", 1)
    proxy.hold()
    began = time.monotonic()
    for call in (partial(driver.put, "b", 2), driver.backend.control.epoch)[: 2 if SOAKING else 1]:
        with pytest.raises(kedge.Unreachable, match="nothing was done: try again"):
            call()
    assert time.monotonic() - began < SOON
    proxy.heal()
    seq = driver.put("b", 2)
    assert raw_rows(postgres_url, "SELECT seq, name FROM writes ORDER BY seq")[1:] == [(seq, "b")]


def test_whoever_leaves_is_not_held_up_by_a_server_that_is_away(
    postgres_url: str, postgres_server: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kedge.fleet.member.LEAVE_SECONDS", 0.2)
    monkeypatch.setattr("kedge.backends.postgres.fleet._LEAVE_SECONDS", 0.2)
    with Proxy(postgres_server.port) as proxy:
        k = kedge.open(proxy.url(postgres_url))
        member = k.join("one", lease_seconds=0.5)
    began = time.monotonic()
    member.leave()
    k.close()
    assert time.monotonic() - began < database.RETRY_SECONDS - 5


def test_a_connection_that_has_died_in_silence_is_replaced(
    driver: BackendDriver, proxy: Proxy, postgres_url: str
) -> None:
    """As behind a balancer that has forgotten it: what is asked does not arrive, or the answer does not."""
    for way in ("requests", "answers"):
        proxy.hold(way, new=False)
        driver.append([put(way, 1), put("both", 2)])
    assert raw_rows(postgres_url, "SELECT name FROM writes ORDER BY seq") == [
        (name,) for name in ("requests", "both", "answers", "both")
    ]


def test_a_server_that_is_at_work_is_waited_for(driver: BackendDriver) -> None:
    assert isinstance(driver.backend, PostgresBackend)
    assert driver.backend.database.ask(b"SELECT 7 FROM (SELECT pg_sleep(0.9)) AS slept") == [(7,)]


def test_a_batch_longer_than_the_network_takes_at_once_is_sent_whole(postgres_url: str) -> None:
    values = {f"{number}": bytes([number]) * 8_000_000 for number in range(12)}
    with kedge.open(postgres_url, durability="normal") as k, k.turn(agent="clerk") as turn:
        assert len(turn.documents("kb").put_many(values)) == len(values)
        assert turn.documents("kb").get("7") == values["7"]
