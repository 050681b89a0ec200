"""Messages in the shapes of the OpenAI and Anthropic APIs and of LangChain: whole, or refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from kedge.errors import InvalidValue
from kedge.model.messages import DERIVED_ROLES, SOURCE_ROLES, check_iterable, pair, parse
from kedge.model.writes import Origin

CALL = {"id": "call_1", "type": "function", "function": {"name": "lookup", "arguments": "{}"}}
TOOL_RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "42"}


@dataclass
class LangChain:
    """What a message of LangChain shows."""

    type: str
    content: Any
    id: str | None = None
    name: str | None = None
    tool_calls: list[Any] = field(default_factory=list)
    additional_kwargs: dict[str, Any] = field(default_factory=dict)

    def model_dump(self, **_: Any) -> dict[str, Any]:
        raise AssertionError("its attributes are read: a dump holds what is no JSON")


class Model:
    """What an object of the OpenAI or Anthropic package shows: a pydantic model."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def model_dump(self, *, mode: str, exclude_none: bool) -> dict[str, Any]:
        assert (mode, exclude_none) == ("json", True)
        return {name: value for name, value in vars(self).items() if value is not None}


@pytest.mark.parametrize("role", SOURCE_ROLES)
def test_what_people_say_is_source(role: str) -> None:
    assert pair(role, "Where is my order?").origin is Origin.SOURCE


@pytest.mark.parametrize("role", DERIVED_ROLES)
def test_what_models_and_tools_say_is_derived(role: str) -> None:
    assert pair(role, "x").origin is Origin.DERIVED


@pytest.mark.parametrize("role", ["User", "usr", "customer", "bot"])
def test_another_role_needs_an_origin(role: str) -> None:
    with pytest.raises(InvalidValue, match=f"unknown role '{role}'.*user and human are source.*origin="):
        _ = pair(role, "x").origin
    assert pair(role, "x").stored == {"role": role, "content": "x"}


SHAPES: dict[str, tuple[Any, dict[str, Any], Origin]] = {
    "openai": (
        {"role": "user", "content": "hi", "name": "ann"},
        {"role": "user", "content": "hi", "name": "ann"},
        Origin.SOURCE,
    ),
    "openai parts": (
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "u"}}]},
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "u"}}]},
        Origin.SOURCE,
    ),
    "openai tool calls": (
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        Origin.DERIVED,
    ),
    "openai tool calls without content": (
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        Origin.DERIVED,
    ),
    "openai tool result": (
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
        Origin.DERIVED,
    ),
    "openai object": (
        Model(role="assistant", content=None, tool_calls=[Model(**CALL)], refusal=None),
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        Origin.DERIVED,
    ),
    "openai responses item": (
        {"type": "function_call_output", "call_id": "c", "output": "42"},
        {"role": "tool", "content": None, "type": "function_call_output", "call_id": "c", "output": "42"},
        Origin.DERIVED,
    ),
    "openai responses call": (
        Model(type="function_call", call_id="c", name="f", arguments="{}", id="fc_1", status="completed"),
        {"role": "assistant", "content": None, "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
        | {"id": "fc_1", "status": "completed"},
        Origin.DERIVED,
    ),
    "openai responses output": (
        Model(type="function_call_output", call_id="c", output=[Model(type="input_text", text="42")]),
        {"role": "tool", "content": None, "type": "function_call_output", "call_id": "c"}
        | {"output": [{"type": "input_text", "text": "42"}]},
        Origin.DERIVED,
    ),
    "openai responses reasoning": (
        Model(type="reasoning", id="rs_1", summary=[], content=[Model(type="reasoning_text", text="so")]),
        {"role": "assistant", "content": [{"type": "reasoning_text", "text": "so"}], "type": "reasoning"}
        | {"id": "rs_1", "summary": []},
        Origin.DERIVED,
    ),
    "openai responses message": (
        Model(type="message", role="assistant", id="msg_1", content=[Model(type="output_text", text="hi")]),
        {"role": "assistant", "content": [{"type": "output_text", "text": "hi"}], "type": "message", "id": "msg_1"},
        Origin.DERIVED,
    ),
    "openai responses approval": (
        {"type": "mcp_approval_response", "approval_request_id": "r", "approve": True},
        {"role": "user", "content": None, "type": "mcp_approval_response", "approval_request_id": "r", "approve": True},
        Origin.SOURCE,
    ),
    "openai object that says nothing": (
        Model(role="assistant", content=None, tool_calls=None),
        {"role": "assistant", "content": None},
        Origin.DERIVED,
    ),
    "None, said so": ({"role": "tool", "content": None}, {"role": "tool", "content": None}, Origin.DERIVED),
    "None in a pair": (("tool", None), {"role": "tool", "content": None}, Origin.DERIVED),
    "anthropic object": (
        Model(role="assistant", content=[Model(type="text", text="hi")], id="msg_1", stop_reason="end_turn"),
        {"role": "assistant", "content": [{"type": "text", "text": "hi"}], "id": "msg_1", "stop_reason": "end_turn"},
        Origin.DERIVED,
    ),
    "anthropic blocks in a dict": (
        {"role": "assistant", "content": [Model(type="tool_use", id="toolu_1", name="f", input={})]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]},
        Origin.DERIVED,
    ),
    "anthropic tool results": (
        {"role": "user", "content": [TOOL_RESULT]},
        {"role": "user", "content": [TOOL_RESULT]},
        Origin.DERIVED,
    ),
    "langchain human": (
        LangChain("human", "hi", id="m1"),
        {"role": "human", "content": "hi", "id": "m1"},
        Origin.SOURCE,
    ),
    "langchain ai": (
        LangChain("ai", "", tool_calls=[{"name": "f", "args": {}, "id": "1"}]),
        {"role": "ai", "content": "", "tool_calls": [{"name": "f", "args": {}, "id": "1"}]},
        Origin.DERIVED,
    ),
    "langchain stream": (LangChain("AIMessageChunk", "hi"), {"role": "ai", "content": "hi"}, Origin.DERIVED),
    "langchain dict": (
        {"type": "human", "data": {"content": "hi", "id": "m1"}},
        {"role": "human", "content": "hi", "id": "m1"},
        Origin.SOURCE,
    ),
    "langchain flat dict": (
        {"type": "ai", "content": "hi"},
        {"role": "ai", "content": "hi"},
        Origin.DERIVED,
    ),
    "langchain dict of a stream": (
        {"type": "AIMessageChunk", "data": {"content": "hi"}},
        {"role": "ai", "content": "hi"},
        Origin.DERIVED,
    ),
    "a pair": (("human", "hi"), {"role": "human", "content": "hi"}, Origin.SOURCE),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_message_is_taken_whole(shape: str) -> None:
    given, stored, origin = SHAPES[shape]
    parsed = parse(given)
    assert (parsed.stored, parsed.origin) == (stored, origin)


@pytest.mark.parametrize("kind", ["web_search_call", "shell_call", "custom_tool_call", "mcp_list_tools", "compaction"])
def test_items_of_the_model_are_the_assistant_s(kind: str) -> None:
    for given in ({"type": kind, "id": "x"}, Model(type=kind, id="x")):
        assert parse(given).stored == {"role": "assistant", "content": None, "type": kind, "id": "x"}


@pytest.mark.parametrize("kind", ["shell_call_output", "custom_tool_call_output", "tool_search_output"])
def test_items_of_tools_are_the_tool_s(kind: str) -> None:
    for given in ({"type": kind, "output": "x"}, Model(type=kind, output="x")):
        assert parse(given).stored == {"role": "tool", "content": None, "type": kind, "output": "x"}


def test_tool_results_beside_a_user_s_words_need_an_origin() -> None:
    mixed = parse({"role": "user", "content": [TOOL_RESULT, {"type": "text", "text": "and hurry"}]})
    with pytest.raises(InvalidValue, match=r"tool results.*two messages.*origin="):
        _ = mixed.origin


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": TOOL_RESULT},
        {"role": "user", "content": [{"toolResult": {"toolUseId": "t", "content": []}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
        {"role": "user", "parts": [{"function_response": {}}], "content": None},
    ],
)
def test_tool_results_in_the_user_s_name_are_derived_in_other_shapes_too(message: dict[str, Any]) -> None:
    assert parse(message).origin is Origin.DERIVED


def test_parts_that_the_user_said_are_source() -> None:
    words = {"text": "and hurry"}
    assert parse({"role": "user", "parts": [words]}).origin is Origin.SOURCE
    with pytest.raises(InvalidValue, match=r"tool results.*two messages"):
        _ = parse({"role": "user", "parts": [{"functionResponse": {}}, words]}).origin


def test_what_is_given_stays_as_it_was() -> None:
    message = {"type": "human", "content": "hi"}
    parse(message)
    assert message == {"type": "human", "content": "hi"}


WRONG: dict[str, tuple[Any, str]] = {
    "text": ("hi", "'hi'.*a pair"),
    "bytes": (b"hi", "b'hi'.*a pair"),
    "a number": (5, "5.*int"),
    "None": (None, "None"),
    "no role": ({"content": "hi"}, "no role"),
    "an unknown type": ({"type": "banana", "content": "hi"}, "no role"),
    "no content": ({"role": "user"}, "neither content nor tool calls"),
    "no calls either": ({"role": "assistant", "tool_calls": None}, "neither content nor tool calls"),
    "a reference": ({"type": "item_reference", "id": "msg_1"}, "no role"),
    "a part of a message": (Model(type="tool_call", name="f", args={}), "no role"),
    "a whole response": (Model(id="resp_1", output=[]), "of type Model"),
    "three": (("user", "hi", "there"), "a pair"),
    "two numbers": ((1, 2), "a pair"),
    "bytes as content": (("user", b"hi"), "not bytes"),
    "swapped": (("Where is my order?", "user"), "swapped"),
    "a role that is none": ({"role": 5, "content": "hi"}, "5"),
    "an object without content": (LangChain, "of type type"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_everything_else_is_refused_with_what_is_wrong(wrong: str) -> None:
    given, said = WRONG[wrong]
    with pytest.raises(InvalidValue, match=said):
        parse(given)


def test_a_deep_message_is_refused() -> None:
    deep: Any = "x"
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(InvalidValue, match="nested too deeply"):
        parse({"role": "user", "content": deep})


@pytest.mark.parametrize("one", [{"role": "user", "content": "hi"}, "hi", b"hi", 5])
def test_extend_takes_a_list(one: Any) -> None:
    with pytest.raises(InvalidValue, match=r"must be a list of messages.*append\(\) takes a single one"):
        check_iterable(one)
