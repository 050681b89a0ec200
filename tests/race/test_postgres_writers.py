"""Many writers at once on PostgreSQL: points in the past, order at each key, flips and epochs."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from kedge.backends.postgres.backend import PostgresBackend
from kedge.model.visibility import View
from kedge.model.writes import Key
from kedge.ports.control import EpochMoved
from kedge.support import failpoints
from kedge.testing.contracts.backend_driver import BackendDriver, put
from tests.concurrency import pause_at, run_all

Opener = Callable[[], PostgresBackend]


@pytest.fixture
def opener(postgres_url: str) -> Opener:
    return lambda: PostgresBackend(postgres_url, durability="normal", cache_bytes=10_000)


@pytest.fixture
def backend(opener: Opener) -> Iterator[PostgresBackend]:
    opened = opener()
    yield opened
    opened.close()


def test_a_point_waits_for_what_was_in_flight_before_it(backend: PostgresBackend, opener: Opener) -> None:
    driver, other = BackendDriver(backend), opener()
    driver.put("before", 1)
    begun, released = pause_at("append:before-commit")
    early: list[int] = []
    writer = threading.Thread(target=lambda: early.append(BackendDriver(other).put("early", 1)))
    writer.start()
    assert begun.wait(30)
    late = driver.put("late", 2)  # drawn after the one in flight, committed before it
    taken: list[int] = []
    taker = threading.Thread(target=lambda: taken.append(backend.control.take_snapshot("now", "x").seq))
    taker.start()
    taker.join(0.5)
    assert taker.is_alive(), "what it would name now could still change"
    released.set()
    writer.join()
    taker.join()
    assert early[0] < late <= taken[0]
    past = driver.view(upto=taken[0])
    assert {h.key.name for h in backend.journal.range(past, "context", "").heads} == {"before", "early", "late"}
    other.close()


def test_points_never_change_their_answer_while_many_write(backend: PostgresBackend, opener: Opener) -> None:
    others = [opener() for _ in range(4)]
    done = threading.Event()
    named: list[tuple[int, list[int]]] = []
    chance = random.Random(1)
    failpoints.arm("append:before-commit", lambda: time.sleep(chance.random() * 0.004))

    def write(number: int) -> None:
        driver = BackendDriver(others[number])
        for turn in itertools.count():
            if turn >= 40 and (len(named) > 5 or not looker.is_alive()):
                return
            names = [f"{random.Random(f'{number} {turn} {n}').randrange(30)}" for n in range(3)]
            driver.append([put(name, turn) for name in dict.fromkeys(names)])

    def seen(upto: int) -> list[int]:
        return [head.seq for head in backend.journal.range(BackendDriver(backend).view(upto=upto), "context", "").heads]

    def look() -> None:
        while not done.is_set():
            seq = backend.control.position().seq
            named.append((seq, seen(seq)))

    looker = threading.Thread(target=look)
    looker.start()
    run_all(write, range(4))
    done.set()
    looker.join()
    assert len(named) > 5
    assert [(seq, seen(seq)) for seq, _ in named] == named
    for other in others:
        other.close()


def seqs_at(backend: PostgresBackend, name: str) -> list[int]:
    sql = b"SELECT w.seq FROM kedge.writes w WHERE w.name = $1 ORDER BY w.seq"
    return [row[0] for row in backend.database.ask(sql, name)]


def test_seq_order_is_commit_order_at_each_key(backend: PostgresBackend, opener: Opener) -> None:
    others = [opener() for _ in range(4)]
    done = threading.Event()
    chance = random.Random(1)
    failpoints.arm("append:before-commit", lambda: time.sleep(chance.random() * 0.003))
    inserted: list[tuple[list[int], list[int]]] = []

    def write(number: int) -> None:
        for turn in range(40):
            BackendDriver(others[number]).append([put(f"k{turn % 2}", number), put(f"own {number} {turn}", 1)])

    def look() -> None:
        """Whoever has seen a write at a key sees no lower seq come to it later."""
        known: dict[str, list[int]] = {"k0": [], "k1": []}
        while not done.is_set():
            for name, before in known.items():
                now = seqs_at(backend, name)
                if now[: len(before)] != before:
                    inserted.append((before, now))
                known[name] = now

    looker = threading.Thread(target=look)
    looker.start()
    run_all(write, range(4))
    done.set()
    looker.join()
    assert inserted == []
    assert len(seqs_at(backend, "k0")) == 80
    for other in others:
        other.close()


def test_no_append_commits_after_a_flip_at_the_epoch_before_it(backend: PostgresBackend, opener: Opener) -> None:
    others = [opener() for _ in range(3)]
    chance = random.Random(1)
    failpoints.arm("append:before-commit", lambda: time.sleep(chance.random() * 0.004))
    made: list[tuple[int, int]] = []
    moved = 0

    def write(number: int) -> None:
        nonlocal moved
        driver = BackendDriver(others[number])
        for turn in range(60):
            batch = driver.batch([put(f"{number} {turn}", 1)])
            try:
                made.append((others[number].journal.append(batch).seqs[0], batch.epoch))
            except EpochMoved:
                moved += 1

    flipper = threading.Thread(target=lambda: [BackendDriver(backend).change("stage", f"d{n}") for n in range(15)])
    flipper.start()
    run_all(write, range(3))
    flipper.join()
    assert moved
    assert [backend.control.record_at(seq).epoch for seq, _ in made] == [epoch for _, epoch in made]
    for other in others:
        other.close()


def test_a_flip_is_not_starved_by_writers(backend: PostgresBackend, opener: Opener) -> None:
    others = [opener() for _ in range(4)]
    done = threading.Event()
    written: list[int] = []

    def write(number: int) -> None:
        driver = BackendDriver(others[number])
        while not done.is_set():
            try:
                written.append(driver.put(f"{number}", 1))
            except EpochMoved:
                continue

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for number in range(10):
        BackendDriver(backend).change("stage", f"d{number}")
    done.set()
    for thread in threads:
        thread.join()
    assert backend.control.epoch() == 10
    assert written
    for other in others:
        other.close()


def test_writers_of_different_keys_do_not_wait_for_each_other(backend: PostgresBackend, opener: Opener) -> None:
    driver, other = BackendDriver(backend), opener()
    driver.append([put("a", 1), put("z", 1)])
    begun, released = pause_at("append:before-commit")
    writer = threading.Thread(target=lambda: BackendDriver(other).put("a", 2))
    writer.start()
    assert begun.wait(30)
    seq = driver.put("z", 2)
    released.set()
    writer.join()
    head = backend.journal.head(driver.view(), Key("context", "", "z"))
    assert head is not None
    assert head.seq == seq
    other.close()


def test_a_past_view_of_vectors_stays(backend: PostgresBackend) -> None:
    driver = BackendDriver(backend)
    driver.live("v1")
    driver.upsert("kb", {"a": [1.0, 0.0], "b": [0.0, 1.0]})
    then = backend.control.position().seq
    driver.upsert("kb", {"a": [0.0, 1.0]}, lineage=frozenset({1}))
    driver.delete("b", store="vectors", space="kb")
    view = driver.view()
    past = View(view.epoch, view.seen, view.settled, then)
    assert backend.vectors.tally(past, "kb").count == 2
    assert backend.vectors.tally(view, "kb").count == 1


def test_who_waits_for_a_lane_holds_up_no_other_thread(backend: PostgresBackend, opener: Opener) -> None:
    driver, other = BackendDriver(backend), opener()
    driver.put("a", 1)  # which made a state, so that the next append looks for more of them
    begun, released = pause_at("append:before-commit")
    holder = threading.Thread(target=lambda: BackendDriver(other).put("a", 2))
    holder.start()
    begun.wait(30)
    waiter = threading.Thread(target=lambda: BackendDriver(backend).put("a", 3))
    waiter.start()
    while not backend.database.ask(b"SELECT 1 FROM pg_locks WHERE NOT granted"):
        time.sleep(0.01)
    reader = threading.Thread(target=lambda: backend.journal.range(driver.view(), "context", ""))
    reader.start()
    reader.join(10)
    was_held_up = reader.is_alive()
    released.set()
    for thread in (holder, waiter, reader):
        thread.join()
    other.close()
    assert not was_held_up


def test_writers_that_make_states_at_once_do_not_restart_each_other(backend: PostgresBackend, opener: Opener) -> None:
    """Ids of states come from a sequence: each append runs once, though all of them make states at once."""
    writers, turns = 4, 6
    driver = BackendDriver(backend)
    for number in range(1, writers + 1):
        driver.live(f"v{number}")
    for number in range(writers * turns):
        driver.put(f"k{number}", 0)
    others = [opener() for _ in range(writers)]
    for other in others:
        BackendDriver(other).put(f"warm {id(other)}", 0)
    together = threading.Barrier(writers)
    begun: list[str] = []
    failpoints.arm("append:begun", lambda: begun.append(threading.current_thread().name))
    failpoints.arm("append:before-commit", lambda: time.sleep(0.005))
    before = backend.database.ask(b"SELECT count(*) FROM kedge.states")[0][0]

    def write(number: int) -> None:
        mine = BackendDriver(others[number])
        for turn in range(turns):
            together.wait(60)
            lineage = frozenset({1 + number, 1 + (number + turn) % writers})
            mine.put(f"k{number * turns + turn}", turn, lineage=lineage)

    run_all(write, range(writers))
    made = backend.database.ask(b"SELECT count(*) FROM kedge.states")[0][0] - before
    assert made >= writers * 2, "plain states, and pairs with the lineage of the first write"
    assert len(begun) == writers * turns
    for other in others:
        other.close()
