"""No acknowledged write is invisible to its own turn, unless a rollback made it so."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kedge
from kedge import Kedge
from tests.laws.scene import clerk, helper, release

PARTS = ("helper", "clerk")
SESSIONS = ("s1", "s2", "s3")
RELEASES = ("r1", "r2", "r3")

_programs = itertools.count(1)
_slots = st.integers(0, 2)
_absorb = st.tuples(st.just("absorb"), _slots, _slots, st.none())
_write = st.tuples(st.just("write"), _slots, st.sampled_from(("put", "cas", "once", "say")), st.none())
_control = st.sampled_from(("canary", "promote", "settle", "rollback", "reinstate"))
steps = st.lists(
    st.one_of(
        _absorb,
        _absorb,
        _write,
        _write,
        st.tuples(st.just("begin"), _slots, st.sampled_from(SESSIONS), st.sampled_from(PARTS)),
        st.tuples(st.just("inside"), _slots, st.sampled_from(RELEASES), st.sampled_from(PARTS)),
        st.tuples(st.just("call"), _slots, _slots, st.sampled_from((None, *SESSIONS))),
        st.tuples(st.just("hear"), _slots, st.sampled_from(("p1", "p2")), st.none()),
        st.tuples(st.just("read"), _slots, st.none(), st.none()),
        st.tuples(st.just("control"), _control, st.sampled_from(RELEASES), st.none()),
    ),
    min_size=12,
    max_size=24,
)


@dataclass
class Program:
    """One random program: turns in three slots, and what they do. A refusal is an answer like another."""

    k: Kedge
    tag: str  # in its names: many programs run in one database
    serial: int = 0

    def __post_init__(self) -> None:
        for number, name in enumerate(RELEASES):
            self.k.deploy(name + self.tag, {f"helper/{name}{self.tag}": name}, canary=(None, 0.5, 1.0)[number])
        self.turns = {slot: self.k.turn(session=SESSIONS[slot] + self.tag, agent=PARTS[slot % 2]) for slot in range(2)}
        self.inside(2, RELEASES[0], PARTS[0])

    def do(self, kind: str, first: object, second: object, third: object) -> None:
        with suppress(kedge.KedgeError):
            getattr(self, kind)(first, second, third)

    def begin(self, slot: int, session: str, agent: str) -> None:
        self.turns[slot] = self.k.turn(session=session + self.tag, agent=agent)

    def inside(self, slot: int, name: str, agent: str) -> None:
        self.turns[slot] = self.k.turn(agent=agent, deployment=name + self.tag)

    def call(self, slot: int, other: int, session: str | None) -> None:
        named = None if session is None else session + self.tag
        self.turns[other] = self.k.turn(session=named, agent="callee", parent=self.turns[slot].headers())

    def absorb(self, slot: int, other: int, _: None) -> None:
        if slot != other:
            self.turns[slot].absorb(self.turns[other].headers())

    def hear(self, slot: int, peer: str, _: None) -> None:
        self.turns[slot].absorb({}, peer=peer)

    def read(self, slot: int, *_: None) -> None:
        self.turns[slot].context.items(self.tag)

    def control(self, verb: str, name: str, _: None) -> None:
        named = name + self.tag
        if verb == "canary":
            self.k.canary(named, 1.0)
        elif verb == "rollback":
            self.k.rollback(named, verify=False)
        else:
            getattr(self.k, verb)(named)

    def write(self, slot: int, how: str, _: None) -> None:
        """Write, and read it back in the same turn."""
        turn, self.serial = self.turns[slot], self.serial + 1
        key = f"{self.tag} {self.serial % 3}"
        writes: dict[str, Callable[[], int]] = {
            "put": lambda: turn.context.put(key, self.serial),
            "cas": lambda: turn.context.put(key, self.serial, expect=getattr(turn.context.entry(key), "seq", 0)),
            "once": lambda: turn.context.put(key, self.serial, idempotency=f"call {self.tag} {self.serial}"),
            "say": lambda: turn.memory.append("assistant", self.serial),
        }
        seq = writes[how]()
        if how == "say":
            assert [m.content for m in turn.memory.history()][-1:] == [self.serial], f"seq {seq} is invisible"
        else:
            assert turn.context.get(key) == self.serial, f"seq {seq} is invisible to its own turn"


@pytest.mark.both
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(program=steps)
def test_a_turn_reads_back_what_it_wrote(k: Kedge, program: list[tuple[str, object, object, object]]) -> None:
    running = Program(k, f"-{next(_programs)}")
    for step in program:
        running.do(*step)
    for deployment in k.deployments():  # the next program begins as this one did
        with suppress(kedge.KedgeError):
            k.rollback(deployment.name, verify=False)


def test_a_callee_s_lineage_that_the_turn_does_not_see_is_refused(k: Kedge) -> None:
    release(k, "canary", live=False)
    with helper(k, None, deployment="canary") as callee, clerk(k) as turn:
        with pytest.raises(kedge.NotSeen, match="'canary'.*parent=turn.headers") as caught:  # noqa: RUF043
            turn.absorb(callee.headers())
        assert caught.value.deployments == ("canary",)
        assert turn.lineage == frozenset(), "it has not taken it on"
        turn.context.put("key", "mine")
        assert turn.context.get("key") == "mine"
    assert k.view(session="s").context.get("key") == "mine"


def test_a_caller_s_lineage_that_another_session_does_not_see_is_refused(k: Kedge) -> None:
    clerk(k, "t").close()  # its view is fixed now
    release(k, "bad")
    with helper(k) as caller, pytest.raises(kedge.NotSeen, match="'bad'"):
        k.turn(session="t", agent="clerk", parent=caller.headers())


def test_a_callee_that_joined_its_caller_is_absorbed(k: Kedge) -> None:
    release(k, "canary", live=False)
    with helper(k, None, deployment="canary") as turn, clerk(k) as outside:
        with k.turn(agent="callee", parent=turn.headers()) as callee:
            callee.context.put("key", "theirs")
            turn.absorb(callee.headers())
        assert turn.context.get("key") == "theirs"
        assert outside.context.get("key") is None


def test_a_rolled_back_callee_still_ends_the_turn(bad: Kedge) -> None:
    with helper(bad) as callee, clerk(bad, "t") as turn:
        headers = callee.headers()
        bad.rollback("bad")
        with pytest.raises(kedge.RolledBack):
            turn.absorb(headers)
