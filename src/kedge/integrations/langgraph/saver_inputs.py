"""Inputs of graphs: what a user sent, recorded once as a message of the thread's session, and answered again by replay.

The graph's own callback brings the input, whatever the durability mode: `exit` saves nothing of it. A checkpointer
records it with the first thing that the invocation saves, or before.
"""

import asyncio
import base64
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.types import Command

import kedge
from kedge.integrations.langgraph.saver_rows import Typed
from kedge.integrations.langgraph.saver_turns import RUNNING, call_begins

if TYPE_CHECKING:
    from kedge.integrations.langgraph.saver import KedgeSaver

BESIDE_BYTES_MAX = 1_000_000  # of an input in its message; a larger one has a row
TEXT_MAX = 1_000_000  # characters of the text that histories show of it
HISTORY_READ = 50  # messages that are looked at to find the last question
AGAIN = "again"  # of a question: others had vanished when it was asked
FIELD = "langgraph"  # of a message: what the text does not say of the input


class Given(NamedTuple):
    """The input of an invocation, and plain settings of its configuration."""

    value: Any
    settings: dict[str, str | int | float | bool]


# ── capture ──

_running: ContextVar[tuple[object, Any] | None] = ContextVar("kedge_langgraph_input", default=None)


class _Inputs(BaseCallbackHandler):  # type: ignore[misc]  # its package need not be installed
    """Keeps the input of the graph that this context has just started, for its checkpointer to take."""

    run_inline = True  # in the caller's context, also of async graphs
    raise_error = True
    ignore_llm = ignore_chat_model = ignore_agent = ignore_retriever = ignore_retry = ignore_custom_event = True

    def on_chain_start(
        self,
        serialized: dict[str, Any] | None,  # noqa: ARG002
        inputs: Any,
        *,
        run_id: object,
        metadata: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Note the input, except inside of nodes: what agents say to one another is no user's word."""
        if "langgraph_node" in (metadata or {}):
            call_begins(metadata or {})
        else:
            _running.set((run_id, inputs))
            RUNNING.add(run_id)

    def on_chain_end(self, outputs: Any, *, run_id: object, **_: Any) -> None:  # noqa: ARG002
        """Forget the input of what has ended."""
        self._forget(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: object, **_: Any) -> None:  # noqa: ARG002
        """Forget the input of what has failed."""
        self._forget(run_id)

    def _forget(self, run_id: object) -> None:
        RUNNING.discard(run_id)
        found = _running.get()
        if found is not None and found[0] == run_id:
            _running.set(None)


register_configure_hook(ContextVar("kedge_langgraph_inputs", default=_Inputs()), inheritable=True)  # noqa: B039 - it holds nothing


def run_here() -> object:
    """Return the id of the run of a graph that this context has started and not ended, or None."""
    found = _running.get()
    return None if found is None else found[0]


def take(config: Mapping[str, Any]) -> Given | None:
    """Return the input that this context's invocation began with, once."""
    found = _running.get()
    if found is None or found[1] is None:
        return None
    _running.set((found[0], None))
    named = config.get("configurable", {})
    settings = {
        name: value
        for name, value in named.items()
        if isinstance(value, str | int | float | bool)
        and name not in {"thread_id", "checkpoint_ns", "checkpoint_id"}
        and not name.startswith("__")
    }
    return Given(found[1], settings)


# ── the message ──


def _plain(value: Any) -> Any:
    """Return a value as JSON for people to read."""
    try:
        return msgspec.json.decode(msgspec.json.encode(value, enc_hook=_dump))
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError):
        return repr(value)[:TEXT_MAX]


def _dump(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if callable(dump) and not isinstance(value, type) else repr(value)


def _words(message: Any) -> Any:
    """Return what a user says in a message of any shape; None where it is not a user's."""
    if isinstance(message, str):
        return message
    if isinstance(message, tuple | list) and len(message) == 2:  # noqa: PLR2004 - a pair
        role, content = message
    elif isinstance(message, Mapping):
        role, content = message.get("role", message.get("type")), message.get("content")
    else:
        role, content = getattr(message, "type", None), getattr(message, "content", None)
    return content if role in {"user", "human"} else None


def words_of(value: Any) -> Any:
    """Return what a user said with an input: the text of its user messages, else the input as JSON."""
    if isinstance(value, Command):
        return _plain(value.resume if value.resume is not None else value.update)
    messages = value.get("messages") if isinstance(value, Mapping) else value
    single = isinstance(messages, str | tuple | Mapping) or not isinstance(messages, list)
    said = [words for each in ([messages] if single else messages or ()) if (words := _words(each)) is not None]
    found = said[0] if len(said) == 1 else said or value
    if isinstance(found, str):
        return found if len(found) <= TEXT_MAX else f"{found[:TEXT_MAX]}…"
    plain = _plain(found)
    return plain if len(msgspec.json.encode(plain)) <= BESIDE_BYTES_MAX else repr(plain)[:TEXT_MAX]


def question_of(k: kedge.Kedge, session: str, asked: Any) -> dict[str, Any]:
    """Return the message that records questions to the user; it says whether earlier ones have vanished before."""
    content = {"asks": [_plain(getattr(each, "value", each)) for found in asked for each in found]}
    return {"role": "assistant", "content": content, FIELD: {AGAIN: _lost_in(_newest(k, session))[0]}}


def message_of(given: Given, ident: str, serde: SerializerProtocol) -> tuple[dict[str, Any], bytes | None]:
    """Return the message that records an input, and the bytes that are too many for it.

    `ident` is the id of the invocation's first checkpoint, which tells a replay where its checkpoints belong.
    """
    value, words = given.value, words_of(given.value)
    message: dict[str, Any] = {"role": "user", "content": words, "id": ident}
    beside: dict[str, Any] = {"settings": given.settings} if given.settings else {}
    if value == {"messages": [{"role": "user", "content": words}]}:
        return {**message, FIELD: beside}, None
    if isinstance(value, Command):
        beside["command"] = True
        value = {name: part for name in ("resume", "update", "goto") if (part := getattr(value, name))}
    kind, content = serde.dumps_typed(value)
    large = content if len(content) > BESIDE_BYTES_MAX else None
    beside |= {"type": kind} if large else {"type": kind, "data": base64.b64encode(content).decode()}
    return {**message, FIELD: beside}, large


def input_of(message: kedge.Message, large: Callable[[], bytes], serde: SerializerProtocol) -> Any:
    """Return the input that a message records; of a message that an application appended itself, its words."""
    beside = message.extra.get(FIELD, {})
    if "type" not in beside:
        return {"messages": [{"role": "user", "content": message.content}]}
    typed: Typed = beside["type"], base64.b64decode(beside["data"]) if "data" in beside else large()
    value = serde.loads_typed(typed)
    return Command(**value) if beside.get("command") else value


# ── replay ──


class Replayed(NamedTuple):
    """The invocation that a replay repeats: the id of its first checkpoint."""

    invocation: str | None


_replayed: ContextVar[Replayed | None] = ContextVar("kedge_langgraph_replay", default=None)


def replaying() -> Replayed | None:
    """Return the invocation that this context replays, or None."""
    return _replayed.get()


@contextmanager
def _replay(invocation: str | None) -> Iterator[None]:
    token = _replayed.set(Replayed(invocation))
    try:
        yield
    finally:
        _replayed.reset(token)


def handler(
    graph: Any, config: Mapping[str, Any] | None = None, *, is_async: bool = False
) -> Callable[[kedge.Turn, kedge.ReplayInput], None]:
    """Return a handler for `k.replay` that answers hidden inputs again: it invokes the graph in the input's thread.

    `config` is merged into the configuration of each invocation. With `is_async`, it is `graph.ainvoke`, in an event
    loop of its own.
    """
    saver: KedgeSaver = graph.checkpointer
    if not isinstance(getattr(saver, "k", None), kedge.Kedge):
        raise kedge.InvalidValue(
            f"the graph's checkpointer is {type(saver).__name__}: compile it with checkpointer=KedgeSaver(k, agent=…)"
        )

    def answer(turn: kedge.Turn, item: kedge.ReplayInput) -> None:
        if item.store != "memory" or turn.session is None:
            raise kedge.InvalidValue(
                f"the input is in {item.store!r}, not a message of a thread: answer it with a handler of your own"
            )
        message = recorded(saver.k, turn.session, item.seq)
        settings = message.extra.get(FIELD, {}).get("settings", {})
        chosen = dict(config or {})
        chosen["configurable"] = {
            **settings, **chosen.get("configurable", {}), "thread_id": kedge.unescape_name(turn.session)
        }  # fmt: skip
        value = input_of(message, lambda: saver.large_input(turn.session or "", message.id), saver.serde)
        with _replay(message.id if FIELD in message.extra else None):
            if is_async:
                asyncio.run(graph.ainvoke(value, chosen))
            else:
                graph.invoke(value, chosen)

    return answer


def recorded(k: kedge.Kedge, session: str, seq: int) -> kedge.Message:
    """Return the message of an input, read from outside any turn: the replay has read it as its input."""
    messages = Context().run(lambda: k.view(session=session).memory.history())  # noqa: PLW0108 - the view opens inside
    found = next((message for message in messages if message.seq == seq), None)
    if found is None:
        raise kedge.UnknownName(f"the input at seq {seq} in session {session!r} is not there: it was deleted")
    return found


# ── resuming ──


def check_resume(k: kedge.Kedge, session: str, resume: Any, *, pending: frozenset[str], invocation: str | None) -> None:
    """Raise `RolledBack` where the question that a user answers was asked by a version that was rolled back since.

    `pending` are the questions that the thread's head waits for, `invocation` is the one that the head belongs to.
    The host would take the answer for one to an older question.
    """
    history = _newest(k, session)
    lost, place = _lost_in(history)
    if not lost or _names(resume, pending) or (place >= 0 and history[place].extra.get(FIELD, {}).get(AGAIN)):
        return
    asked_in = next((m for m in reversed(history[: place + 1]) if FIELD in m.extra and _is_user(m)), None)
    asks_again = asked_in is not None and bool(pending) and (invocation or "") >= (asked_in.id or "")
    if asks_again and asked_in is not None and not _names_questions(resume):
        waiting = {item.seq for item in k.replay_pending()}  # else that input has led to two questions, and one is gone
        if asked_in.seq not in waiting:
            return
    raise kedge.RolledBack(
        f"the question that thread {kedge.unescape_name(session)!r} was asked last is gone: the version that asked it "
        "was rolled back. Read the thread's state again; answer an older question by its id, "
        "Command(resume={id: …}), or replay the input"
    )


def _newest(k: kedge.Kedge, session: str) -> list[kedge.Message]:
    """Return the newest messages of a session, with those that have vanished, read from outside any turn."""
    read = lambda: k.view(session=session).memory.history(limit=HISTORY_READ, tombstones=True)  # noqa: E731
    return Context().run(read)


def _lost_in(history: list[kedge.Message]) -> tuple[bool, int]:
    """Return whether what the agents said last has vanished, and the place of the last thing they said, or -1."""
    said = next((i for i in reversed(range(len(history))) if _is_user(history[i])), -1)
    place = next((i for i in reversed(range(len(history))) if history[i].retracted or not _is_user(history[i])), -1)
    return any(message.retracted for message in (*history[said + 1 :], *history[place:][:1])), place


def _names_questions(resume: Any) -> bool:
    """Return whether an answer is given by the ids of questions."""
    names = list(resume) if isinstance(resume, Mapping) else []
    return bool(names) and all(isinstance(name, str) and re.fullmatch("[0-9a-f]{32}", name) for name in names)


def _names(resume: Any, pending: frozenset[str]) -> bool:
    """Return whether an answer names only questions that are open."""
    return _names_questions(resume) and set(resume) <= pending


def _is_user(message: kedge.Message) -> bool:
    return message.role in {"user", "human"}
