"""Turns of a process whose code differs from the pinned code: ignored, warned about or refused."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest

import kedge
from kedge import Kedge, OtherCode, OtherCodeWarning
from kedge.errors import InvalidValue

POSTGRES_ONE_IN = 6
V1, V2 = "sha256:1", "sha256:2"


@pytest.fixture
def k(place: str) -> Iterator[Kedge]:
    """What controls, and says nothing of its code."""
    with kedge.open(place, durability="normal") as opened:
        opened.deploy("v1", {"support/code": kedge.Artifact(uri="git:abc", digest=V1), "support/prompt": "one"})
        opened.promote("v1")
        yield opened


def running(k: Kedge, code: Any, policy: Any = "refuse") -> Kedge:
    return kedge.open(k.url, durability="normal", code=code, other_code=policy)


def counted(k: Kedge) -> list[tuple[str, str | None, str, int]]:
    return [(t.metric, t.agent, t.value, t.count) for t in k.verdicts()]


@pytest.mark.parametrize("code", [V1, "git:abc", {"support": V1}, {"support": V1, "*": V2}, {"*": V1}, None, {}])
def test_the_code_that_is_pinned_and_none_that_is_stated_pass(k: Kedge, code: Any) -> None:
    with running(k, code) as process, warnings.catch_warnings():
        warnings.simplefilter("error")
        with process.turn(session="s", agent="support") as turn:
            turn.context.put("a", 1)
        with process.turn(agent="other"), process.turn(person="ann"), process.turn(agent="clerk"):
            pass
    assert counted(k) == []


@pytest.mark.parametrize("code", [V2, {"support": V2, "*": V1}, {"billing": V1}])
def test_other_code_is_refused_before_anything_is_written(k: Kedge, code: Any) -> None:
    with running(k, code) as process:
        with pytest.raises(OtherCode, match=r"as 'support', but the view pins git:abc: route the session to a process"):
            process.turn(session="s", agent="support")
        process.turn(session="s", agent="other").close()
        process.turn(session="s", person="ann").close()
    assert len(counted(k)) == 1
    assert counted(k)[0][::3] == ("code:refuse", 1)


def test_other_code_is_said_once_and_counted_each_time(k: Kedge) -> None:
    with running(k, V2, "warn") as process:
        with pytest.warns(
            OtherCodeWarning, match=f"this process runs {V2} as 'support', but the view pins git:abc"
        ) as said:
            turns = [process.turn(session="s", agent="support") for _ in range(3)]
        assert len(said) == 1
        assert said[0].filename == __file__
        turns[0].context.put("a", 1)
    assert counted(k) == [("code:warn", "support", f"runs {V2}, view pins git:abc", 3)]
    assert [tally.metric for tally in k.status().other_code] == ["code:warn"]


def test_other_code_can_be_ignored(k: Kedge) -> None:
    with running(k, V2, "ignore") as process, warnings.catch_warnings():
        warnings.simplefilter("error")
        process.turn(agent="support").context.put("a", 1)
    assert counted(k) == []


def test_a_session_is_compared_with_its_own_view(k: Kedge) -> None:
    """Two processes, two versions of the code: each serves its own sessions, and the router learns which."""
    k.deploy("v2", {"support/code": V2}, canary=0.5)
    sessions = {f"s-{n}": "v2" in k.assignment(f"s-{n}") for n in range(16)}
    assert set(sessions.values()) == {True, False}
    with running(k, V1) as one, running(k, V2) as two:
        for session, canary in sessions.items():
            right, wrong = (two, one) if canary else (one, two)
            right.turn(session=session, agent="support").close()
            with pytest.raises(OtherCode):
                wrong.turn(session=session, agent="support")
        k.rollback("v2")
        for session in sessions:
            one.turn(session=session, agent="support").close()


def test_a_member_reports_its_code_and_who_serves_with_other_than_new_sessions_see(k: Kedge) -> None:
    k.deploy("b", {"billing/code": V1})
    k.promote("b")
    with running(k, V1) as one, running(k, {"support": V2}) as two, running(k, {"*": V2}) as three:
        one.join("one", serves=["support"])
        two.join("two")
        three.join("three", serves=["billing"])
        with k.join("silent"):
            found = {m.name: (m.code, m.other_code) for m in k.members()}
        assert found == {
            "one": ({"*": V1}, ()),
            "two": ({"support": V2}, ("support",)),
            "three": ({"*": V2}, ("billing",)),
            "silent": ({}, ()),
        }
        k.deploy("v2", {"support/code": V2})
        k.promote("v2")
        assert {m.name: m.other_code for m in k.members()} == {
            "one": ("support",),
            "two": (),
            "three": ("billing",),
        }


@pytest.mark.parametrize(
    ("code", "policy"), [(3, "warn"), ({"support": 3}, "warn"), ("", "warn"), ({"": V1}, "warn"), (V1, "perhaps")]
)
def test_what_cannot_be_stated_is_refused(k: Kedge, code: Any, policy: str) -> None:
    with pytest.raises(InvalidValue):
        running(k, code, policy)


def test_a_database_that_is_only_read_counts_nothing(k: Kedge) -> None:
    k.turn(session="s", agent="clerk").close()
    with kedge.open(k.url, read_only=True, code=V2, other_code="refuse") as reader, pytest.raises(OtherCode):
        reader.turn(session="s", agent="support")
    assert counted(k) == []
