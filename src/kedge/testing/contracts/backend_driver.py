"""Backend driver for contract tests: control changes by name, and appends of any lineage at any rank, without turns."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kedge.model import transitions
from kedge.model.control import ControlRecord
from kedge.model.lineage import EMPTY, Lineage
from kedge.model.visibility import View
from kedge.model.writes import Author, Batch, Key, Pending, VectorBatch, encode
from kedge.ports.backend import Backend
from kedge.ports.control import Change, Entry, Release

Opener = Callable[[], Backend]
_BY: dict[str, Any] = {"now": 1.0, "by": "contract"}


class BackendDriver:
    """Drives one backend through its ports."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.author = Author(backend.clock.fresh_id(), agent="driver")
        self._operations = itertools.count(1)

    # ── control ──

    def change(self, kind: str, name: str, *arguments: Any, operation: str | None = None) -> Entry:
        """Commit the change that `kedge.model.control` calls by this name."""
        record = self.backend.control.load()
        return self.backend.control.commit(self.decide(record, kind, name, *arguments, operation=operation))

    def decide(
        self, record: ControlRecord, kind: str, name: str, *arguments: Any, operation: str | None = None
    ) -> Change:
        """Return the change of this record, without committing it."""
        release = None
        if kind == "stage":
            after = transitions.stage(record, name, artifacts=(), bases=(arguments or ((),))[0], **_BY)
            release = Release(record.next_number, name, "release", "", {}, ())
        elif kind == "settle":
            after = transitions.settle(record, name)
        elif kind == "purge":
            after, _ = transitions.purge(record, name)
        else:
            after = getattr(transitions, kind)(record, name, *arguments, **_BY)
        operation = operation or f"{self.backend.clock.fresh_id()}-{next(self._operations)}"
        return Change(after, operation, kind, "contract", name, "because", {"n": 1}, release=release)

    def live(self, *names: str) -> None:
        """Stage and promote deployments: they are numbered from 1 on."""
        for name in names:
            self.change("stage", name)
            self.change("promote", name)

    def view(self, seen: Iterable[int] | None = None, upto: int | None = None) -> View:
        """Return a view as of now: of the live deployments, or of those of these numbers that are not revoked."""
        record = self.backend.control.load()
        base = record.live if seen is None else record.seen_by(seen)
        return View(record.epoch, base, record.settled, upto)

    # ── writes ──

    def batch(self, writes: Sequence[Pending], **options: Any) -> Batch:
        """Return a batch of a view of the live deployments, or of those in `seen`."""
        view = self.view(options.pop("seen", None))
        return Batch(
            epoch=options.pop("epoch", view.epoch),
            author=options.pop("author", None) or self.author,
            writes=tuple(writes),
            seen=view.seen,
            settled=view.settled,
            **options,
        )

    def append(self, writes: Sequence[Pending], **options: Any) -> list[int]:
        """Append a batch."""
        return self.backend.journal.append(self.batch(writes, **options)).seqs

    def put(self, name: str, value: Any, *, store: str = "context", space: str = "", **options: Any) -> int:
        """Append one put."""
        return self.append([put(name, value, store=store, space=space)], **options)[0]

    def delete(self, name: str, *, store: str = "context", space: str = "", **options: Any) -> int:
        """Append one delete."""
        return self.append([delete(name, store=store, space=space)], **options)[0]

    def upsert(
        self,
        collection: str,
        rows: dict[str, npt.ArrayLike],
        *,
        embedding: str = "",
        lineage: Lineage = EMPTY,
        **options: Any,
    ) -> list[int]:
        """Append vectors with the payload {"id": …}."""
        matrix = np.asarray(list(rows.values()), np.float32)
        return self.append(
            [put(name, {"id": name}, store="vectors", space=collection) for name in rows],
            lineage=lineage,
            vectors=(VectorBatch(embedding, matrix.shape[1], matrix.tobytes()),),
            **options,
        )


def put(name: str, value: Any, *, store: str = "context", space: str = "", **fields: Any) -> Pending:
    """Return a put to append."""
    return Pending(Key(store, space, name), encode(value), **fields)


def delete(name: str, *, store: str = "context", space: str = "", **fields: Any) -> Pending:
    """Return a delete to append."""
    return Pending(Key(store, space, name), None, **fields)


def context(name: str) -> Key:
    """Return a key of the shared context."""
    return Key("context", "", name)
