"""Messages between agents: three versions of a schema, a rollback in the middle, and tampering, by carrier."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

import kedge
import kedge.aio
from kedge import Kedge, SchemaRefused, SyncNeeded, carriers
from kedge.errors import InvalidValue, RolledBack
from kedge.model.carriers import A2A_EXTENSION
from tests.contract.conftest import HandClock

POSTGRES_ONE_IN = 12
V1: dict[str, Any] = {"id": 42}
V2: dict[str, Any] = {"id": 42, "lang": "en"}
V3: dict[str, Any] = {"case": {"id": 42}, "lang": "en"}


def add_casters(k: Kedge) -> None:
    k.add_caster("case", 1, 2, lambda case: {**case, "lang": "en"})
    k.add_caster("case", 2, 1, lambda case: {"id": case["id"]})
    k.add_caster("case", 2, 3, lambda case: {"case": {"id": case["id"]}, "lang": case["lang"]})
    k.add_caster("case", 3, 2, lambda case: {"id": case["case"]["id"], "lang": case["lang"]})


def speaking(k: Kedge, agent: str, version: Any, name: str | None = None) -> str:
    """Make a deployment live in which an agent speaks a version; return its name."""
    name = name or f"{agent}-v{version}"
    k.deploy(name, {f"{agent}/speaks": {"case": version}})
    k.promote(name)
    return name


def sent(
    k: Kedge, payload: Any, *, agent: str = "triage", session: str | None = None, **options: Any
) -> dict[str, str]:
    with k.turn(session=session, agent=agent) as turn:
        return turn.send("case", payload, **options)


def counted(k: Kedge) -> dict[str, int]:
    return {f"{t.metric.removeprefix('message:')} {t.agent}: {t.value}": t.count for t in k.verdicts()}


# ── three versions ──


@pytest.mark.parametrize(
    ("sender", "payload", "receiver", "received", "verdict"),
    [
        (1, V1, 1, V1, "accept"),
        (3, V3, 3, V3, "accept"),
        (1, V1, 2, V2, "translate"),
        (3, V3, 1, V1, "translate"),
        (1, V1, 3, V3, "translate"),
    ],
)
def test_every_version_is_understood_through_casters(
    k: Kedge, sender: int, payload: Any, receiver: int, received: Any, verdict: str
) -> None:
    add_casters(k)
    speaking(k, "triage", sender)
    speaking(k, "billing", receiver)
    with k.turn(agent="billing", parent=sent(k, payload)) as turn:
        assert turn.receive("case", json.loads(json.dumps(payload))) == received
        assert turn.lineage == {f"triage-v{sender}", f"billing-v{receiver}"}
    assert counted(k) == {f"{verdict} billing: case {sender}->{receiver} from triage": 1}


def test_a_rollback_in_the_middle_of_a_conversation_takes_the_rules_along(k: Kedge) -> None:
    add_casters(k)
    speaking(k, "triage", 3)
    speaking(k, "billing", 2)
    k.deploy("billing-v3", {"billing/speaks": {"case": 3}}, independent=True, canary=1.0)

    def ask(headers: Mapping[str, str] | None = None) -> Any:
        headers = headers or sent(k, V3, session="s")
        with k.turn(agent="billing", parent=headers) as turn:
            return turn.receive("case", V3)

    assert ask() == V3
    under_way = sent(k, V3, session="s")
    k.rollback("billing-v3")
    with pytest.raises(SyncNeeded, match=r"saw billing-v3, rolled back since; the sender must begin a new turn"):
        ask(under_way)  # its sender saw what is gone, though nothing of it has influenced the message
    assert ask() == V2
    k.reinstate("billing-v3")
    assert ask() == V3
    assert counted(k) == {
        "accept billing: case 3->3 from triage": 2,
        "sync billing: case 3->2 from triage": 1,
        "translate billing: case 3->2 from triage": 1,
    }


def test_the_sender_is_asked_for_a_fresh_sync_by_the_answer(k: Kedge) -> None:
    speaking(k, "triage", 1)
    speaking(k, "billing", 1)
    k.deploy("other", {"other/prompt": "x"}, canary=1.0)
    with k.turn(session="s", agent="triage") as sender:
        headers = sender.send("case", V1, audience="billing")
        k.rollback("other")
        with k.turn(agent="billing", parent=headers) as receiver:
            with pytest.raises(SyncNeeded):
                receiver.receive("case", V1)
            answer = receiver.headers(audience="triage")
        with pytest.raises(SyncNeeded, match="'billing' asks for a fresh sync: begin a new turn, and send again"):
            sender.absorb(answer)
    with k.turn(agent="billing", parent=sent(k, V1, session="s")) as receiver:
        assert receiver.receive("case", V1) == V1


@pytest.mark.parametrize(("stale", "verdict"), [("accept", "accept"), ("refuse", "refuse")])
def test_a_rule_says_what_becomes_of_a_stale_message(k: Kedge, stale: str, verdict: str) -> None:
    speaking(k, "triage", 1)
    speaking(k, "billing", {"version": 1, "stale": stale}, "billing-v1")
    k.deploy("other", {"other/prompt": "x"}, canary=1.0)
    headers = sent(k, V1, session="s")
    k.rollback("other")
    with k.turn(agent="billing", parent=headers) as turn:
        if verdict == "refuse":
            with pytest.raises(SchemaRefused, match="its sender saw other"):
                turn.receive("case", V1)
        else:
            assert turn.receive("case", V1) == V1
    assert counted(k) == {f"{verdict} billing: case 1->1 from triage": 1}


def test_what_was_influenced_by_something_rolled_back_is_never_taken(k: Kedge) -> None:
    speaking(k, "billing", {"version": 1, "stale": "accept"}, "billing-v1")
    speaking(k, "triage", 1)
    headers = sent(k, V1)
    k.rollback("triage-v1")
    with pytest.raises(RolledBack):
        k.turn(agent="billing", parent=headers)
    with k.turn(agent="billing") as turn, pytest.raises(RolledBack):
        turn.receive("case", V1, headers)
    assert counted(k) == {"refuse billing: anything from triage, influenced by what is rolled back": 2}


def test_what_no_caster_leads_to_is_refused(k: Kedge) -> None:
    k.add_caster("case", 1, 2, lambda case: case)
    k.add_caster("other", 2, 3, lambda case: case)
    speaking(k, "triage", 1)
    speaking(k, "billing", 3)
    says = r"'billing' speaks version 3 of 'case'.*no casters lead from version 1 to 3"
    with k.turn(agent="billing", parent=sent(k, V1)) as turn, pytest.raises(SchemaRefused, match=says):
        turn.receive("case", V1)
    assert counted(k) == {"refuse billing: case 1->3 from triage": 1}


def test_a_rule_names_the_versions_that_are_taken(k: Kedge) -> None:
    add_casters(k)
    speaking(k, "triage", 1)
    speaking(k, "billing", {"version": 3, "takes": [2]}, "billing-v3")
    says = r"version 1 is not among those that it takes: \[2\]"
    with k.turn(agent="billing", parent=sent(k, V1)) as turn, pytest.raises(SchemaRefused, match=says):
        turn.receive("case", V1)


@pytest.mark.parametrize("breaks", ["raises", "is no JSON", "spoils what it was given"])
def test_a_message_that_breaks_a_caster_is_refused_and_stays_whole(k: Kedge, breaks: str) -> None:
    def cast(case: dict[str, Any]) -> Any:
        if breaks == "is no JSON":
            return object()
        case.clear()
        return case["id"]

    k.add_caster("case", 1, 2, cast)
    speaking(k, "triage", 1)
    speaking(k, "billing", 2)
    payload = {"id": 42}
    with k.turn(agent="billing", parent=sent(k, payload)) as turn:
        with pytest.raises(SchemaRefused, match=r"the caster from version 1 to 2 failed: (KeyError|InvalidValue)"):
            turn.receive("case", payload)
        turn.context.put("note", "refused")  # the turn goes on
    assert payload == {"id": 42}
    assert counted(k) == {"refuse billing: case 1->2 from triage": 1}


def test_who_speaks_nothing_sends_and_takes_nothing(k: Kedge) -> None:
    speaking(k, "triage", 1)
    with k.turn(agent="mute") as turn:
        with pytest.raises(InvalidValue, match="unknown schema 'case': not in mute/speaks of this view"):
            turn.send("case", V1)
        with pytest.raises(InvalidValue, match="no headers came with this message"):
            turn.receive("case", V1)
    with k.turn(person="ann") as turn, pytest.raises(InvalidValue, match="need an agent's turn"):
        turn.send("case", V1)
    with k.turn(agent="mute", parent=sent(k, V1)) as turn, pytest.raises(InvalidValue, match="mute/speaks"):
        turn.receive("case", V1)


@pytest.mark.parametrize(
    "value", ["3", {"case": "3"}, {"case": {"v": 3}}, {"case": {"version": 3, "stale": "perhaps"}}, None]
)
def test_rules_that_say_nothing_are_refused_when_they_are_deployed(k: Kedge, value: Any) -> None:
    given = value if value is not None else kedge.Artifact(uri="x", digest="sha256:1")
    with pytest.raises(InvalidValue, match="artifact 'billing/speaks' has no valid rules"):
        k.deploy("bad", {"billing/speaks": given})


def test_a_caster_is_a_function_between_two_versions(k: Kedge) -> None:
    for start, end, cast in ((1, 1, lambda case: case), (1, "2", lambda case: case), (1, 2, None)):
        with pytest.raises(InvalidValue):
            k.add_caster("case", start, end, cast)  # type: ignore[arg-type]
    with k.turn(agent="clerk") as turn, pytest.raises(InvalidValue, match="prefix 'kedge:' is reserved"):
        turn.observe("kedge:message:accept", "x")


def test_an_answer_is_taken_like_a_message(k: Kedge) -> None:
    add_casters(k)
    speaking(k, "triage", 1)
    speaking(k, "billing", 3)
    with k.turn(session="s", agent="triage") as caller:
        with k.turn(agent="billing", parent=caller.headers()) as callee:
            headers = callee.send("case", V3, audience="triage")
        assert caller.receive("case", V3, headers) == V1
        assert caller.lineage == {"triage-v1", "billing-v3"}


def test_the_async_face_sends_and_receives(place: str) -> None:
    async def drive() -> None:
        async with kedge.aio.open(place) as k:
            await k.deploy("all", {"a/speaks": {"case": 1}, "b/speaks": {"case": 1}})
            await k.promote("all")
            async with k.turn(agent="a") as turn:
                headers = await turn.send("case", V1)
            async with k.turn(agent="b", parent=headers) as turn:
                assert await turn.receive("case", V1) == V1
            assert [tally.metric for tally in await k.verdicts()] == ["message:accept"]

    asyncio.run(drive())


# ── tampering, by carrier ──


class Carrier(NamedTuple):
    """How headers are put on a message and taken off; `damage` changes the value that travels."""

    put: Callable[[Mapping[str, str]], dict[str, Any]]
    take: Callable[[Any], dict[str, str]]
    damage: Callable[[dict[str, Any], Callable[[str], str | None]], None]


def _damage_at(*path: str) -> Callable[[dict[str, Any], Callable[[str], str | None]], None]:
    def damage(message: dict[str, Any], how: Callable[[str], str | None]) -> None:
        for part in path[:-1]:
            message = message[part]
        changed = how(message[path[-1]])
        if changed is None:
            del message[path[-1]]
        else:
            message[path[-1]] = changed

    return damage


CARRIERS = {
    "http": Carrier(
        lambda headers: carriers.to_http(headers, {"Accept": "*/*", "Baggage": "userId=alice, kedge=older"}),
        carriers.from_http,
        _damage_at("Baggage"),
    ),
    "a2a": Carrier(
        lambda headers: carriers.to_a2a(headers, {"messageId": "m", "role": "ROLE_USER", "metadata": {"x": 1}}),
        carriers.from_a2a,
        _damage_at("metadata", A2A_EXTENSION, "baggage"),
    ),
    "mcp": Carrier(
        lambda headers: carriers.to_mcp(headers, {"name": "refund", "_meta": {"baggage": "userId=alice"}}),
        carriers.from_mcp,
        _damage_at("_meta", "baggage"),
    ),
}
DAMAGES: dict[str, Callable[[str], str | None]] = {
    "stripped": lambda _value: None,
    "truncated": lambda value: value[:-7],
    "forged": lambda value: value[:-43] + "A" * 43,
    "altered": lambda value: value.replace("kedge=e", "kedge=f"),
    "emptied": lambda _value: "",
}


@pytest.mark.parametrize("name", CARRIERS)
def test_each_carrier_brings_a_message_over(k: Kedge, name: str) -> None:
    carrier = CARRIERS[name]
    speaking(k, "triage", 1)
    speaking(k, "billing", 1)
    message = json.loads(json.dumps(carrier.put(sent(k, V1, session="s", audience="billing"))))
    with k.turn(agent="billing", parent=carrier.take(message)) as turn:
        assert turn.session == "s"
        assert turn.receive("case", V1) == V1
        assert turn.lineage == {"triage-v1", "billing-v1"}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", CARRIERS)
def test_what_was_tampered_with_is_external_in_each_carrier(k: Kedge, name: str, damage: str) -> None:
    carrier = CARRIERS[name]
    speaking(k, "triage", 1)
    speaking(k, "billing", 1)
    message = carrier.put(sent(k, V1, session="s"))
    carrier.damage(message, DAMAGES[damage])
    with k.turn(agent="billing", parent=carrier.take(message), peer="partner") as turn:
        assert turn.session is None
        assert turn.lineage == {"external:partner", "billing-v1"}
        with pytest.raises(SchemaRefused, match="it has no valid signature; pass version="):
            turn.receive("case", V1)
        assert turn.receive("case", V1, version=1) == V1
        turn.context.put("answer", 1)
    with k.turn(agent="billing") as turn:  # and on the way back
        turn.absorb(carrier.take(message), peer="partner")
        assert turn.lineage >= {"external:partner"}
    k.rollback("external:partner")
    assert k.view().context.get("answer") is None
    assert counted(k) == {
        "accept billing: case 1->1 from external:partner": 1,
        "refuse billing: case ?->1 from external:partner": 1,
    }


@pytest.mark.parametrize("name", CARRIERS)
def test_a_replay_gains_nothing_in_any_carrier(k: Kedge, clock: HandClock, name: str) -> None:
    carrier = CARRIERS[name]
    speaking(k, "triage", 1)
    k.deploy("b", {agent: {"case": 1, "bill": 1} for agent in ("billing/speaks", "shipping/speaks")})
    k.promote("b")
    message = carrier.put(sent(k, V1, audience="billing", ttl=60))
    taken = carrier.take(message)
    with k.turn(agent="billing", parent=taken) as turn:
        with pytest.raises(SchemaRefused, match="the headers were made for another payload"):
            turn.receive("case", {"id": 43})
        with pytest.raises(SchemaRefused, match="its headers name no version of this schema"):
            turn.receive("bill", V1)
        assert turn.receive("case", V1) == V1
        assert turn.lineage == {"triage-v1", "b"}  # twice in its time: as influenced as the first
    with k.turn(agent="shipping", parent=taken, peer="thief") as turn:
        assert "external:thief" in turn.lineage
    clock.time += 61
    with k.turn(agent="billing", parent=taken, peer="thief") as turn:
        assert "external:thief" in turn.lineage


def test_headers_that_were_made_without_a_payload_carry_none(k: Kedge) -> None:
    speaking(k, "triage", 1)
    speaking(k, "billing", 1)
    with k.turn(agent="triage") as caller:
        headers = caller.headers()
    says = r"made without a payload; use turn.send\(\)"
    with k.turn(agent="billing", parent=headers) as turn, pytest.raises(SchemaRefused, match=says):
        turn.receive("case", V1)
