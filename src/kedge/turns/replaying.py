"""Turns that replay an input: the identity of their writes, and messages of the original turn that they replace."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from itertools import count

import msgspec

from kedge.model.visibility import View
from kedge.model.writes import Author, Head, Key, Pending
from kedge.ports.backend import Backend
from kedge.support.fork_lock import ForkSafeLock
from kedge.turns.current import NO_LINE, line

_UNORDERED = "~"  # marks paths and keys of calls whose order differs from attempt to attempt


class Written:
    """What the turns of one process have written for one input. They write one after another, under its lock."""

    def __init__(self) -> None:
        self.lock = ForkSafeLock()
        self.keys: set[str] = set()
        self.standing: dict[tuple[str, str | None], list[Head]] = {}


class Replays(msgspec.Struct, frozen=True):
    """The input that a turn replays: its rank and seq, and the last hidden turn that the replay replaces.

    `path` is empty for the turn of the handler; for turns that it calls, it tells them apart. `check` raises once this
    process has lost its claim on the input. `written`: shared with the turn's caller, where it called in this process.
    """

    rank: int
    seq: int
    upto_turn: int
    path: str = ""
    check: Callable[[], None] | None = None
    shared_memory: bool = False  # the input is in the memory that turns without a session once shared
    written: Written | None = None


class Replaying:
    """The state of one turn that replays an input.

    An interrupted replay runs again, and finds its own earlier writes instead of repeating them. In the thread (or
    task) of the handler, the order of calls tells which is which: an agent may read what the first attempt wrote, and
    say something else this time. Elsewhere, the order may differ from attempt to attempt: the content tells, too.
    """

    def __init__(self, backend: Backend, replays: Replays, author: Author) -> None:
        self._backend, self._replays, self._author = backend, replays, author
        self._written = replays.written or Written()
        self._line = line()
        self._calls = Counter[str]()
        self._of_facade: dict[str, str] = {}  # by the key that `kedge.aio` made, the key of the call

    @property
    def lock(self) -> ForkSafeLock:
        """The lock under which the turns that replay one input here write."""
        return self._written.lock

    @property
    def _is_ordered(self) -> bool:
        """Whether the calls made here come in the same order in each attempt."""
        return self._line == line() != NO_LINE and not self._replays.path.startswith(_UNORDERED)

    def check(self) -> None:
        """Raise if another process may be replaying this input."""
        if self._replays.check is not None:
            self._replays.check()

    def child(self, who: str) -> Replays:
        """Return the replay of a turn that this one calls in this process."""
        replays = self._replays
        # Out of order, the turns of one agent share a path, and `Written` tells their equal calls apart.
        path = self._path(who) if self._is_ordered else f"{self._unordered}\t{who}"
        return msgspec.structs.replace(replays, path=path, written=self._written)

    def called(self, audience: str | None) -> tuple[int, int, int, str]:
        """Return what headers for the next callee carry: the input, and the path of the callee."""
        replays = self._replays
        path = self._path(audience or "")
        if not self._is_ordered:
            path = _UNORDERED + path.removeprefix(_UNORDERED)
        return replays.rank, replays.seq, replays.upto_turn, path

    @property
    def _unordered(self) -> str:
        return _UNORDERED + self._replays.path.removeprefix(_UNORDERED)

    def _path(self, who: str) -> str:
        with self.lock.here:
            self._calls[who] += 1
            return f"{self._replays.path}\t{who}\t{self._calls[who]}"

    def keys_of(self, writes: Sequence[Pending], idempotency: str | None) -> Iterator[tuple[str, int | None]]:
        """Return the idempotency keys to try for a call, and how many of its writes must be equal (None: no matter).

        An earlier attempt's call with such a key is this one. The identity is the path of calls, the keys, and the
        place among the calls with the same keys; out of order, the first call that has the same content.
        """
        if idempotency is not None and not self._is_of_facade(idempotency):
            yield idempotency, None
            return
        known = self._of_facade.get(idempotency or "")
        for key in self._free_keys(writes) if known is None else (known,):
            yield key, len(writes) if key.endswith(_UNORDERED) else None

    def _is_of_facade(self, idempotency: str) -> bool:
        """Return whether `kedge.aio` made a key: it names the turn, and the next attempt is another turn."""
        return idempotency.startswith(f"aio:{self._author.uid}:")

    def _free_keys(self, writes: Sequence[Pending]) -> Iterator[str]:
        """Return keys that this attempt has not used: in order, the next one; out of order, all."""
        ordered, replays = self._is_ordered, self._replays
        named = dict.fromkeys(f"{w.key.store}/{w.key.space}/{w.key.name}/{w.payload is None:d}" for w in writes)
        where = [replays.path, self._author.agent or "", *named]
        where += () if ordered else (_UNORDERED, str(len(writes)))
        mark = _short("\n".join(where)) + ("" if ordered else _UNORDERED)
        for place in count():
            key = f"replay:{replays.seq}:{replays.upto_turn}:{place}:{mark}"
            if key not in self._written.keys:
                yield key
                if ordered:
                    return

    def wrote(self, key: str, idempotency: str | None, replaced: Sequence[Head]) -> None:
        """Note that a call was written under a key, and forget the messages that it replaced."""
        self._written.keys.add(key)
        if idempotency is not None and self._is_of_facade(idempotency):
            self._of_facade[idempotency] = key
        for head in replaced:
            self._written.standing[head.key.space, self._author.agent].remove(head)

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

    def _standing_in(self, view: View, space: str) -> list[Head]:
        place, known = (space, self._author.agent), self._written.standing
        if place not in known:
            present = msgspec.structs.replace(view, upto_rank=None)
            heads = self._backend.journal.history(present, space, None).heads
            later = [head for head in heads if head.rank > self._replays.rank]
            end = next((place for place, head in enumerate(later) if head.source), len(later))
            writers = self._backend.provenance.writers_of([head.seq for head in later[:end]])
            agents = {None, self._author.agent}
            known[place] = [
                head
                for head in later[:end]
                if head.seq in writers and writers[head.seq].agent in agents and writers[head.seq].replays is None
            ]
        return known[place]


def delete_of(head: Head) -> Pending:
    """Return the write that deletes a message, wherever it ranks."""
    return Pending(Key("memory", head.key.space, head.key.name), None, rank=head.rank)


def _short(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()
