"""A turn of the drill that records each of its operations in the drill's own trace."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from kedge.drill.content import message_name, message_names
from kedge.drill.embedder import Vector
from kedge.drill.release import EMBEDDER_KEY
from kedge.drill.trace import Op
from kedge.turns.turn import Turn

Note = Callable[[Op], None]


class Stopped(Exception):
    """The turn has reached the operation at which it must stop."""


class TracedTurn:
    """One turn's operations, numbered from 1. With `stop_at`, only source writes happen from that operation on."""

    def __init__(self, turn: Turn, label: str, note: Note, *, stop_at: int | None = None) -> None:
        self.turn = turn
        self.label = label
        self._note = note
        self._stop_at = stop_at
        self._index = 0

    # ── artifacts ──

    def artifact(self, key: str) -> Any:
        """Return the value of an artifact."""
        index = self._step()
        value = self.turn.artifacts[key].value
        self._note(Op(index, "touch", name=key))
        return value

    # ── memory: a conversation is question 0, its answer, question 1, … ──

    def ask(self, number: int, text: str) -> None:
        """Store the user's question: a source write."""
        index = self._step(source=True)
        self.turn.memory.append("user", text)
        self._wrote(index, "memory", self.turn.session or "", message_name(number, 0), ["user", text], source=True)

    def answer(self, number: int, text: str) -> None:
        """Store the answer."""
        index = self._step()
        self.turn.memory.append("assistant", text)
        self._wrote(index, "memory", self.turn.session or "", message_name(number, 1), ["assistant", text])

    def history(self, upto: int) -> list[tuple[str, str]]:
        """Return (role, content) of all messages up to the question with this number."""
        index = self._step()
        history = self.turn.memory.history()
        names = message_names([message.role for message in history])
        found = {name: [message.role, message.content] for name, message in zip(names, history, strict=True)}
        self._note(Op(index, "range", "memory", self.turn.session or "", value=found))
        return [(role, text) for name, (role, text) in found.items() if name <= message_name(upto, 0)]

    # ── documents ──

    def document(self, collection: str, id: str) -> str:
        """Return a document's text, or an empty string."""
        index = self._step()
        text = self.turn.documents(collection).get(id)
        self._note(Op(index, "read", "documents", collection, id, text))
        return text or ""

    def attach(self, collection: str, id: str, text: str) -> None:
        """Store a user's attachment: a source write."""
        index = self._step(source=True)
        self.turn.documents(collection).put(id, text)
        self._wrote(index, "documents", collection, id, text, source=True)

    # ── context ──

    def fact(self, key: str) -> Any:
        """Return a shared fact, None if there is none."""
        index = self._step()
        value = self.turn.context.get(key)
        self._note(Op(index, "read", "context", "", key, value))
        return value

    def facts(self, prefix: str) -> dict[str, Any]:
        """Return the shared facts under a prefix."""
        index = self._step()
        found = self.turn.context.items(prefix)
        self._note(Op(index, "range", "context", "", prefix, dict(found)))
        return found

    def share(self, key: str, value: Any, *, compare: bool = False) -> None:
        """Write a shared fact (a source write in a person's turn); with `compare`, as a compare-and-set."""
        source = self.turn.person is not None
        index = self._step(source=source)
        expect = None
        if compare:
            entry = self.turn.context.entry(key)
            expect = 0 if entry is None else entry.seq
            self._note(Op(index, "read", "context", "", key, None if entry is None else entry.value))
        self.turn.context.put(key, value, expect=expect)
        self._wrote(index, "context", "", key, value, source=source)

    def withdraw(self, key: str) -> None:
        """Delete a shared fact."""
        index = self._step()
        self.turn.context.delete(key)
        self._note(Op(index, "delete", "context", "", key))

    # ── vectors ──

    def search(self, collection: str, vector: Vector, k: int, where: dict[str, Any] | None = None) -> list[Any]:
        """Return the nearest hits that this turn sees."""
        index = self._embedder()
        hits = list(self.turn.vectors(collection).search(vector, k=k, where=where))
        self._note(Op(index, "hits", "vectors", collection, value={hit.id: hit.payload for hit in hits}))
        return hits

    def embed(self, collection: str, ids: Sequence[str], matrix: Any, payloads: Sequence[dict[str, Any]]) -> None:
        """Upsert vectors."""
        index = self._embedder()
        self.turn.vectors(collection).upsert(list(ids), matrix, list(payloads))
        for id, payload in zip(ids, payloads, strict=True):
            self._wrote(index, "vectors", collection, id, payload)

    def unembed(self, collection: str, id: str) -> None:
        """Delete a vector."""
        index = self._embedder()
        self.turn.vectors(collection).delete([id])
        self._note(Op(index, "delete", "vectors", collection, id))

    # ── cache and metrics: not compared between worlds ──

    def cached(self, key: str, compute: Callable[[], Any]) -> Any:
        """Return a cached value, or compute it; the key must contain all that the value depends on."""
        self._step()
        return self.turn.cache.get_or_compute(key, compute)

    def observe(self, metric: str, *, value: bool) -> None:
        """Store a metric sample."""
        self._step()
        self.turn.observe(metric, value)

    # ── other agents ──

    def absorb(self, label: str, headers: dict[str, str]) -> None:
        """Add the lineage of a callee that has returned."""
        index = self._step()
        self.turn.absorb(headers)
        self._note(Op(index, "absorb", name=label))

    def _step(self, *, source: bool = False) -> int:
        self._index += 1
        if self._stop_at is not None and self._index >= self._stop_at and not source:
            raise Stopped
        return self._index

    def _embedder(self) -> int:
        """Count an operation on vectors, which reads the head of the collection's embedder."""
        index = self._step()
        self._note(Op(index, "touch", name=EMBEDDER_KEY))
        return index

    def _wrote(self, index: int, store: str, space: str, name: str, value: Any, *, source: bool = False) -> None:
        self._note(Op(index, "write", store, space, name, value, source))


def fingerprint(text: str) -> str:
    """Return a short name for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


__all__ = ["Note", "Stopped", "TracedTurn", "fingerprint"]
