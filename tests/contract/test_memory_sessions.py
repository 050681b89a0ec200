"""Memory belongs to sessions: without one there is none, and headers that cannot be trusted give none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import kedge
from kedge import Kedge, ReadView, Turn
from kedge.cli.main import main
from kedge.model.writes import Key, Pending, encode
from kedge.turns.scope import scope_of
from tests.contract.conftest import HandClock

POSTGRES_ONE_IN = 4

USES: dict[str, Callable[[Turn], object]] = {
    "append": lambda t: t.memory.append("user", "x"),
    "extend": lambda t: t.memory.extend([("user", "x")]),
    "history": lambda t: t.memory.history(),
    "history with tombstones": lambda t: t.memory.history(tombstones=True),
    "delete": lambda t: t.memory.delete(1),
}


@pytest.mark.parametrize("use", USES)
def test_a_turn_without_a_session_has_no_memory(k: Kedge, use: str) -> None:
    with k.turn(agent="support") as turn, pytest.raises(kedge.NoSession, match=r"give session= to k\.turn"):
        USES[use](turn)


def test_a_view_without_a_session_has_no_memory(k: Kedge) -> None:
    seq = k.seq
    views: list[ReadView] = [k.view(), k.at(seq), k.view(deployment="base")]
    for view in views:
        with pytest.raises(kedge.NoSession, match="give session="):
            view.memory.history()


@pytest.mark.parametrize("use", USES)
def test_expired_headers_give_no_session(k: Kedge, clock: HandClock, use: str) -> None:
    with k.turn(session="alice", agent="support") as caller:
        headers = caller.headers(ttl=60)
    clock.time += 360
    with k.turn(agent="worker", parent=headers, peer="queue") as turn:
        with pytest.raises(kedge.UntrustedHeaders, match="expired 300 s ago.*clocks.*session="):  # noqa: RUF043
            USES[use](turn)
        assert turn.lineage == {"external:queue"}
    assert k.view(session="alice").memory.history() == []


def test_forged_and_misdirected_headers_give_no_session(k: Kedge) -> None:
    with k.turn(session="alice", agent="support") as caller:
        misdirected = caller.headers(audience="billing")
        forged = {"baggage": caller.headers()["baggage"][:-4] + "AAAA"}
    for headers, why in ((misdirected, "meant for 'billing'"), (forged, "signature")):
        with k.turn(agent="worker", parent=headers) as turn, pytest.raises(kedge.UntrustedHeaders, match=why):
            turn.memory.history()


def test_headers_that_named_no_session_lack_one(k: Kedge) -> None:
    with k.turn(agent="worker", parent={}) as turn, pytest.raises(kedge.NoSession):
        turn.memory.history()


def test_a_session_given_beside_untrusted_headers_counts(k: Kedge, clock: HandClock) -> None:
    with k.turn(session="alice", agent="support") as caller:
        headers = caller.headers(ttl=60)
    clock.time += 360
    with k.turn(session="alice", agent="worker", parent=headers) as turn:
        turn.memory.append("user", "Hello")
    assert [m.content for m in k.view(session="alice").memory.history()] == ["Hello"]


def _share_a_message(k: Kedge, content: str) -> None:
    """Write as a turn without a session did before memory needed one."""
    with k.turn(agent="support") as turn:
        scope_of(turn).write(
            [Pending(Key("memory", "", ""), encode({"role": "user", "content": content}), source=True)]
        )


def test_the_shared_memory_of_old_databases_is_shown(k: Kedge, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    _share_a_message(k, "from before")
    k.close()
    assert main(["show", "memory", "", "--db", place]) == 0
    assert "user: from before" in capsys.readouterr().out


def test_inputs_in_the_shared_memory_are_replayed_there(k: Kedge) -> None:
    k.deploy("bad", {"support/prompt": "bad"})
    k.promote("bad")
    with k.turn(agent="support") as turn:
        scope = scope_of(turn)
        for role, source in (("user", True), ("assistant", False)):
            scope.write([Pending(Key("memory", "", ""), encode({"role": role, "content": role}), source=source)])
    k.rollback("bad")

    def answer(turn: Turn, _: kedge.ReplayInput) -> None:
        assert [message.content for message in turn.memory.history()] == ["user"]
        turn.memory.append("assistant", "again")

    report = k.replay(answer)
    assert (len(report.replayed), report.failed) == (1, ())


def test_a_callee_of_a_replay_in_the_shared_memory_works_there(k: Kedge) -> None:
    k.deploy("bad", {"support/prompt": "bad"})
    k.promote("bad")
    with k.turn(agent="support") as turn:
        for role, source in (("user", True), ("assistant", False)):
            write = Pending(Key("memory", "", ""), encode({"role": role, "content": role}), source=source)
            scope_of(turn).write([write])
    k.rollback("bad")

    def answer(turn: Turn, _: kedge.ReplayInput) -> None:
        for agent in ("callee", "second"):
            with k.turn(agent=agent, parent=turn.headers()) as callee:
                callee.memory.append("assistant", f"by {agent}")
                with k.turn(agent="its callee", parent=callee.headers()) as inner:
                    assert [m.content for m in inner.memory.history()][-1] == f"by {agent}"

    report = k.replay(answer)
    assert (len(report.replayed), report.failed) == (1, ())
    turn = k.turn(agent="other")
    with k.turn(agent="callee", parent=turn.headers()) as callee, pytest.raises(kedge.NoSession):
        callee.memory.history()
