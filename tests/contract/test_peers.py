"""Unsigned peers: their registration, what comes after a rollback, and several callers in one header."""

from __future__ import annotations

import json

import pytest

import kedge
from kedge import Kedge, Turn
from kedge.cli.main import main
from kedge.model import peers as model
from tests.contract.conftest import HandClock

POSTGRES_ONE_IN = 4


def _hear(k: Kedge, peer: str | None, value: object = None) -> frozenset[str]:
    with k.turn(agent="clerk", parent={}, peer=peer) as turn:
        if value is not None:
            turn.context.put(f"of {peer}", value)
        return turn.lineage


def _facts(k: Kedge) -> dict[str, object]:
    return dict(k.view().context.items("of "))


def test_after_a_rollback_new_messages_join_the_next_incarnation(k: Kedge) -> None:
    assert _hear(k, "crm", 1) == {"external:crm"}
    k.rollback("external:crm")
    assert _facts(k) == {}
    assert _hear(k, "crm", 2) == {"external:crm#2"}
    assert _facts(k) == {"of crm": 2}
    with k.turn(agent="clerk") as turn:
        turn.absorb({}, peer="crm")
        assert turn.lineage == {"external:crm#2"}
    k.rollback("external:crm#2")
    assert _hear(k, "crm", 3) == {"external:crm#3"}
    assert [d.name for d in k.peers()] == ["external:crm", "external:crm#2", "external:crm#3"]


@pytest.mark.parametrize("policy", ["rejoin", "refuse"])
def test_after_a_purge_new_messages_join_the_next_incarnation(k: Kedge, policy: str) -> None:
    _hear(k, "crm", 1)
    k.rollback("external:crm")
    k.purge("external:crm", confirm="external:crm")
    k.set_rolled_back_peers(policy)
    assert _hear(k, "crm", 2) == {"external:crm#2"}
    assert _facts(k) == {"of crm": 2}


def test_after_a_settle_new_messages_join_the_next_incarnation(k: Kedge) -> None:
    _hear(k, "crm", 1)
    k.settle("external:crm")
    assert _hear(k, "erp", 2) == {"external:erp"}
    assert _hear(k, "crm", 3) == {"external:crm#2"}
    k.rollback("external:crm#2")
    assert _facts(k) == {"of crm": 1, "of erp": 2}


def test_unsigned_callers_without_a_name_are_not_locked_out_either(k: Kedge) -> None:
    for incarnation in ("external:unknown", "external:unknown#2", "external:unknown#3"):
        assert _hear(k, None) == {incarnation}
        k.rollback(incarnation)


def test_a_reinstated_peer_is_itself_again(k: Kedge) -> None:
    _hear(k, "crm", 1)
    k.rollback("external:crm")
    _hear(k, "crm", 2)
    k.reinstate("external:crm")
    assert _hear(k, "crm") == {"external:crm"}


def test_a_turn_that_heard_a_rolled_back_peer_ends(k: Kedge) -> None:
    with k.turn(agent="clerk", parent={}, peer="crm") as turn:
        k.rollback("external:crm")
        with pytest.raises(kedge.RolledBack):
            turn.context.get("fact")


def test_rolled_back_peers_can_be_refused(k: Kedge) -> None:
    k.set_rolled_back_peers("refuse", by="pat")
    assert _hear(k, "crm", 1) == {"external:crm"}
    k.rollback("external:crm")
    with pytest.raises(kedge.PeerRefused, match=r"'external:crm' was rolled back.*reinstate it.*'rejoin'"):
        _hear(k, "crm")
    assert _hear(k, "erp") == {"external:erp"}
    with k.turn(agent="clerk") as turn:
        with pytest.raises(kedge.NotPermitted):
            turn.absorb({}, peer="crm")
        turn.context.put("fact", 1)
    k.reinstate("external:crm")
    assert _hear(k, "crm") == {"external:crm"}
    k.rollback("external:crm")
    k.set_rolled_back_peers("rejoin")
    assert _hear(k, "crm") == {"external:crm#2"}
    with pytest.raises(kedge.InvalidValue, match=r"'never'.*'rejoin' or 'refuse'"):
        k.set_rolled_back_peers("never")


def test_a_peer_s_name_holds_no_mark_of_an_incarnation(k: Kedge) -> None:
    calls = (
        lambda: k.turn(agent="clerk", parent={}, peer="p#2"),
        lambda: k.turn(agent="clerk").absorb({}, peer="p#2"),
        lambda: k.register_peer("p#2"),
    )
    for call in calls:
        with pytest.raises(kedge.InvalidValue, match=r"'p#2'.*incarnation"):
            call()


def test_the_first_256_peers_register_themselves() -> None:
    names = ["external:unknown", *(f"external:{n}" for n in range(255)), "external:0#2", "release"]
    assert (model.as_registered("new", names), model.as_registered("0", names)) == ("new", "0")
    names.append("external:255")
    assert (model.as_registered("new", names), model.as_registered("255", names)) == ("unknown", "255")


def test_peers_beyond_the_first_share_unknown_until_registered(k: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "PEERS_MAX", 2)
    assert _hear(k, "a") == {"external:a"}
    k.rollback("external:a")
    assert _hear(k, "a") == {"external:a#2"}, "the same peer"
    assert _hear(k, "b") == {"external:b"}
    with pytest.warns(kedge.UnknownPeerWarning, match="'c'.*k.register_peer"):
        assert _hear(k, "c") == {"external:unknown"}
    assert _hear(k, "c") == {"external:unknown"}, "warned about once"
    assert k.register_peer("c") == "external:c"
    assert k.register_peer("c") == "external:c"
    assert _hear(k, "c") == {"external:c"}


def test_the_command_line_lists_and_registers(k: Kedge, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    _hear(k, "crm")
    k.close()
    assert main(["peers", "--register", "erp", "--rolled-back", "refuse", "--db", place]) == 0
    capsys.readouterr()
    assert main(["peers", "--json", "--db", place]) == 0
    found = json.loads(capsys.readouterr().out)["peers"]
    assert [peer["name"] for peer in found] == ["external:crm", "external:erp"]
    with kedge.open(place, durability="normal") as again:
        again.rollback("external:crm")
        with pytest.raises(kedge.PeerRefused):
            _hear(again, "crm")


# ── several callers in one header ──


@pytest.fixture
def callers(k: Kedge) -> tuple[Turn, Turn]:
    """Two agents' open turns in one session: a clean one, and one that a release influenced."""
    k.deploy("bad", {"writer/prompt": "bad"})
    k.promote("bad")
    return k.turn(session="s", agent="clerk"), k.turn(session="s", agent="writer")


def _both(*headers: dict[str, str]) -> dict[str, str]:
    return {"baggage": ",".join(each["baggage"] for each in headers)}


def _two_headers(one: dict[str, str], other: dict[str, str]) -> dict[str, str]:
    return {"Baggage": one["baggage"], "baggage": other["baggage"]}


def test_all_callers_count(k: Kedge, callers: tuple[Turn, Turn]) -> None:
    clean, tainted = (turn.headers() for turn in callers)
    twice = [_two_headers(clean, tainted), _two_headers(tainted, clean)]
    for headers in (_both(clean, tainted), _both(tainted, clean), *twice, *map(kedge.carriers.from_http, twice)):
        with k.turn(agent="callee", parent=headers) as turn:
            assert (sorted(turn.lineage), turn.session) == (["bad"], "s")
            turn.context.put("fact", "wrong")
        with k.turn(session="s", agent="third") as turn:
            turn.absorb(headers)
            assert turn.lineage == {"bad"}
    k.rollback("bad")
    assert k.view(session="s").context.get("fact") is None


def test_what_does_not_verify_beside_it_is_external(k: Kedge, callers: tuple[Turn, Turn]) -> None:
    headers = _both(callers[1].headers(), {"baggage": "kedge=forged.signature"})
    with k.turn(agent="callee", parent=headers, peer="proxy") as turn:
        assert turn.lineage == {"bad", "external:proxy"}
        turn.memory.append("assistant", "x")
        assert len(turn.memory.history()) == 1
    with callers[0] as turn:
        turn.absorb(headers, peer="proxy")
        assert turn.lineage == {"bad", "external:proxy"}


def test_a_call_of_each_caller_is_received(k: Kedge, callers: tuple[Turn, Turn], clock: HandClock) -> None:
    headers = _both(*(turn.headers("callee") for turn in callers))
    with k.turn(agent="callee", parent=headers) as turn:
        turn.context.put("fact", 1)
        answer = turn.headers()
    for caller in callers:
        caller.absorb(answer)
        caller.close()
    clock.time += 301
    assert k.status().unanswered_calls == ()


def test_an_answer_of_each_callee_is_absorbed(k: Kedge, clock: HandClock) -> None:
    with k.turn(session="s", agent="planner") as planner:
        answers = []
        for agent in ("coder", "tester"):
            with k.turn(agent=agent, parent=planner.headers(agent)) as callee:
                callee.context.put(agent, 1)
                answers.append(callee.headers())
        planner.absorb(_both(*answers))
    clock.time += 301
    assert k.status().unanswered_calls == ()


def test_two_sessions_are_refused_unless_one_is_given(k: Kedge, callers: tuple[Turn, Turn]) -> None:
    with k.turn(session="t", agent="clerk") as other:
        headers = _both(callers[0].headers(), other.headers())
        with pytest.raises(kedge.InvalidValue, match=r"2 sessions \('s', 't'\).*session="):
            k.turn(agent="callee", parent=headers)
        for session in ("s", "t"):
            with k.turn(session=session, agent="callee", parent=headers) as turn:
                assert turn.session == session
