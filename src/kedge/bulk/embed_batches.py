"""Embedding in batches: finds documents without a vector in one embedding space, embeds them, writes the vectors."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from kedge.bulk.coverage import Corpus, Lack
from kedge.bulk.embedder import Caller, Embedded
from kedge.bulk.rate_limit import RateLimit
from kedge.errors import InvalidValue, InvalidVector, Retryable, StorageFull
from kedge.model.artifacts import dimension_of
from kedge.model.attribution import BACKFILLER
from kedge.model.embedding import rank_below
from kedge.model.writes import Head, Key, Pending, VectorBatch, decode, encode
from kedge.ports.vectors import Collection, Floats
from kedge.turns.kernel import Kernel
from kedge.turns.scope import scope_of
from kedge.turns.turn import Turn

PAGE = 1000  # names read at once
ATTEMPTS_MAX = 5

Bools = npt.NDArray[np.bool_]
Source = Callable[[str, Any], Any]
Progress = Callable[[int, int], None]
OnFailure = Callable[[str, str], object]


class Options(msgspec.Struct, frozen=True):
    """Options of a backfill: see `Kedge.backfill`."""

    source: Source | None = None
    corpus: str | None = None
    batch: int = 256
    workers: int = 0
    follow: float | None = None
    progress: Progress | None = None
    on_failure: OnFailure | None = None


def agent_of(collection: Collection) -> str:
    """Return the agent that embeds a collection: the owner of its embedder."""
    return collection.embedder.rpartition("/")[0] or BACKFILLER


class Side(msgspec.Struct, frozen=True):
    """The readers to embed for: inside a deployment, outside it, or (no deployment) of the live state."""

    deployment: str | None
    outside: bool = False

    @property
    def ranks_below(self) -> bool:
        """Whether its vectors rank below those that a deployment made of the same documents, to keep these visible."""
        return self.outside or self.deployment is None

    def turn(self, kernel: Kernel, agent: str) -> Turn:
        """Begin a turn with the view of these readers."""
        if not self.outside:
            return Turn(kernel, agent=agent, deployment=self.deployment, is_own=True)
        record = kernel.backend.control.load()
        number = kernel.find(record, self.deployment or "", "embed outside").number
        return Turn(kernel, agent=agent, base=record.live - record.dependants(number) - {number}, is_own=True)


class Tally:
    """Counters of a backfill, for the report and the progress bar."""

    def __init__(self, progress: Progress | None) -> None:
        self.embedded = self.outside = self.unchanged = self.done = self.total = 0
        self.failed: dict[tuple[str, bool], str] = {}
        self._progress = progress

    def advance(self, names: int) -> None:
        """Count processed names, and report progress."""
        self.done += names
        if self._progress is not None:
            self._progress(self.done, max(self.total, self.done))


class Job(msgspec.Struct, frozen=True):
    """Shared state of all feeds of one run."""

    kernel: Kernel
    options: Options
    rate_limit: RateLimit
    tally: Tally


class _Item(msgspec.Struct, frozen=True):
    lack: Lack
    text: str
    payload: bytes

    @property
    def name(self) -> str:
        return self.lack.document.key.name


class _Batch(msgspec.Struct):
    turn: Turn
    items: list[_Item]
    names: list[str]
    answer: "Future[Embedded]"


class Feed:
    """Embeds one collection for the readers of one side."""

    def __init__(self, job: Job, side: Side, corpus: Corpus, caller: Caller) -> None:
        self._kernel, self._options, self._tally = job.kernel, job.options, job.tally
        self._rate_limit = job.rate_limit
        self._side, self._corpus, self._caller = side, corpus, caller
        self._agent = agent_of(corpus.collection)
        self._under_way: deque[_Batch] = deque()
        self._failed_at: dict[str, int] = {}  # the version of a document that could not be embedded
        self._known: str | None = None  # a text that the embedder has embedded before
        with self._turn() as turn:
            self.space, self.dim = _pinned(turn, corpus.collection)
        if caller.digest is not None and caller.digest != self.space:
            raise InvalidVector(
                f"the embedder is for the digest {caller.digest!r}, but this view pins {self.space!r} at "
                f"{corpus.collection.embedder!r}; pass the pinned one"
            )

    @property
    def _place(self) -> str:
        return self._corpus.collection.name

    def _turn(self) -> Turn:
        return self._side.turn(self._kernel, self._agent)

    def sweep(self, names: Iterable[str], *, first: bool = False) -> int:
        """Embed those of these ids that lack a vector; return how many did. The `first` sweep counts the others."""
        waiting: list[str] = []
        lacked = 0
        names = iter(names)
        while page := list(itertools.islice(names, PAGE)):
            lacking = self._lacking(page)
            lacked += len(lacking)
            self._tally.unchanged += len(page) - len(lacking) if first and not self._side.outside else 0
            self._tally.advance(len(page) - len(lacking))
            waiting += lacking
            while len(waiting) >= self._options.batch:
                self._begin(waiting[: self._options.batch])
                del waiting[: self._options.batch]
        if waiting:
            self._begin(waiting)
        while self._under_way:
            self._finish(self._under_way.popleft())
        return lacked

    def _lacking(self, page: Sequence[str]) -> list[str]:
        with self._turn() as turn:
            scope = scope_of(turn)
            lacks = scope.read(lambda view: self._corpus.lacking(scope.backend, view, self.space, page))
            heads = {lack.document.key.name: lack.document for lack in lacks}
            if self._known is None and heads:
                self._known = self._text_among(turn, [name for name in page if name not in heads])
        return [name for name, head in heads.items() if self._failed_at.get(name) != head.seq]

    def _text_among(self, turn: Turn, names: Sequence[str]) -> str | None:
        """Return the text of the first of these ids that has one."""
        scope = scope_of(turn)
        heads = scope.read(lambda view: scope.backend.journal.heads(view, self._corpus.store, self._place, names))
        for head in heads.values():
            with suppress(Exception):  # the source is the user's; a text that it does not find here is not a failure
                found = None if head.deleted else self._found(head)
                text = found[0] if isinstance(found, tuple) else found
                if isinstance(text, str):
                    return text
        return None

    # ── one batch ──

    def _begin(self, names: list[str]) -> None:
        batch = self._open(names)
        self._under_way.append(batch)
        if len(self._under_way) >= self._caller.depth:
            self._finish(self._under_way.popleft())

    def _open(self, names: list[str]) -> _Batch:
        """Begin a turn that reads these documents, and submit their texts to the embedder."""
        turn = self._turn()
        space, _ = _pinned(turn, self._corpus.collection)
        if space != self.space:
            raise InvalidVector(
                f"{self._corpus.collection.embedder!r} was {self.space!r} and is now {space!r}; "
                "restart the backfill with that embedder"
            )
        scope = scope_of(turn)
        lacks = scope.read(lambda view: self._corpus.lacking(scope.backend, view, space, names))
        items = [item for lack in lacks if (item := self._item(lack)) is not None]
        for item in items:
            scope.record_read([head for head in (item.lack.document, item.lack.vector) if head is not None])
        return _Batch(turn, items, names, self._submit(items))

    def _submit(self, items: list[_Item]) -> "Future[Embedded]":
        return self._caller.submit([item.text for item in items], self._known) if items else Future()

    def _item(self, lack: Lack) -> _Item | None:
        name = lack.document.key.name
        try:
            found = self._found(lack.document)
            text, payload = found if isinstance(found, tuple) else (found, _kept(lack))
            packed = encode(payload, f"the payload of {name!r}")
        except Exception as error:  # noqa: BLE001 - the source is the user's: its errors go into the report
            self._fail(lack, f"{type(error).__name__}: {error}")
            return None
        if isinstance(text, str):
            return _Item(lack, text, packed)
        if text is not None:
            self._fail(lack, f"not a text but {type(text).__name__}; pass source=, a function that returns its text")
        return None

    def _found(self, document: Head) -> Any:
        """Return what to embed of a document: its text, (text, payload), or another value."""
        value = decode(document.payload)
        return _text(value) if self._options.source is None else self._options.source(document.key.name, value)

    def _fail(self, lack: Lack, why: str) -> None:
        name, seq = lack.document.key.name, lack.document.seq
        where = f"{self._place}/{name}"
        is_news = self._failed_at.get(name) != seq
        self._failed_at[name] = seq
        self._tally.failed[where, self._side.outside] = why
        if is_news and self._options.on_failure is not None:
            self._options.on_failure(where, why)

    def _finish(self, batch: _Batch) -> None:
        written = self._written(batch, ATTEMPTS_MAX) if batch.items else 0
        if self._side.outside:
            self._tally.outside += written
        else:
            self._tally.embedded += written
        self._tally.advance(len(batch.names))

    def _written(self, batch: _Batch, attempts: int) -> int:
        """Write what has been embedded; where the view has changed meanwhile, start this batch again."""
        try:
            return self._write(batch)
        except Retryable as error:
            if isinstance(error, StorageFull) or attempts == 1:
                raise
        finally:
            batch.turn.close()
        again = self._open(batch.names)
        return self._written(again, attempts - 1) if again.items else 0

    def _write(self, batch: _Batch) -> int:
        try:
            embedded = batch.answer.result()
        except BrokenProcessPool as error:
            raise InvalidValue(
                f"a process of the embedder died on a batch of {len(batch.items)} from {batch.items[0].name!r} on; "
                "check its memory, then run the backfill again: finished documents are kept"
            ) from error
        for position, why in embedded.failed.items():
            self._fail(batch.items[position].lack, why)
        if embedded.gave_up:
            first = min(embedded.failed)
            raise InvalidVector(
                f"the embedder failed on {len(embedded.failed)} documents in a row, the first {self._place} "
                f"{batch.items[first].name!r}: {embedded.failed[first]}; repair it, then run the backfill again: "
                "finished documents are kept"
            )
        good = [item for position, item in enumerate(batch.items) if position not in embedded.failed]
        good, rows = self._checked(good, embedded.rows)
        if not good:
            return 0
        self._rate_limit.wait(len(good))
        pending = [
            Pending(
                Key("vectors", self._place, item.name),
                item.payload,
                rank=rank_below(item.lack.document, item.lack.vector) if self._side.ranks_below else None,
            )
            for item in good
        ]
        scope_of(batch.turn).write(pending, vectors=VectorBatch(self.space, self.dim, rows.tobytes()))
        self._known = good[0].text
        for item in good:
            self._tally.failed.pop((f"{self._place}/{item.name}", self._side.outside), None)
        return len(good)

    def _checked(self, items: list[_Item], rows: Floats) -> tuple[list[_Item], Floats]:
        """Return the rows that can be stored; report the others by name. A wrong dimension ends the backfill."""
        if items and rows.shape[1] != self.dim:
            raise InvalidVector(
                f"the embedder returned {rows.shape[1]} dimensions for {self._place} {items[0].name!r}, but "
                f"{self._corpus.collection.embedder!r} has {self.dim}; pass the right embedder (its artifact states "
                'the dimension in its value: {"dim": …})'
            )
        finite: Bools = np.asarray(np.isfinite(rows).all(axis=1), np.bool_)
        usable = finite.copy()
        if self._corpus.collection.metric == "cosine":
            usable &= rows.any(axis=1)
        for position in np.flatnonzero(~usable).tolist():
            why = "is zero: it has no cosine" if finite[position] else "holds NaN or an infinity"
            self._fail(items[position].lack, f"its vector {why}")
        return [item for item, good in zip(items, usable, strict=True) if good], np.ascontiguousarray(rows[usable])


def _pinned(turn: Turn, collection: Collection) -> tuple[str, int]:
    artifact = turn.artifacts.get(collection.embedder)
    return ("", collection.dim) if artifact is None else (artifact.digest, dimension_of(artifact, collection.dim))


def _text(value: Any) -> Any:
    return value.get("text") if isinstance(value, dict) and isinstance(value.get("text"), str) else value


def _kept(lack: Lack) -> Any:
    return None if lack.vector is None else decode(lack.vector.payload)
