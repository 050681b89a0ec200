"""Messages of a conversation: their roles, and the shapes in which the APIs of models and LangChain hold them.

A message is stored as JSON with `role` and `content`, and beside them whatever else came with it: tool calls, ids,
names. Its content is any JSON, None included, and None where only what is beside it speaks. Objects of the OpenAI,
Anthropic and LangChain packages are read by their attributes; none is imported.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from kedge.errors import InvalidValue, nearest
from kedge.model.checks import check_name
from kedge.model.writes import Origin, check_depth

SOURCE_ROLES = ("user", "human")
DERIVED_ROLES = ("assistant", "ai", "system", "developer", "tool", "function")
ROLES = (*SOURCE_ROLES, *DERIVED_ROLES)
# Items of the OpenAI Responses API have a type and no role: what the model, a tool and a person said.
_ITEMS_OF_MODEL = (
    "reasoning", "compaction", "function_call", "custom_tool_call", "computer_call", "web_search_call",
    "file_search_call", "code_interpreter_call", "image_generation_call", "local_shell_call", "shell_call",
    "apply_patch_call", "tool_search_call", "mcp_call", "mcp_list_tools", "mcp_approval_request",
)  # fmt: skip
_ITEMS_OF_TOOL = (
    "function_call_output", "custom_tool_call_output", "computer_call_output", "local_shell_call_output",
    "shell_call_output", "apply_patch_call_output", "tool_search_output",
)  # fmt: skip
_ITEM_ROLES = {
    **dict.fromkeys(_ITEMS_OF_MODEL, "assistant"),
    **dict.fromkeys(_ITEMS_OF_TOOL, "tool"),
    "mcp_approval_response": "user",
}
_FIELDS_OF_LANGCHAIN = (
    "id",
    "name",
    "tool_calls",
    "invalid_tool_calls",
    "tool_call_id",
    "status",
    "additional_kwargs",
    "response_metadata",
    "usage_metadata",
)
_CHUNKS = {"AIMessageChunk": "ai", "HumanMessageChunk": "human", "ToolMessageChunk": "tool"}  # merged streams
_TOOL_RESULTS = ("toolResult", "functionResponse", "function_response")  # parts of Bedrock and Gemini, by their field
_SPEAKING = ("tool_calls", "function_call", "refusal", "audio", "parts")
_SHAPES = (
    "pass a role and a content, a pair such as ('user', 'hello'), a dict as the OpenAI and Anthropic APIs have it, or "
    "a message object of these or of LangChain"
)


class Parsed(msgspec.Struct, frozen=True):
    """A message to store, with what came beside its role and content."""

    role: str
    content: Any
    extra: dict[str, Any] = {}

    @property
    def origin(self) -> Origin:
        """The origin that its role says, or raise `InvalidValue` where only the caller knows it."""
        return _origin(self.role, self.extra.get("parts") if self.content is None else self.content)

    @property
    def stored(self) -> dict[str, Any]:
        """The message as JSON."""
        return {"role": self.role, "content": self.content, **self.extra}


def parse(message: Any) -> Parsed:
    """Return a message of any accepted shape, or raise `InvalidValue`."""
    try:
        if isinstance(message, Mapping):
            return _of_mapping(message)
        if isinstance(message, tuple | list):
            if len(message) == 2 and isinstance(message[0], str):  # noqa: PLR2004 - a pair
                return pair(message[0], message[1])
        elif not isinstance(message, str | bytes):
            return _of_object(message)
    except RecursionError:
        raise InvalidValue("the message is nested too deeply to be JSON; flatten it") from None
    raise InvalidValue(f"invalid message {message!r:.80}: {_SHAPES}")


def pair(role: object, content: Any, extra: dict[str, Any] | None = None) -> Parsed:
    """Return the message of a role and its content, or raise `InvalidValue`."""
    name = check_name("the role", role)
    if name not in ROLES and isinstance(content, str) and content in ROLES:
        raise InvalidValue(f"invalid role {name!r:.80}: role and content look swapped; the role comes first")
    if isinstance(content, bytes | bytearray | memoryview):
        raise InvalidValue("invalid message content: must be JSON, not bytes; keep bytes in a document")
    if type(content) is not str:
        check_depth(content, f"the message of {name!r}")
        content = plain(content)
    return Parsed(name, content, extra or {})


def plain(value: Any) -> Any:
    """Return a value with the objects of the packages of model APIs in it (pydantic models) as dicts."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    dump = None if isinstance(value, type) else getattr(value, "model_dump", None)
    return dump(mode="json", exclude_none=True) if callable(dump) else value


def _origin(role: str, content: Any) -> Origin:
    if role in DERIVED_ROLES:
        return Origin.DERIVED
    if role not in SOURCE_ROLES:
        raise InvalidValue(
            f"unknown role {role!r:.80}{nearest(role, ROLES)}: {' and '.join(SOURCE_ROLES)} are source, "
            f"{', '.join(DERIVED_ROLES)} are derived; for another role give origin='source' or origin='derived'"
        )
    results = [_is_tool_result(part) for part in (content if isinstance(content, list) else [content])]
    if not any(results):
        return Origin.SOURCE
    if all(results):  # some APIs send the results of tools in the user's name
        return Origin.DERIVED
    raise InvalidValue(
        "invalid message: it holds both tool results, which are derived, and words of the user, which are source; "
        "append two messages, or give origin='source' or origin='derived'"
    )


def _is_tool_result(part: Any) -> bool:
    if not isinstance(part, Mapping):
        return False
    return part.get("type") == "tool_result" or any(name in part for name in _TOOL_RESULTS)


def _of_mapping(message: Mapping[str, Any]) -> Parsed:
    fields = plain(message)
    kind = fields.get("type")
    if not isinstance(kind, str):
        kind = None
    elif "role" not in fields and isinstance(fields.get("data"), dict):
        fields = fields["data"] | {"type": kind}  # LangChain's messages_to_dict
    is_item = kind in _ITEM_ROLES
    role = fields.pop("role", None)
    if role is None and kind is not None:
        role = _ITEM_ROLES.get(kind) or _langchain_role(kind)
        if not is_item:
            del fields["type"]
    if role is None:
        raise InvalidValue(f"invalid message {message!r:.80}: it has no role; {_SHAPES}")
    if not is_item and "content" not in fields and all(fields.get(name) is None for name in _SPEAKING):
        raise InvalidValue(f"invalid message {message!r:.80}: it has neither content nor tool calls; {_SHAPES}")
    return pair(role, fields.pop("content", None), fields)


def _langchain_role(kind: str) -> str | None:
    role = _CHUNKS.get(kind, kind)
    return role if role in ROLES else None


def _of_object(message: Any) -> Parsed:
    role, kind = getattr(message, "role", None), getattr(message, "type", None)
    is_model = callable(getattr(message, "model_dump", None)) and not _is_langchain(message)
    if is_model and not isinstance(message, type) and (isinstance(role, str) or isinstance(kind, str)):
        fields = plain(message)  # without what is None
        return _of_mapping({"content": None, **fields} if hasattr(message, "content") else fields)
    kind = role if isinstance(role, str) else kind
    if not isinstance(kind, str) or not hasattr(message, "content"):
        raise InvalidValue(f"invalid message {message!r:.80} of type {type(message).__name__}: {_SHAPES}")
    found = {name: plain(getattr(message, name, None)) for name in _FIELDS_OF_LANGCHAIN}
    kind = _CHUNKS.get(kind, kind)
    return pair(kind, message.content, {name: value for name, value in found.items() if value not in (None, [], {})})


def _is_langchain(message: Any) -> bool:
    """Say whether this is a message of LangChain; its ChatMessage has a role of its own."""
    return hasattr(message, "additional_kwargs") and hasattr(message, "type")


def check_iterable(messages: Any) -> list[Any]:
    """Return several messages as a list, or raise `InvalidValue` for one message and for text."""
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
        raise InvalidValue(
            f"invalid messages {messages!r:.80}: must be a list of messages, such as [('user', 'hello')]; "
            "append() takes a single one"
        )
    return list(messages)
