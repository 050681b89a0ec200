"""Members that are processes: paused and killed in the middle of a rollback, by real signals."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge.testing import postgres
from kedge.testing.proxy import Proxy
from tests.workers import Worker

POSTGRES_ONE_IN = 1000
LEASE = 1.0
SOON = 30.0


@pytest.fixture
def k(place: str) -> Iterator[kedge.Kedge]:
    with kedge.open(place, durability="normal") as opened:
        opened.deploy("v2", {"support/prompt": "bad"}, canary=1.0)
        yield opened


@pytest.fixture
def two(place: str) -> Iterator[tuple[Worker, Worker]]:
    with Worker(place, "one") as one, Worker(place, "other") as other:
        for name, worker in (("one", one), ("other", other)):
            worker.do("join", name, LEASE)
            worker.do("begin", "s-" + name, "support")
            worker.do("note", "early/" + name, 1)
        yield one, other


@contextmanager
def paused(worker: Worker) -> Iterator[None]:
    """Stop a process, and let it go on at the end."""
    worker.process.send_signal(signal.SIGSTOP)
    eventually(lambda: is_stopped(worker))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            worker.process.send_signal(signal.SIGCONT)


def is_stopped(worker: Worker) -> bool:
    """Say whether every thread of it has stopped."""
    threads = Path(f"/proc/{worker.process.pid}/task").glob("*/status")
    return all("(stopped)" in thread.read_text(encoding="utf-8") for thread in threads)


def eventually(holds: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + SOON
    while not (found := holds()):
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.01)
    return found


def names(report: kedge.RollbackReport) -> list[str]:
    assert report.convergence is not None
    return [laggard.name for laggard in report.convergence.laggards]


def waited_for(name: str, told: list[str]) -> bool:
    return any("waiting for" in line and name in line for line in told)


def state(k: kedge.Kedge, name: str) -> str:
    return next(member.state for member in k.members() if member.name == name)


def error(answer: Any) -> str | None:
    return answer.get("error") if isinstance(answer, dict) else None


def test_all_members_acknowledge(k: kedge.Kedge, two: tuple[Worker, Worker]) -> None:
    report = k.rollback("v2")
    assert report.ok
    assert names(report) == []
    assert report.convergence is not None
    assert report.convergence.acknowledged == 2
    assert report.indicators is not None
    assert report.indicators.consensus_latency_seconds is not None
    for worker in two:
        assert worker.do("standing") == {"serving": True, "epoch": report.epoch}
        assert error(worker.do("note", "late", 1)) == "RolledBack"


@pytest.mark.both
def test_a_paused_member_wakes_to_nothing_until_it_has_caught_up(k: kedge.Kedge, two: tuple[Worker, Worker]) -> None:
    other = two[1]
    with paused(other):
        for key in ("asked/1", "asked/2"):  # waits in its pipe: it finds it as it wakes
            other.ask("note", key, 1)
        other.ask("level_now")
        report = k.rollback("v2")
        assert report.ok
        assert names(report) == ["other"]
        assert state(k, "other") == "expired"
        assert report.convergence is not None
        assert (report.convergence.members, report.convergence.acknowledged) == (2, 1)
        before = k.epoch
    answers = [other.result() for _ in range(3)]
    assert {error(answer) for answer in answers[:2]} <= {"LeaseExpired", "RolledBack"}
    assert answers[2] == "frozen" or error(answers[2]) == "RolledBack", "the safe level, or it has caught up by now"
    assert eventually(lambda: other.do("standing")["serving"])
    assert other.do("standing")["epoch"] == before
    assert state(k, "other") == "serving", "it came back by itself"
    assert error(other.do("note", "asked/3", 1)) == "RolledBack"
    assert not [key for key in k.view(session="s-other").context.items() if key.startswith("asked")]
    other.do("begin", "s-other", "support")
    other.do("note", "after", 1)
    assert k.view(session="s-other").context.get("after") == 1
    assert k.fsck(full=True).findings == ()


def test_a_member_that_wakes_with_no_rollback_behind_it_goes_on(k: kedge.Kedge, two: tuple[Worker, Worker]) -> None:
    with paused(two[1]):
        eventually(lambda: state(k, "other") == "silent")
        two[1].ask("note", "kept", 1)
    answer = two[1].result()
    assert isinstance(answer, int) or error(answer) == "LeaseExpired"
    assert eventually(lambda: isinstance(two[1].do("note", "kept", 2), int))
    assert k.view(session="s-other").context.get("kept") == 2


def test_a_write_that_was_under_way_when_its_process_was_paused_is_not_seen(
    k: kedge.Kedge, two: tuple[Worker, Worker]
) -> None:
    other = two[1]
    other.do("stop_before_append")
    other.ask("note", "under way", 1)
    eventually(lambda: is_stopped(other))
    with paused(other):
        report = k.rollback("v2")
        assert names(report) == ["other"]
    assert error(other.result()) in {"LeaseExpired", "RolledBack"}
    assert k.view(session="s-other").context.get("under way") is None
    assert k.fsck(full=True).findings == ()


def test_a_killed_member_is_waited_out_once(k: kedge.Kedge, two: tuple[Worker, Worker]) -> None:
    one, other = two
    other.kill()
    told: list[str] = []
    report = k.rollback("v2", on_step=told.append)
    assert report.ok
    assert names(report) == ["other"]
    assert waited_for("other", told)
    assert report.convergence is not None
    assert report.convergence.acknowledged == 1
    k.reinstate("v2")
    told.clear()
    assert k.rollback("v2", on_step=told.append).ok
    assert not waited_for("other", told)
    one.do("begin", "s-new", "support")
    assert isinstance(one.do("note", "fine", 1), int)


def test_who_rolled_back_is_killed_and_another_finishes(k: kedge.Kedge, place: str, two: tuple[Worker, Worker]) -> None:
    with paused(two[1]), Worker(place, "roller") as roller:
        roller.ask("roll_back", "v2", ["support"])
        eventually(lambda: k.deployment("v2").status is kedge.Status.ROLLED_BACK)
        roller.kill()
        assert k.levels() == {"support": "frozen"}
        assert [operation.kind for operation in k.status().unfinished] == ["rollback"]
        (verdict,) = k.recover()
        assert "1 of 2 members acknowledged; did not acknowledge: other" in verdict
        assert k.levels() == {}
        assert k.status().unfinished == ()


@pytest.mark.both
@pytest.mark.only("postgres", reason="no network leads to a file")
def test_a_member_behind_a_cut_cable_serves_nothing_and_comes_back(
    k: kedge.Kedge, place: str, postgres_server: postgres.Server
) -> None:
    with Proxy(postgres_server.port) as proxy, Worker(place, "near") as near, Worker(proxy.url(place), "far") as far:
        for name, worker in (("near", near), ("far", far)):
            worker.do("join", name, LEASE)
            worker.do("begin", "s-" + name, "support")
            worker.do("note", "early", 1)
        proxy.hold()
        eventually(lambda: not far.do("standing")["serving"])
        assert far.do("level_now") == "frozen"
        assert error(far.do("note", "cut off", 1)) == "LeaseExpired"
        proxy.heal()
        assert eventually(lambda: isinstance(far.do("note", "back", 1), int))
        proxy.hold()
        far.ask("note", "under way", 1)
        report = k.rollback("v2")
        assert report.ok
        assert names(report) == ["far"]
        assert near.do("standing") == {"serving": True, "epoch": report.epoch}
        proxy.heal()
        assert error(far.result()) in {"LeaseExpired", "RolledBack"}
        assert eventually(lambda: far.do("standing")["serving"])
        assert far.do("standing")["epoch"] == report.epoch
        assert state(k, "far") == "serving"
        assert set(k.view(session="s-far").context.items()) == set(), "all of it was influenced by what is gone"
        assert error(far.do("note", "after", 1)) == "RolledBack"
        far.do("begin", "s-far", "support")
        far.do("note", "after", 1)
    assert k.fsck(full=True).findings == ()


ENDS = "import sys, kedge; kedge.open(sys.argv[1]).join('ends'); kedge.open(sys.argv[1]).set_level('joined', 'frozen')"


def test_a_process_that_ends_without_a_word_leaves(k: kedge.Kedge, place: str) -> None:
    subprocess.run([sys.executable, "-c", ENDS, place], check=True, timeout=SOON)
    assert k.levels() == {"joined": "frozen"}
    assert k.members() == []


def test_a_process_that_closes_its_database_leaves(k: kedge.Kedge, place: str) -> None:
    with Worker(place, "third") as worker:
        worker.do("join", "third", 60.0)
        assert [member.name for member in k.members()] == ["third"]
    assert k.members() == []
