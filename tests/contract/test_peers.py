"""Unsigned peers: their registration, what comes after a rollback, and several callers in one header."""

from __future__ import annotations

import json

import msgspec
import pytest

import kedge
from kedge import Kedge, Turn
from kedge.cli.main import main
from kedge.model import peers as model
from kedge.model.writes import Author, Batch, Key, Pending, encode
from kedge.turns.scope import scope_of
from tests.contract.conftest import HandClock
from tests.databases import raw_rows

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


def test_what_a_rolled_back_peer_s_turn_still_writes_is_hidden_on_arrival(k: Kedge) -> None:
    turn = k.turn(agent="clerk", parent={}, peer="crm")
    other = k.turn(agent="clerk", parent={}, peer="erp")
    epoch = k.epoch
    k.rollback("external:crm")
    assert k.epoch == epoch + 1, "one change of the record"
    with pytest.raises(kedge.RolledBack, match="'external:crm'"):
        turn.context.put("of crm", 1)
    other.context.put("of erp", 1)
    scope, lineage = scope_of(k.view()), frozenset({_number(k, "external:crm")})
    late = Batch(k.epoch, Author("late", agent="clerk"), (Pending(Key("context", "", "of crm"), encode(1)),), lineage)
    scope.backend.journal.append(late)
    assert _facts(k) == {"of erp": 1}
    k.reinstate("external:crm")
    assert _facts(k) == {"of erp": 1, "of crm": 1}
    k.rollback("external:crm")
    k.purge("external:crm", confirm="external:crm")
    assert _facts(k) == {"of erp": 1}
    with pytest.raises(kedge.KedgeError, match="purged"):
        scope.backend.journal.append(
            msgspec.structs.replace(late, epoch=k.epoch, author=Author("later", agent="clerk"))
        )
    assert _hear(k, "crm") == {"external:crm#2"}
    assert k.fsck(full=True).findings == ()


def _number(k: Kedge, name: str) -> int:
    return next(deployment.number for deployment in k.peers() if deployment.name == name)


def test_the_names_of_peers_lie_beside_the_control_record(k: Kedge, place: str) -> None:
    for number in range(40):
        k.register_peer(f"a-peer-with-a-long-name-{number:03}")
    k.rollback("external:a-peer-with-a-long-name-007")
    ((stored,),) = raw_rows(place, "SELECT record FROM control")
    assert b"a-peer" not in bytes(stored)
    assert len(bytes(stored)) < 200
    logged = sum(
        len(bytes(row[0])) for row in raw_rows(place, "SELECT record FROM control_log WHERE record IS NOT NULL")
    )
    assert logged < 45 * 200
    assert [d.status for d in k.peers()].count(kedge.Status.ROLLED_BACK) == 1
    with k.turn(session="s", agent="clerk") as turn:
        turn.context.put("key", 1)
        headers = turn.headers()
    assert raw_rows(place, "SELECT base FROM sessions")[0][0] in ("[]", []), "every view sees peers: none is listed"
    assert sum(map(len, headers.values())) < 700


def test_a_peer_is_shown_planned_and_looked_into_like_a_deployment(k: Kedge) -> None:
    _hear(k, "crm", 1)
    shown = k.deployment("external:crm")
    assert (shown.kind, shown.status, shown.bases, shown.weight) == ("external", kedge.Status.LIVE, (), 0.0)
    assert shown in k.deployments()
    assert k.plan("external:crm").writes_total == 1
    assert k.view(deployment="external:crm").context.get("of crm") == 1, "every view sees it"
    k.deploy("v1", {"clerk/prompt": "x"}, base="external:crm")
    assert k.deployment("v1").bases == ("external:crm",)
    assert k.plan("external:crm").goes_with_it == ("v1",)
    with pytest.raises(kedge.IllegalTransition, match="'external:crm': it is live"):
        k.canary("external:crm", 0.1)
    k.rollback("external:crm", reason="wrong")
    shown = k.deployment("external:crm")
    assert (shown.status, shown.reason) == (kedge.Status.ROLLED_BACK, "wrong")
    assert k.deployment("v1").status is kedge.Status.ROLLED_BACK
    with pytest.raises(kedge.IllegalTransition, match="it is rolled back"):
        k.view(deployment="external:crm")
    with pytest.raises(kedge.UnknownName, match="external:cmr"):
        k.plan("external:cmr")
    k.purge("external:crm", confirm="external:crm")
    assert [k.deployment(name).status for name in ("external:crm", "v1")] == [kedge.Status.PURGED] * 2
    assert k.deployment("v1").since == k.deployment("external:crm").since


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
    assert model.as_registered("new", is_known=False, registered=255) == "new"
    assert model.as_registered("new", is_known=False, registered=256) == "unknown"
    assert model.as_registered("old", is_known=True, registered=256) == "old"


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
