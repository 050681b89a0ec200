"""Reads during writes and rollbacks: each answer is of one instant."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import kedge
from tests.workers import KEYS, Worker, matrix

POSTGRES_ONE_IN = 1000
JOIN_SECONDS = 60


Until = Callable[[Callable[[], bool]], None]


@contextmanager
def beside(*works: Callable[[], object]) -> Iterator[Until]:
    """Run each work again and again in a thread of its own while the body runs; what they raise comes out here.

    What it yields waits until something holds, or until a thread has failed.
    """
    over = threading.Event()
    raised: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            while not over.is_set() and not raised:
                work()
        except BaseException as error:  # noqa: BLE001 - the edge of this thread: handed to the test's own
            raised.append(error)

    def until(holds: Callable[[], bool]) -> None:
        while not holds() and not raised:
            time.sleep(0.001)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield until
    finally:
        over.set()
        for thread in threads:
            thread.join(JOIN_SECONDS)
    for error in raised:
        raise error


# ── rollbacks ──


@pytest.fixture
def contaminated(place: str) -> str:
    """A database in which v2 has overwritten one value in every store, all from session s."""
    with kedge.open(place, durability="normal") as k:
        for prompt, canary in ((None, None), ("bad", 1.0)):
            if prompt is not None:
                k.deploy("v2", {"support/prompt": prompt}, canary=canary)
            with k.turn(session=None if prompt is None else "s", agent="support") as turn:
                word = "clean" if prompt is None else "v2"
                turn.context.put("key", word)
                turn.documents("kb").put("doc", word, origin="derived")
                turn.vectors("kb").upsert(["a"], [[1, 0, 0, 1]], [word])
                if prompt is not None:
                    turn.memory.append("assistant", word)
    return place


def words(reader: kedge.ReadView | kedge.Turn) -> Iterator[str]:
    """Say of one store after the other whether it shows what v2 wrote."""
    yield str(reader.context.get("key"))
    yield str(reader.documents("kb").get("doc"))
    yield "v2" if reader.memory.history() else "clean"
    (hit,) = reader.vectors("kb").search([1, 0, 0, 1], k=5)
    yield str(hit.payload)
    yield "v2" if "v2" in reader.seen else "clean"
    yield "v2" if reader.artifacts["support/prompt"].value == "bad" else "clean"
    yield str(reader.vectors("kb").get(["a"])["a"].payload)
    yield str(reader.context.items("k")["key"])


def test_a_view_at_one_epoch_is_no_mixture(contaminated: str) -> None:
    seen: list[str] = []
    views: dict[int, kedge.ReadView] = {}

    def look() -> None:
        view = views.setdefault(threading.get_ident(), k.view(session="s"))  # the same one over many flips
        before = k.epoch
        found = list(words(view))
        if k.epoch == before:
            assert len(set(found)) == 1, found
            seen.append(found[0])

    with (
        kedge.open(contaminated, durability="normal") as k,
        Worker(contaminated) as worker,
        beside(look, look) as until,
    ):
        for _ in range(24):
            worker.do("flip", "v2")
            known = len(seen)
            until(lambda: len(seen) >= known + 2)  # noqa: B023 - called at once
    assert set(seen) == {"v2", "clean"}


def test_a_turn_that_was_influenced_sees_nothing_else_or_ends(contaminated: str) -> None:
    ended: list[bool] = []

    def work() -> None:
        found: list[str] = []
        try:
            with k.turn(session="s", agent="clerk") as turn:
                for word in words(turn):
                    found.append(word)
                    assert found == sorted(found, key=("clean", "v2").index), found
            ended.append(False)
        except kedge.RolledBack:
            assert "v2" in found
            ended.append(True)

    with kedge.open(contaminated, durability="normal") as k, beside(work, work) as until:
        for round_ in range(40):
            _ = k.reinstate("v2") if round_ % 2 else k.rollback("v2")
            known = len(ended)
            until(lambda: len(ended) >= known + 2)  # noqa: B023 - called at once
    assert True in ended


# ── vectors ──


def check_hits(view: kedge.ReadView, at_least: int) -> int:
    """Check that a search finds one version of all vectors, or none, and return the version."""
    hits = view.vectors("kb").search(np.ones(4, np.float32), k=100)
    versions = {hit.payload["v"] for hit in hits}
    assert len(versions) <= 1, versions
    if not hits:
        return at_least
    (version,) = versions
    assert sorted(hit.id for hit in hits) == KEYS
    assert version >= at_least
    rows = matrix([hit.id for hit in hits], version).astype(np.float64)
    cosines = rows.sum(axis=1) / np.linalg.norm(rows, axis=1) / 2
    assert np.allclose([hit.score for hit in hits], cosines)
    got = view.vectors("kb").get(KEYS)
    for ident, row in got.items():
        assert row.vector.tolist() == matrix([ident], row.payload["v"])[0].tolist()
    assert {row.payload["v"] for row in got.values()} <= {next(iter(got.values())).payload["v"]} if got else True
    assert len(got) in {0, len(KEYS)}
    return int(version)


def test_a_search_beside_a_writer_finds_heads_alone(place: str) -> None:
    newest: dict[int, int] = {}

    def search() -> None:
        me = threading.get_ident()
        newest[me] = check_hits(k.view(), newest.get(me, 0))
        assert k.view().vectors("kb").count() in {0, len(KEYS)}

    with kedge.open(place, durability="normal") as k, Worker(place) as worker:
        with beside(search, search):
            worker.do("overwrite", 1, 80)
        assert check_hits(k.view(), 0) == 0  # the last of them deleted all
        worker.do("overwrite", 81, 3)
        assert check_hits(k.view(), 80) == 83
        assert k.fsck(full=True).findings == ()
    assert max(newest.values()) > 1


def test_a_past_view_beside_a_writer_does_not_change(place: str) -> None:
    with kedge.open(place, durability="normal") as k, Worker(place) as worker:
        worker.do("overwrite", 1, 3)
        k.snapshot("here")
        at_first = check_hits(k.at("here"), 3)

        def search() -> None:
            assert check_hits(k.at("here"), at_first) == at_first

        with beside(search, search):
            worker.do("overwrite", 4, 50)


# ── threads ──


def test_threads_share_one_kedge(place: str) -> None:
    tickets = iter(range(10**9))
    lock = threading.Lock()
    written: list[tuple[str, str]] = []

    def write() -> None:
        with lock:
            number = next(tickets)
        key, session = f"n{number}", f"s{number % 5}"
        try:
            with k.turn(session=session, agent="support") as turn:
                turn.context.put(key, number)
                turn.memory.extend([("user", key), ("assistant", key)])
                turn.vectors("kb").upsert([key], matrix([key], number), [{"n": number}])
                assert turn.context.get(key) == number
                assert turn.vectors("kb").get([key])[key].payload == {"n": number}
                assert key in [m.content for m in turn.memory.history(limit=200)]
        except kedge.RolledBack:
            return
        written.append((key, session))

    def read() -> None:
        view: Any = k.view()
        items = view.context.items("n")
        assert all(key == f"n{value}" for key, value in items.items())
        assert view.vectors("kb").count() >= 0

    with kedge.open(place, durability="normal") as k:
        with beside(write, write, write, read) as until:
            for number in range(6):
                k.deploy(f"v{number}", {"support/prompt": str(number)}, canary=0.5)
                assert k.rollback(f"v{number}").ok
                until(lambda: len(written) >= 4 * (number + 1))  # noqa: B023 - called at once
        assert len(written) >= 24
        assert len({key for key, _ in written}) == len(written)
        assert k.fsck(full=True).findings == ()
        for key, session in written:
            history = [m.content for m in k.view(session=session).memory.history() if m.role == "user"]
            assert history.count(key) == 1, key
