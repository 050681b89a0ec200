"""Memory of a session: its messages, in order."""

from collections.abc import Iterable
from typing import Any

import msgspec

from kedge.errors import InvalidValue
from kedge.model.checks import check_name
from kedge.model.choices import OriginName
from kedge.model.numbers import as_integer
from kedge.model.reads import RangeRead
from kedge.model.writes import Head, Key, Origin, Pending, decode, encode, memory_name
from kedge.stores.scope import Scope, WritingScope

USER = "user"
_LIMIT_MAX = 2**63 - 1  # what SQLite can count to


class Message(msgspec.Struct, frozen=True):
    """One message. A `retracted` one was deleted, or hidden by a rollback: its content is None."""

    role: str
    content: Any
    seq: int
    retracted: bool = False


class MemoryView:
    """The messages of one session, as a view sees them."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    @property
    def _space(self) -> str:
        return self._scope.session or ""

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
        journal = self._scope.backend.journal
        found = self._scope.read(lambda view: journal.history(view, self._space, limit))
        low = found.heads[0].key.name if limit is not None and len(found.heads) == limit and limit else ""
        lineages = {head.lineage for head in found.heads} | found.tombstones
        self._scope.record_range(RangeRead("memory", self._space, low, found.at_seq, limit), lineages)
        messages = [(head.key.name, _message(head)) for head in found.heads]
        if tombstones:
            messages += self._retracted(low)
            messages.sort(key=lambda named: named[0])
        return [message for _, message in messages]

    def _retracted(self, low: str) -> list[tuple[str, Message]]:
        journal = self._scope.backend.journal
        hidden = self._scope.read(lambda view: journal.retracted(view, self._space, low, self._scope.was_visible))
        return [(name, Message(role, None, seq, retracted=True)) for name, role, seq in hidden]


class Memory(MemoryView):
    """The messages of the turn's session, for it to read and extend."""

    _scope: WritingScope

    def __init__(self, scope: WritingScope) -> None:
        super().__init__(scope)

    def append(
        self, role: str, content: Any, *, origin: OriginName | None = None, idempotency: str | None = None
    ) -> int:
        """Add a message and return its seq. Role "user" makes it a source write, unless `origin` says otherwise."""
        return self.extend([(role, content)], origin=origin, idempotency=idempotency)[0]

    def extend(
        self, messages: Iterable[tuple[str, Any]], *, origin: OriginName | None = None, idempotency: str | None = None
    ) -> list[int]:
        """Add messages as one batch, all or none, and return their seqs."""
        key = Key("memory", self._space, "")
        pending = []
        spoken: dict[str, tuple[bool, str]] = {}  # by role: whether it is source, and the message's label in errors
        for role, content in _pairs(messages):
            if type(role) is not str or role not in spoken:
                default = Origin.SOURCE if check_name("the role", role) == USER else Origin.DERIVED
                spoken[role] = (self._scope.is_source(origin, default), f"the message of {role!r}")
            is_source, called = spoken[role]
            if type(content) is not str:
                _check_content(content)
            pending.append(Pending(key, encode({"role": role, "content": content}, called, wrapped=1), is_source))
        return self._scope.write(pending, idempotency=idempotency)

    def delete(self, seq: int, *, origin: OriginName | None = None, idempotency: str | None = None) -> int:
        """Delete the visible message of this seq and return the seq of the delete."""
        found = self._message(seq)
        if found is None:
            raise InvalidValue(f"no message with seq {seq!r} is visible in session {self._space!r}; see history()")
        source = self._scope.is_source(origin, Origin.DERIVED)
        return self._scope.write((Pending(found.key, None, source),), idempotency=idempotency)[0]

    def _message(self, seq: int) -> Head | None:
        seq = as_integer("seq", seq, "the seq of a message; history() returns the seqs", least=1)
        key = Key("memory", self._space, memory_name(seq, seq))
        head = self._scope.read(lambda view: self._scope.backend.journal.head(view, key))
        if head is None:  # the name of a replayed message holds the rank of its input
            return next((message for message in self._named() if message.seq == seq), None)
        self._scope.record_read((head,))
        return None if head.deleted else head

    def _named(self) -> list[Head]:
        journal = self._scope.backend.journal
        found = self._scope.read(lambda view: journal.history(view, self._space, None))
        lineages = {head.lineage for head in found.heads} | found.tombstones
        self._scope.record_range(RangeRead("memory", self._space, "", found.at_seq), lineages)
        return found.heads


def _message(head: Head) -> Message:
    fields = decode(head.payload)
    return Message(fields["role"], fields["content"], head.seq)


def _pairs(messages: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    given = list(messages) if isinstance(messages, Iterable) else [messages]
    try:
        if not any(isinstance(pair, (str, bytes)) for pair in given):
            return [(role, content) for role, content in given]
    except (TypeError, ValueError):
        pass
    raise InvalidValue(f"invalid messages {messages!r:.80}: must be pairs (role, content), such as [('user', 'hello')]")


def _check_content(content: Any) -> None:
    if isinstance(content, (bytes, bytearray, memoryview)):
        raise InvalidValue("invalid message content: must be JSON, not bytes; keep bytes in a document")
