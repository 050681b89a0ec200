"""Turns that replay an input: the identity of their writes, and messages of the original turn that they replace."""

from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2b

import msgspec

from kedge.model.visibility import View
from kedge.model.writes import Author, Head, Key, Pending
from kedge.ports.backend import Backend


class Replays(msgspec.Struct, frozen=True):
    """The input that a turn replays: its rank and seq, and the last hidden turn that the replay replaces.

    `path` is empty for the turn of the handler; for turns that it calls, it tells them apart. `check` raises once this
    process has lost its claim on the input.
    """

    rank: int
    seq: int
    upto_turn: int
    path: str = ""
    check: Callable[[], None] | None = None
    shared_memory: bool = False  # the input is in the memory that turns without a session once shared


class Replaying:
    """The state of one turn that replays an input."""

    def __init__(self, backend: Backend, replays: Replays, author: Author) -> None:
        self._backend, self._replays, self._author = backend, replays, author
        self._written = Counter[str]()
        self._standing: dict[str, list[Head]] = {}
        self._calls = 0

    def check(self) -> None:
        """Raise if another process may be replaying this input."""
        if self._replays.check is not None:
            self._replays.check()

    def called(self) -> tuple[int, int, int, str]:
        """Return what headers for the next callee carry: the input, and the path of the callee."""
        self._calls += 1
        replays = self._replays
        return replays.rank, replays.seq, replays.upto_turn, f"{replays.path}/{self._calls}"

    def key_of(self, writes: Sequence[Pending]) -> tuple[str, str]:
        """Return the idempotency key of a call, and the name to count it under once it is written.

        A replay that runs again finds its own earlier writes instead of repeating them. Their identity is the path of
        calls, the keys, and the place among this turn's calls with the same keys.
        """
        keys = dict.fromkeys(f"{w.key.store}/{w.key.space}/{w.key.name}/{w.payload is None:d}" for w in writes)
        named = "\n".join(keys)
        replays = self._replays
        where = f"{replays.path}\n{self._author.agent or ''}\n{named}"
        return f"replay:{replays.seq}:{replays.upto_turn}:{self._written[named]}:{_short(where)}", named

    def count(self, named: str) -> None:
        """Count a call that was written."""
        self._written[named] += 1

    def replaced(self, view: View, writes: Sequence[Pending]) -> list[Head]:
        """Return the messages of the original turn that these derived messages say again, each once.

        They stayed visible, because the original turn wrote them before it was influenced. They stand between the input
        and the next source message of the session; role, content and agent are equal.
        """
        found: list[Head] = []
        for write in writes:
            if write.key.store == "memory" and not write.source and write.payload is not None and not write.key.name:
                standing = self._standing_in(view, write.key.space)
                same = next((head for head in standing if head.payload == write.payload and head not in found), None)
                found += () if same is None else (same,)
        return found

    def forget(self, replaced: Sequence[Head]) -> None:
        """Forget messages that were replaced."""
        for head in replaced:
            self._standing[head.key.space].remove(head)

    def _standing_in(self, view: View, space: str) -> list[Head]:
        if space not in self._standing:
            present = msgspec.structs.replace(view, upto_rank=None)
            heads = self._backend.journal.history(present, space, None).heads
            later = [head for head in heads if head.rank > self._replays.rank]
            end = next((place for place, head in enumerate(later) if head.source), len(later))
            writers = self._backend.provenance.writers_of([head.seq for head in later[:end]])
            agents = {None, self._author.agent}
            self._standing[space] = [
                head
                for head in later[:end]
                if head.seq in writers and writers[head.seq].agent in agents and writers[head.seq].replays is None
            ]
        return self._standing[space]


def delete_of(head: Head) -> Pending:
    """Return the write that deletes a message, wherever it ranks."""
    return Pending(Key("memory", head.key.space, head.key.name), None, rank=head.rank)


def _short(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()
