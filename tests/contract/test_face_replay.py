"""Replay: each hidden input once, in order, at its rank; resumed after failures and kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import kedge
from kedge import Kedge, ReplayInput, Turn
from kedge.turns.scope import scope_of
from tests.databases import alter

POSTGRES_ONE_IN = 4

QUESTIONS = ["first", "second", "third"]


@pytest.fixture
def hidden(k: Kedge) -> Kedge:
    """Roll back a canary that answered three questions in two sessions."""
    k.deploy("v2", {"support/prompt": "bad"}, canary=1.0)
    for number, question in enumerate(QUESTIONS):
        with k.turn(session=f"s{number % 2}", agent="support") as turn:
            turn.memory.append("user", question)
            turn.memory.append("assistant", f"bad answer to {question}")
    k.rollback("v2")
    return k


def answer(turn: Turn, item: ReplayInput) -> None:
    assert turn.artifacts["support/prompt"].value == "hello", "under the restored view"
    turn.memory.append("assistant", f"good answer to {item.value}")


def history(k: Kedge, session: str) -> list[Any]:
    return [message.content for message in k.view(session=session).memory.history()]


GOOD = ["first", "good answer to first", "third", "good answer to third"]


def test_each_input_is_replayed_once_in_order_at_its_place(hidden: Kedge) -> None:
    pending = hidden.replay_pending()
    assert [(i.store, i.session, i.agent, i.value) for i in pending] == [
        ("memory", session, "support", None) for session in ("s0", "s1", "s0")
    ]
    assert [i.rank for i in pending] == sorted(i.rank for i in pending)
    told: list[tuple[int, int]] = []
    report = hidden.replay(answer, progress=lambda done, total: told.append((done, total)))
    assert [i.value for i in report.replayed] == QUESTIONS
    assert (report.failed, report.pending, told) == ((), 0, [(1, 3), (2, 3), (3, 3)])
    assert history(hidden, "s0") == GOOD
    assert history(hidden, "s1") == ["second", "good answer to second"]
    assert hidden.replay_pending() == []
    assert hidden.replay(answer).replayed == ()
    assert history(hidden, "s0") == GOOD


def test_a_part_of_it_and_then_the_rest(hidden: Kedge) -> None:
    first = hidden.replay(answer, "v2", limit=1)
    assert ([i.value for i in first.replayed], first.pending) == (["first"], 2)
    assert [i.value for i in hidden.replay(answer).replayed] == ["second", "third"]
    assert history(hidden, "s0") == GOOD


def test_an_input_whose_handler_raises_stays_pending(hidden: Kedge) -> None:
    def fail_once(turn: Turn, item: ReplayInput) -> None:
        answer(turn, item)
        if item.value == "second":
            raise RuntimeError("the model is down")

    report = hidden.replay(fail_once)
    assert [i.value for i in report.replayed] == ["first", "third"]
    assert [(i.value, why) for i, why in report.failed] == [("second", "RuntimeError: the model is down")]
    assert report.pending == 1
    again = hidden.replay(answer)
    assert [i.value for i in again.replayed] == ["second"]
    assert history(hidden, "s1") == ["second", "good answer to second"], "what the first attempt wrote is not repeated"


def test_a_replayed_write_loses_to_later_ones(k: Kedge) -> None:
    k.deploy("v2", {"support/prompt": "bad"}, canary=1.0)
    with k.turn(session="s", agent="support") as turn:
        turn.memory.append("user", "question")
        turn.context.put("fact", "bad")
        turn.context.put("mine", "bad")
    with k.turn(session="clean", agent="other") as turn:
        turn.context.put("fact", "later")
    k.rollback("v2")

    def handler(turn: Turn, _: ReplayInput) -> None:
        turn.context.put("fact", "replayed")
        turn.context.put("mine", "replayed")

    k.replay(handler)
    assert k.view().context.items() == {"fact": "later", "mine": "replayed"}


def test_an_input_is_not_replayed_while_its_deployment_stands(hidden: Kedge) -> None:
    hidden.reinstate("v2")
    assert hidden.replay_pending() == []
    assert history(hidden, "s1") == ["second", "bad answer to second"]


def test_what_a_second_bad_deployment_did_to_a_replay_is_replayed_again(hidden: Kedge) -> None:
    hidden.replay(answer)
    hidden.deploy("v3", {"support/prompt": "worse"}, canary=1.0)
    hidden.refresh("s1")
    with hidden.turn(session="s1", agent="support") as turn:
        turn.memory.append("user", "fourth")
        turn.memory.append("assistant", "worse answer to fourth")
    hidden.rollback("v3")
    assert [i.value for i in hidden.replay(answer).replayed] == ["fourth"]


def count_calls(monkeypatch: pytest.MonkeyPatch, port: object) -> list[str]:
    """Count the calls of a port's methods from now on."""
    called: list[str] = []
    for name in dir(type(port)):
        method = getattr(port, name)
        if not name.startswith("_") and callable(method):
            counted = partial(_counted, called, name, method)
            monkeypatch.setattr(port, name, counted)
    return called


def _counted(called: list[str], name: str, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    called.append(name)
    return method(*arguments, **options)


@pytest.mark.both
def test_agents_that_call_each_other_and_share_a_fact_cost_no_more_with_each_call(
    k: Kedge, monkeypatch: pytest.MonkeyPatch
) -> None:
    k.deploy("v2", {"planner/prompt": "bad"}, canary=1.0)
    for n in range(30):
        with k.turn(agent="planner", deployment="v2") as caller:
            caller.context.get("fact")
            with k.turn(agent="callee", parent=caller.headers()) as callee:
                callee.context.put("fact", [callee.context.get("fact"), n][-1])
    called = count_calls(monkeypatch, scope_of(k.view()).backend.provenance)
    assert k.plan("v2").replay_inputs == ()
    assert len(called) < 100
    k.rollback("v2")
    assert (k.status().replay_pending, k.replay_pending()) == (0, [])
    assert len(called) < 400


KILLED = """
import os, signal, sys, kedge
def handler(turn, item):
    turn.memory.append("assistant", f"good answer to {item.value}")
    if item.value == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
kedge.open(sys.argv[1]).replay(handler)
"""


def test_a_replay_goes_on_after_a_kill(hidden: Kedge, place: str) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, place, "second"], check=False, env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    with kedge.open(place) as other:
        assert [i.value for i in other.replay(answer).replayed] == ["second", "third"]
    assert history(hidden, "s0") == GOOD
    assert history(hidden, "s1") == ["second", "good answer to second"]


def test_inputs_of_old_anonymous_turns_are_replayed_as_whom_the_caller_says(hidden: Kedge, place: str) -> None:
    assert alter(place, "UPDATE turns SET agent = NULL, seen = NULL WHERE session = 's0'")
    with pytest.raises(kedge.Misuse, match=r"2 of 3 inputs .* pass agent='…'.*nothing was replayed"):
        hidden.replay(answer)
    assert len(hidden.replay_pending()) == 3
    seen: list[str | None] = []

    def handle(turn: Turn, item: ReplayInput) -> None:
        seen.append(turn.agent)
        answer(turn, item)

    report = hidden.replay(handle, agent="support")
    assert (report.failed, seen) == ((), ["support"] * 3)
    assert history(hidden, "s0") == GOOD


def test_a_persons_input_is_replayed_as_the_person(k: Kedge) -> None:
    k.deploy("bad", {"support/prompt": "bad"}, canary=1.0)
    with k.turn(session="s", agent="support") as turn:
        turn.context.put("fact/1", "wrong")
    with k.turn(session="p", person="ann") as turn:
        turn.context.get("fact/1")
        turn.memory.append("user", "ann says")
        turn.context.put("fact/2", 1, origin="derived")
    k.rollback("bad")
    asked: list[tuple[str | None, str | None]] = []
    report = k.replay(lambda turn, _: asked.append((turn.agent, turn.person)))
    assert (len(report.replayed), report.pending, asked) == (1, 0, [(None, "ann")])


def test_an_input_that_is_deleted_while_others_are_replayed_is_left_out(hidden: Kedge) -> None:
    first, *others = hidden.replay_pending()
    seen: list[int] = []

    def handler(_: kedge.Turn, item: kedge.ReplayInput) -> None:
        seen.append(item.seq)
        if item.seq == first.seq:
            for other in others:
                with hidden.turn(session=other.session, person="ann") as person:
                    person.memory.delete(other.seq)

    report = hidden.replay(handler)
    assert seen == [first.seq]
    assert (len(report.replayed), report.deleted, report.pending) == (1, len(others), 0)
