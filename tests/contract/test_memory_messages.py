"""Messages in the shapes of model APIs, through public calls: whole, by the origin of their role, or refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

import kedge
from kedge import Kedge, Message

POSTGRES_ONE_IN = 4
CALL = {"id": "call_1", "type": "function", "function": {"name": "lookup", "arguments": "{}"}}
CONVERSATION: list[Any] = [
    ("human", "Where is my order?"),
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "name": "lookup", "content": "Hamburg"},
    {"role": "user", "content": [{"type": "text", "text": "And now?"}], "id": "m4"},
    {"role": "assistant", "content": "Soon.", "refusal": None, "annotations": [{"url": "u"}]},
]


@pytest.fixture
def bad(k: Kedge) -> Kedge:
    k.deploy("bad", {"support/prompt": "bad"})
    k.promote("bad")
    return k


def test_a_conversation_comes_back_whole(k: Kedge) -> None:
    with k.turn(session="s", agent="support") as turn:
        seqs = turn.memory.extend(CONVERSATION)
        found = [msgspec.structs.replace(message, at=None) for message in turn.memory.history()]
    assert found == [
        Message("human", "Where is my order?", seqs[0]),
        Message("assistant", None, seqs[1], tool_calls=[CALL]),
        Message("tool", "Hamburg", seqs[2], tool_call_id="call_1", name="lookup"),
        Message("user", [{"type": "text", "text": "And now?"}], seqs[3], id="m4"),
        Message("assistant", "Soon.", seqs[4], extra={"refusal": None, "annotations": [{"url": "u"}]}),
    ]


def test_a_rollback_keeps_what_people_said(bad: Kedge) -> None:
    with bad.turn(session="s", agent="support") as turn:
        for message in CONVERSATION:
            turn.memory.append(message)
        turn.memory.append("human", "Thanks")
    bad.rollback("bad")
    kept = [message.content for message in bad.view(session="s").memory.history()]
    assert kept == ["Where is my order?", [{"type": "text", "text": "And now?"}], "Thanks"]


def test_swapped_arguments_are_refused(k: Kedge) -> None:
    with k.turn(session="s", agent="support") as turn:
        with pytest.raises(kedge.InvalidValue, match="swapped"):
            turn.memory.append("Where is my order?", "user")
        with pytest.raises(kedge.InvalidValue, match="swapped"):
            turn.memory.append("Where is my order?", "user", origin="source")
        with pytest.raises(kedge.InvalidValue, match="'Where is my order\\?'"):
            turn.memory.append("Where is my order?")
        assert turn.memory.history() == []


def test_another_role_needs_an_origin(bad: Kedge) -> None:
    with bad.turn(session="s", agent="support") as turn:
        with pytest.raises(kedge.Misuse, match=r"'customer'.*user and human are source"):
            turn.memory.append("customer", "hello")
        turn.memory.append("customer", "hello", origin="source")
        turn.memory.append("bot", "hi", origin="derived")
    bad.rollback("bad")
    assert [message.role for message in bad.view(session="s").memory.history()] == ["customer"]


def test_a_batch_with_a_wrong_message_writes_nothing(k: Kedge) -> None:
    with k.turn(session="s", agent="support") as turn:
        for wrong in ({"content": "x"}, ("customer", "x"), "x", {"role": "user", "content": {1, 2}}):
            with pytest.raises(kedge.InvalidValue):
                turn.memory.extend([("user", "hello"), wrong])
        assert turn.memory.history() == []


def test_bytes_are_refused_wherever_they_lie_in_a_message(k: Kedge) -> None:
    with k.turn(session="s", agent="support") as turn:
        for wrong in (("user", b"x"), {"role": "user", "content": b"x"}):
            with pytest.raises(kedge.InvalidValue, match="must be JSON, not bytes; keep bytes in a document"):
                turn.memory.append(wrong)
        for inside in (("user", [b"x"]), {"role": "user", "content": "x", "audio": {"data": b"x"}}):
            with pytest.raises(kedge.InvalidValue, match="of type bytes, not JSON; inside lists and dicts") as caught:
                turn.memory.append(inside)
            assert "or bytes" not in str(caught.value)
        assert turn.memory.history() == []


def test_none_is_a_content_and_no_retraction(k: Kedge) -> None:
    with k.turn(session="s", agent="support") as turn:
        turn.memory.append("tool", None)
        turn.memory.delete(turn.memory.append({"role": "tool", "content": None}))
        found = turn.memory.history(tombstones=True)
    assert [(message.content, message.retracted) for message in found] == [(None, False), (None, True)]


ITEMS: list[Any] = [
    ("user", "What is the weather?"),
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "weather", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "rain"},
    {"type": "message", "role": "assistant", "id": "m_1", "content": [{"type": "output_text", "text": "Rain."}]},
]


@pytest.mark.both
def test_items_of_the_responses_api_come_back_whole_and_go_with_a_rollback(bad: Kedge) -> None:
    with bad.turn(session="s", agent="support") as turn:
        turn.memory.extend(ITEMS)
        found = turn.memory.history()
    assert [message.role for message in found] == ["user", "assistant", "assistant", "tool", "assistant"]
    call = found[2]
    assert (call.content, call.id, call.name) == (None, "fc_1", "weather")
    assert call.extra == {"type": "function_call", "call_id": "c", "arguments": "{}"}
    bad.rollback("bad")
    assert [message.role for message in bad.view(session="s").memory.history()] == ["user"]
