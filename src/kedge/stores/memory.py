"""Memory of a session: its messages, in order."""

from collections.abc import Iterable
from typing import Any

import msgspec

from kedge.errors import ExpectationFailed, InvalidValue
from kedge.model.choices import OriginName
from kedge.model.messages import Parsed, check_iterable, pair, parse
from kedge.model.numbers import as_integer
from kedge.model.reads import RangeRead
from kedge.model.retention import value_of
from kedge.model.writes import NO_SEQ, Head, Key, Origin, Pending, encode, memory_name
from kedge.ports.journal import HeadMoved
from kedge.stores.scope import Scope, WritingScope, only
from kedge.support.display import Value, brief

_NAMED = ("tool_calls", "tool_call_id", "name", "id")
_LIMIT_MAX = 2**63 - 1  # what SQLite can count to


class Message(Value, frozen=True):
    """One message. A `retracted` one was deleted, or hidden by a rollback; its content is None.

    The content is JSON: None, too, where the message had none beside tool calls, or was None itself.
    What came beside role and content is as it was given: `tool_calls`, `tool_call_id`, `name`, `id`; the rest is in
    `extra`.
    `at` is when it was written, `lineage` the deployments that influenced it. `agent` is who wrote it; only views tell
    it (None for a person), turns do not look it up.
    """

    role: str
    content: Any
    seq: int
    retracted: bool = False
    tool_calls: Any = None
    tool_call_id: Any = None
    name: Any = None
    id: Any = None
    extra: dict[str, Any] = msgspec.field(default_factory=dict)
    agent: str | None = None
    at: float | None = None
    lineage: frozenset[str] = frozenset()


class MemoryView:
    """The messages of one session, as a view sees them."""

    _tells_agents = True

    def __init__(self, scope: Scope, *, space: str | None = None) -> None:
        """Read the memory of the scope's session. `space` is internal: it names another one."""
        self._scope = scope
        self._given = space

    def __repr__(self) -> str:
        """Return one line."""
        space = self._given or self._scope.session  # without a session, there is no memory to name
        return f"<{type(self).__name__}{f' of {brief(space)}' if space else ''}>"

    @property
    def _space(self) -> str:
        return self._scope.memory_space if self._given is None else self._given

    def history(
        self,
        limit: int | None = None,
        tombstones: bool = False,  # noqa: FBT001, FBT002 - DESIGN.md's signature
    ) -> list[Message]:
        """Return the newest `limit` messages, oldest first.

        With `tombstones`, messages that were deleted, or that a rollback hid from this session, keep their places
        with no content; they do not count towards `limit`.
        """
        if limit is not None:
            limit = min(as_integer("limit", limit, "0 or more messages, or None", least=0), _LIMIT_MAX)
        heads = self._newest(limit)
        agents = self._agents(heads)
        messages = [(head.key.name, self._message_of(head, agents.get(head.seq))) for head in heads]
        if tombstones:
            messages += self._retracted(_low(heads, limit))
            messages.sort(key=lambda named: named[0])
        return [message for _, message in messages]

    def _newest(self, limit: int | None) -> list[Head]:
        """Read the newest `limit` messages, or all, oldest first."""
        journal = self._scope.backend.journal
        found = self._scope.read(lambda view: journal.history(view, self._space, limit))
        lineages = {head.lineage for head in found.heads} | found.tombstones
        low = _low(found.heads, limit)
        self._scope.record_range(RangeRead("memory", self._space, low, found.at_seq, limit), lineages)
        return found.heads

    def _agents(self, heads: list[Head]) -> dict[int, str | None]:
        """Return the agent that wrote each message, by seq."""
        if not heads or not self._tells_agents:
            return {}
        found = self._scope.backend.provenance.writers_of([head.seq for head in heads])
        return {seq: writer.agent for seq, writer in found.items()}

    def _message_of(self, head: Head, agent: str | None) -> Message:
        fields: dict[str, Any] = value_of(head)
        role, content = fields.pop("role"), fields.pop("content")
        named = {name: fields.pop(name) for name in _NAMED if name in fields} if fields else {}
        return Message(
            role,
            content,
            head.seq,
            **named,
            extra=fields,
            agent=agent,
            at=head.at,
            lineage=self._scope.names(head.lineage) if head.lineage else frozenset(),
        )

    def _retracted(self, low: str) -> list[tuple[str, Message]]:
        journal = self._scope.backend.journal
        hidden = self._scope.read(lambda view: journal.retracted(view, self._space, low, self._scope.was_visible))
        return [(name, Message(role, None, seq, retracted=True)) for name, role, seq in hidden]


class Memory(MemoryView):
    """The messages of the turn's session, for it to read and extend."""

    _scope: WritingScope
    _tells_agents = False  # a turn reads its history often

    def __init__(self, scope: WritingScope) -> None:
        super().__init__(scope)

    def append(
        self,
        role: Any,
        content: Any = msgspec.UNSET,
        *,
        expect: int | None = None,
        origin: OriginName | None = None,
        idempotency: str | None = None,
    ) -> int:
        """Add a message, given as role and content or as one object, and return its seq.

        The roles user and human make it a source write; the other known ones a derived one. `origin` overrides, and
        other roles need it. One object: a message of the OpenAI or Anthropic API (or an item of the Responses API), as
        a dict or an object of their packages, or a message of LangChain. The content is JSON, without bytes.
        `expect` is the seq of the newest visible message (0: there is none); where another is the newest, it raises
        `ExpectationFailed` and writes nothing.
        """
        message = parse(role) if content is msgspec.UNSET else pair(role, content)
        return only(self._add([message], expect, origin, idempotency))

    def extend(
        self,
        messages: Iterable[Any],
        *,
        expect: int | None = None,
        origin: OriginName | None = None,
        idempotency: str | None = None,
    ) -> list[int]:
        """Add messages as one batch, all or none, and return their seqs: pairs (role, content), or as in `append`."""
        return self._add(map(parse, check_iterable(messages)), expect, origin, idempotency)

    def replace(
        self, after: int, messages: Iterable[Any], *, expect: int | None = None, origin: OriginName | None = None
    ) -> list[int]:
        """Replace the visible messages after the one of seq `after` (0: all), as one batch; return the new seqs.

        It reads what it deletes. `expect` is as in `append`: give the seq of the newest message that you have seen.
        Deletes are derived writes, unless a person acts or `origin` says otherwise.
        """
        new = self._pending(map(parse, check_iterable(messages)), origin)
        after = as_integer("after", after, "the seq of the last message to keep, or 0", least=0)
        while True:
            old = self._after(after)
            deletes = [Pending(head.key, None, self._scope.is_source(origin, Origin.DERIVED)) for head in old]
            try:
                done = self._commit([*deletes, *new], expect)
                return done and done[len(deletes) :]  # None inside a batch
            except HeadMoved:
                continue

    def clear(self, *, expect: int | None = None, origin: OriginName | None = None) -> list[int]:
        """Delete all visible messages as one batch, which reads them; return the seqs of the deletes.

        `expect` and `origin` are as in `replace`.
        """
        source = self._scope.is_source(origin, Origin.DERIVED)
        while True:
            deletes = [Pending(head.key, None, source) for head in self._newest(None)]
            try:
                return self._commit(deletes, expect)
            except HeadMoved:
                continue

    def _after(self, seq: int) -> list[Head]:
        """Return the visible messages after one, in order."""
        found = self._newest(None)
        place = next((place for place, head in enumerate(found) if head.seq == seq), None)
        if place is None and seq:
            raise InvalidValue(f"no message with seq {seq!r} is visible in session {self._space!r}; see history()")
        return found if place is None else found[place + 1 :]

    def _add(
        self, messages: Iterable[Parsed], expect: int | None, origin: OriginName | None, idempotency: str | None
    ) -> list[int]:
        pending = self._pending(messages, origin)
        while True:
            try:
                return self._commit(pending, expect, idempotency)
            except HeadMoved:
                continue  # a concurrent write: compare again

    def _pending(self, messages: Iterable[Parsed], origin: OriginName | None) -> list[Pending]:
        key = Key("memory", self._space, "")
        pending = []
        for message in messages:
            default = message.origin if origin is None else Origin.DERIVED
            is_source = self._scope.is_source(origin, default)
            pending.append(
                Pending(key, encode(message.stored, f"the message of {message.role!r}", wrapped=1), is_source)
            )
        return pending

    def _commit(self, pending: list[Pending], expect: int | None, idempotency: str | None = None) -> list[int]:
        """Write a batch, where `expect` holds. Raise `HeadMoved` where the newest message changed meanwhile."""
        if expect is None:
            return self._scope.write(pending, idempotency=idempotency)
        failed: ExpectationFailed | None = None
        try:
            self._compare(expect)
        except ExpectationFailed as error:
            if not self._scope.may_repeat(idempotency):
                raise
            failed = error  # the same call may have committed earlier: the journal decides
        newest = (self._space, NO_SEQ if failed else expect)

        def compare() -> int:
            if failed is not None:
                raise failed
            self._compare(expect)
            return expect

        try:
            return self._scope.write(pending, idempotency=idempotency, newest=newest, compare=compare)
        except HeadMoved:
            if failed is not None:
                raise failed from None
            raise

    def _compare(self, expect: int) -> None:
        """Raise `ExpectationFailed` unless the newest visible message has this seq; it counts as read."""
        expect = as_integer("expect", expect, "the seq of the newest message, or 0 for none", least=0)
        found = self._newest(1)
        seq = found[-1].seq if found else 0
        if seq != expect:
            there = f"its newest message is seq {seq}" if seq else "it has no message"
            raise ExpectationFailed(
                f"session {self._space!r} was expected at seq {expect}, but {there}; read its history again and "
                "decide again",
                seq=seq,
            )

    def delete(self, seq: int, *, origin: OriginName | None = None, idempotency: str | None = None) -> int:
        """Delete the visible message of this seq and return the seq of the delete."""
        found = self._message(seq)
        if found is None:
            raise InvalidValue(f"no message with seq {seq!r} is visible in session {self._space!r}; see history()")
        source = self._scope.is_source(origin, Origin.DERIVED)
        return only(self._scope.write((Pending(found.key, None, source),), idempotency=idempotency))

    def _message(self, seq: int) -> Head | None:
        seq = as_integer("seq", seq, "the seq of a message; history() returns the seqs", least=1)
        key = Key("memory", self._space, memory_name(seq, seq))
        head = self._scope.read(lambda view: self._scope.backend.journal.head(view, key))
        if head is None:  # the name of a replayed message holds the rank of its input
            return next((message for message in self._newest(None) if message.seq == seq), None)
        self._scope.record_read((head,))
        return None if head.deleted or head.seq != seq else head


def _low(heads: list[Head], limit: int | None) -> str:
    """Return the name of the first message in range, given the newest `limit` ones; empty where all are in range."""
    return heads[0].key.name if limit is not None and len(heads) == limit and limit else ""
