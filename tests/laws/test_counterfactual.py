"""Counterfactual: after a rollback and a replay, the state equals a twin that never had the deployment.

Random histories do the first half in tests/stateful; here one story, with its replay, is told in full.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import kedge
from kedge import Kedge, Turn
from tests.databases import NewPlace
from tests.laws.scene import VECTOR, opened

QUESTIONS = [("s1", "one"), ("s2", "two"), ("s1", "three"), ("s2", "four")]


def answer(turn: Turn, question: str) -> None:
    """Answer as the prompt says, from what was learned; and learn."""
    prompt = turn.artifacts["helper/prompt"].value
    known = turn.context.get(f"learned/{question}", "nothing")
    turn.memory.append("assistant", f"{prompt}: {question}, knowing {known}")
    turn.context.put(f"learned/{question}", f"{prompt} {question}")
    turn.vectors("kb").upsert([question], [VECTOR], [f"{prompt} {question}"])


def listen_and_answer(turn: Turn, question: str) -> None:
    """Answer what was said last, as a chat model would."""
    said = [message.content for message in turn.memory.history(limit=3)]
    turn.memory.append("assistant", f"{turn.artifacts['helper/prompt'].value}: {question} after {said}")


def announce_and_answer(turn: Turn, question: str) -> None:
    """Say something before the first influenced read, then call another agent, and answer."""
    turn.memory.append("assistant", "let me see")
    with turn_of(turn, "looker") as looker:
        looker.memory.append("assistant", "looking it up")
        looker.context.put(f"looked/{question}", "yes")
        turn.absorb(looker.headers())
    known = turn.context.get("learned/rule", "nothing")
    said = [message.content for message in turn.memory.history()]
    turn.memory.append("assistant", f"{question}: {known}, after {said}")
    turn.memory.append("assistant", "let me see")


def turn_of(caller: Turn, agent: str) -> Turn:
    """Begin the turn of an agent that a turn calls."""
    return Turn(caller._kernel, agent=agent, parent=caller.headers())


def serve(k: Kedge, act: Callable[[Turn, str], None], *, release_after: int | None) -> None:
    """Serve the questions, each asked in its session; a bad release comes after so many of them."""
    for number, (session, question) in enumerate(QUESTIONS):
        if number == release_after:
            k.deploy("bad", {"helper/prompt": "BAD"}, canary=1.0)
            for begun in ("s1", "s2"):
                k.refresh(begun)
        with k.turn(session, agent="helper") as turn:
            turn.memory.append("user", question)
            act(turn, question)
        with k.turn(agent="auditor") as turn:  # nobody redeployed it; it writes blind
            turn.documents("kb").put(question, "asked", origin="derived")


def shown(k: Kedge) -> Any:
    """Return all that can be seen, by value and in order."""
    rows = k.view().vectors("kb")
    return (
        k.view().context.items(),
        k.view().documents("kb").items(),
        {name: row.payload for name, row in rows.get(rows.ids()).items()},
        {s: [(m.role, m.content) for m in k.view(session=s).memory.history()] for s in ("s1", "s2")},
    )


def read_badly(k: Kedge, *, bad: bool) -> None:
    """Serve with an agent that no release touched, until it reads a fact that a bad release's agent wrote."""
    for number, (session, question) in enumerate(QUESTIONS):
        if number == 1 and bad:
            k.deploy("bad", {"helper/prompt": "BAD"})
            k.promote("bad")
            with k.turn(agent="helper", deployment="bad") as turn:
                turn.context.put("learned/rule", "BAD rule")
            for begun in ("s1", "s2"):
                k.refresh(begun)
        with k.turn(session, agent="clerk") as turn:
            turn.memory.append("user", question)
            announce_and_answer(turn, question)
        with k.turn(session, agent="auditor") as turn:
            turn.memory.append("assistant", "let me see")


@pytest.mark.both
def test_what_a_turn_had_said_before_it_was_influenced_is_said_once(new_place: NewPlace) -> None:
    fails = ["three"]

    def replayed(turn: Turn, item: kedge.ReplayInput) -> None:
        announce_and_answer(turn, item.value)
        if item.value in fails:
            fails.remove(item.value)
            raise RuntimeError("the model is down")

    with opened(new_place()) as k, opened(new_place()) as twin:
        read_badly(k, bad=True)
        read_badly(twin, bad=False)
        k.rollback("bad")
        assert shown(k) != shown(twin)
        assert len(k.replay(replayed, "bad").failed) == 1
        assert len(k.replay(replayed, "bad").replayed) == 1
        assert shown(k) == shown(twin)
        assert k.fsck(full=True).findings == ()


@pytest.mark.parametrize("act", [answer, listen_and_answer])
def test_rolled_back_and_replayed_all_is_as_if_it_had_never_been(
    new_place: NewPlace, act: Callable[[Turn, str], None]
) -> None:
    def replayed(turn: Turn, item: kedge.ReplayInput) -> None:
        if item.store == "memory":
            act(turn, item.value)

    with opened(new_place()) as k, opened(new_place()) as twin:
        serve(k, act, release_after=1)
        serve(twin, act, release_after=None)
        assert shown(k) != shown(twin)
        k.rollback("bad")
        assert shown(k) != shown(twin), "before the replay, the answers are missing"
        k.replay(replayed, "bad")
        assert shown(k) == shown(twin)
        assert k.replay(replayed).replayed == (), "each input once"
        assert shown(k) == shown(twin)
