"""Several processes on one database: concurrent compare-and-sets, sessions, names and rollbacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import kedge
from tests.workers import BATCH, Worker, batches_in

POSTGRES_ONE_IN = 3


@pytest.fixture
def two(place: str) -> Iterator[tuple[Worker, Worker]]:
    with Worker(place) as one, Worker(place) as other:
        yield one, other


def both(two: tuple[Worker, Worker], *request: Any) -> list[Any]:
    """Send one request to both at once, and return both answers."""
    for worker in two:
        worker.ask(*request)
    return [worker.result() for worker in two]


def is_error(answer: Any, name: str) -> bool:
    return isinstance(answer, dict) and answer.get("error") == name


def clean(place: str) -> None:
    with kedge.open(place, durability="normal") as k:
        k.recover()
        assert k.status().unfinished == ()
        assert k.fsck(full=True).findings == ()


def test_many_processes_create_one_database(tmp_path: Path) -> None:
    place = str(tmp_path / "new")
    with ExitStack() as stack:
        started = [Worker(place, str(n)) for n in range(4)]
        workers = [stack.enter_context(worker) for worker in started]
        for number, worker in enumerate(workers):
            worker.ask("put", f"by/{number}", number)
        assert all(isinstance(worker.result(), int) for worker in workers)
    with kedge.open(place) as k:
        assert k.view().context.items() == {f"by/{n}": n for n in range(4)}
        assert k.fsck(full=True).findings == ()


def test_of_two_compare_and_sets_exactly_one_wins(two: tuple[Worker, Worker], place: str) -> None:
    seq = 0
    two[0].do("dawdle", "append:begun", 0.002)
    for round_ in range(25):
        two[0].ask("put", "key", f"0 in {round_}", seq)
        two[1].ask("put", "key", f"1 in {round_}", seq)
        answers = [worker.result() for worker in two]
        won = [number for number, answer in enumerate(answers) if isinstance(answer, int)]
        assert len(won) == 1, answers
        assert is_error(answers[1 - won[0]], "ExpectationFailed")
        seq = answers[won[0]]
        with kedge.open(place, read_only=True) as k:
            entry = k.view().context.entry("key")
        assert entry is not None
        assert (entry.seq, entry.value) == (seq, f"{won[0]} in {round_}")


def test_no_increment_is_lost(two: tuple[Worker, Worker], place: str) -> None:
    each = 40
    with kedge.open(place, read_only=True) as k:
        before = k.seq
    two[0].ask("increment", "counter", each, "0")
    two[1].ask("increment", "counter", each, "1")
    made = [worker.result() for worker in two]
    assert sorted(made[0] + made[1]) == list(range(1, 2 * each + 1))
    with kedge.open(place) as k:
        assert k.view().context.get("counter")["n"] == 2 * each
        history = [k.at(seq).context.get("counter", {"n": 0})["n"] for seq in range(before, k.seq + 1)]
    assert list(dict.fromkeys(history)) == list(range(2 * each + 1))
    assert history == sorted(history)


def test_a_session_is_assigned_once(two: tuple[Worker, Worker], place: str) -> None:
    seen: dict[str, list[str]] = {}
    with kedge.open(place, durability="normal") as k:
        k.deploy("half", {"support/prompt": "half"}, canary=0.5)
        two[0].do("dawdle", "session:begun", 0.002)
        for round_ in range(60):
            sessions = [f"s{round_}", f"t{round_}"]
            for worker in two:
                worker.ask("assign", sessions)
            if round_ % 4 == 0:
                k.canary("half", 0.1 if round_ % 8 else 0.9)
            first, second = (worker.result() for worker in two)
            assert first == second
            seen |= dict(zip(sessions, first, strict=True))
        assert sorted({tuple(assigned) for assigned in seen.values()}) == [(), ("half",)]
        assert seen == {session: k.assignment(session) for session in seen}
    clean(place)


def test_of_two_deployments_of_one_name_one_wins(two: tuple[Worker, Worker], place: str) -> None:
    two[0].do("dawdle", "control:begun", 0.005)
    for round_ in range(12):
        answers = both(two, "deploy", f"name {round_}")
        assert sorted(is_error(answer, "DuplicateName") for answer in answers) == [False, True], answers
        assert "staged" in answers
    with kedge.open(place) as k:
        names = [d.name for d in k.deployments()]
    assert names == ["base", *(f"name {n}" for n in range(12))]
    clean(place)


@pytest.mark.parametrize("purge", [False, True])
def test_writers_and_rollbacks_at_once(place: str, purge: bool) -> None:
    count = 60
    with Worker(place) as one, Worker(place) as other, Worker(place) as roller:
        one.ask("write", "one", 0, count)
        other.ask("write", "other", 0, count)
        verdicts = [ok for n in range(4) for ok in roller.do("launch", f"v{n}", purge=purge)]
        assert one.result() == other.result() == list(range(count))
    assert all(verdicts), verdicts
    assert batches_in(place) == {f"{who}:{n}": BATCH[n % 4] for who in ("one", "other") for n in range(count)}
    clean(place)


def test_a_session_has_one_writer_at_a_time(two: tuple[Worker, Worker], place: str) -> None:
    two[0].do("dawdle", "append:begun", 0.002)
    made = both(two, "converse", "s", 12)
    with kedge.open(place, durability="normal") as k:
        history = k.view(session="s").memory.history()
    assert sorted(made[0] + made[1]) == [message.seq for message in history]
    before = 0
    for message in history:
        assert message.content["after"] == before
        before = message.seq
    clean(place)
