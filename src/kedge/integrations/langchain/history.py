"""Chat history of LangChain in the memory of a session: what users said survives every rollback."""

import asyncio
from collections.abc import Sequence
from typing import Any

from langchain_core import messages as langchain
from langchain_core.chat_history import BaseChatMessageHistory

import kedge
from kedge.integrations.turns import Opened, sync_of, turn_for

_CLASSES = {
    "human": langchain.HumanMessage,
    "ai": langchain.AIMessage,
    "system": langchain.SystemMessage,
    "tool": langchain.ToolMessage,
    "function": langchain.FunctionMessage,
}
_OPENAI = ("user", "assistant", "developer")  # what other code appended in the shape of OpenAI's API
_SOURCE = ("user", "human")


class KedgeChatMessageHistory(BaseChatMessageHistory):  # type: ignore[misc]  # its package need not be installed
    """The messages of a session. Those of humans are source: a rollback hides only what was derived from them.

    Reads and writes are those of the current turn, which must be of this session; outside turns, each call is a turn of
    its own of `agent`. So the same view decides for all messages of one turn.
    """

    def __init__(self, k: Opened, session: str, *, agent: str | None = None, limit: int | None = None) -> None:
        """Work on the session of that name, which may be any text. With `limit`, read only the newest messages."""
        super().__init__()
        self._k = sync_of(k)
        self._session = kedge.escape_name(session)
        self._agent = agent
        self._limit = limit

    @property
    def messages(self) -> list[Any]:
        """The visible messages, oldest first."""
        with turn_for(self._k, self._agent, self._session) as turn:
            return [_as_langchain(message) for message in turn.memory.history(self._limit)]

    def add_messages(self, messages: Sequence[Any]) -> None:
        """Append messages, as one batch.

        Where a rollback has ended the turn, it raises `RolledBack`, but first stores what humans said.
        """
        stored = [(_as_stored(message), _is_source(message)) for message in messages]
        if not stored:
            return
        with turn_for(self._k, self._agent, self._session) as turn:
            try:
                self._add(turn, stored)
            except kedge.RolledBack:
                said = [fields for fields, is_source in stored if is_source]
                if said:
                    with self._k.turn(session=self._session, agent=turn.agent, person=turn.person) as fresh:
                        fresh.memory.extend(said, origin="source")
                raise

    def _add(self, turn: kedge.Turn, stored: list[tuple[dict[str, Any], bool]]) -> None:
        origins = {"source" if is_source else "derived" for _, is_source in stored}
        if len(origins) == 1:
            turn.memory.extend([fields for fields, _ in stored], origin=origins.pop())  # type: ignore[arg-type]
            return
        child = self._k.turn(
            agent=turn.agent, person=turn.person, parent=turn, on_settle="continue"
        )  # other threads may share the turn
        with child, child.batch():
            for fields, is_source in stored:
                child.memory.append(fields, origin="source" if is_source else "derived")

    def clear(self) -> None:
        """Delete all visible messages. A rollback undoes what an agent cleared, not what a person did."""
        with turn_for(self._k, self._agent, self._session) as turn:
            turn.memory.clear()

    async def aget_messages(self) -> list[Any]:
        """Return the visible messages, oldest first."""
        return await asyncio.to_thread(lambda: self.messages)

    async def aadd_messages(self, messages: Sequence[Any]) -> None:
        """Append messages, as one batch."""
        await asyncio.to_thread(self.add_messages, messages)

    async def aclear(self) -> None:
        """Delete all visible messages."""
        await asyncio.to_thread(self.clear)


def _role(message: Any) -> str:
    return str(message.role if isinstance(message, langchain.ChatMessage) else message.type)


def _is_source(message: Any) -> bool:
    return _role(message).removesuffix("MessageChunk").lower() in _SOURCE


def _as_stored(message: Any) -> dict[str, Any]:
    """Return a message as it is stored: its role and content, and beside them what it has."""
    if isinstance(message, langchain.RemoveMessage):
        raise kedge.InvalidValue(f"cannot store {message!r:.80}: a history takes messages; delete others with clear()")
    whole = langchain.message_chunk_to_message(message)
    fields = whole.model_dump(mode="json", exclude_none=True)
    kept = {name: value for name, value in fields.items() if value not in ("", [], {}) and name not in {"type", "role"}}
    return {**kept, "role": _role(whole), "content": fields["content"]}


def _as_langchain(message: kedge.Message) -> Any:
    """Return a stored message as one of LangChain, also where other code appended it."""
    named = {name: getattr(message, name) for name in ("tool_calls", "tool_call_id", "name", "id")}
    fields = {name: value for name, value in (message.extra | named).items() if value is not None}
    content = "" if message.content is None else message.content
    if message.role in _OPENAI:
        (found,) = langchain.convert_to_messages([{"role": message.role, "content": content, **fields}])
        return found
    if message.role in _CLASSES:
        return _CLASSES[message.role](content=content, **fields)
    return langchain.ChatMessage(role=message.role, content=content, **fields)
