"""Bulk load of vectors into a collection, in batches; a repeated load skips what is there."""

import hashlib
import time
from collections.abc import Callable

import msgspec
import numpy as np

from kedge.bulk.sources import Rows, Source
from kedge.errors import InvalidValue
from kedge.model.attribution import LOADER
from kedge.model.numbers import as_integer
from kedge.model.writes import LARGE_BYTES_MAX, VALUE_BYTES_MAX, Origin, encode
from kedge.support.display import Report, count
from kedge.turns.kernel import Kernel
from kedge.turns.turn import Turn

Progress = Callable[[int, int], None]


class LoadReport(Report, frozen=True):
    """What a load did: rows written, with how many documents, and rows `skipped` because an earlier run wrote them.

    `vectorless` counts the rows that were left out because they have no vector.
    """

    collection: str
    rows: int
    skipped: int
    documents: int
    vectorless: int
    seconds: float

    def __str__(self) -> str:
        """Return the verdict."""
        return f"{self.collection}: {count(self.rows, 'row')} loaded, {self.skipped:,} skipped"


class Writer(msgspec.Struct, frozen=True):
    """Who loads: an agent (default: named like the deployment, else "loader") or a person, perhaps in a deployment."""

    agent: str | None = None
    person: str | None = None
    deployment: str | None = None

    def begin(self, kernel: Kernel) -> Turn:
        """Begin the turn of the load."""
        is_own = self.agent is None and self.person is None
        agent = self.deployment or LOADER if is_own else self.agent
        return Turn(kernel, agent=agent, person=self.person, deployment=self.deployment, is_own=is_own)


def load(
    kernel: Kernel,
    collection: str,
    source: Source,
    *,
    writer: Writer,
    batch: int,
    again: bool = False,
    progress: Progress | None = None,
) -> LoadReport:
    """Write all rows of a source in one turn, `batch` rows a commit.

    Position and content identify a batch, so a repeated load skips what is there (unless `again`).
    """
    batch = as_integer("batch", batch, "a number of rows, at least 1", least=1)
    began = time.monotonic()
    salt = kernel.backend.clock.fresh_id() if again else ""
    rows = skipped = documents = vectorless = 0
    with writer.begin(kernel) as turn:
        _check_revocable(turn, collection, writer)
        # A load inside a deployment is rolled back with it; any other upload is a source.
        origin = None if writer.deployment is None or writer.person is not None else Origin.DERIVED
        for number, part in enumerate(source.batches(batch)):
            vectorless += part.vectorless
            if part.ids:
                before = kernel.backend.control.position().seq
                key = _key(salt, collection, number, part)
                documents += _put_documents(turn, collection, part, origin, key, before)
                seqs = turn.vectors(collection).upsert(part.ids, part.vectors, part.payloads, idempotency=key)
                is_new = seqs[0] > before
                rows, skipped = rows + len(seqs) * is_new, skipped + len(seqs) * (not is_new)
            if progress is not None:
                progress(rows + skipped + vectorless, source.rows)
    return LoadReport(collection, rows, skipped, documents, vectorless, time.monotonic() - began)


def _put_documents(turn: Turn, collection: str, part: Rows, origin: Origin | None, key: str, before: int) -> int:
    """Write the documents of a batch; return how many are new."""
    if part.documents is None:
        return 0
    texts = {name: text for name, text in zip(part.ids, part.documents, strict=True) if text is not None}
    seqs = turn.documents(collection).put_many(texts, origin=origin, idempotency=f"{key}:documents")
    return len(seqs) if seqs and seqs[0] > before else 0


def _check_revocable(turn: Turn, collection: str, writer: Writer) -> None:
    """Raise `InvalidValue` where a load inside a deployment would not be rolled back with it."""
    embedder = turn.vectors(collection).collection.embedder
    turn.artifacts.get(embedder)  # each vector call reads it too
    name = writer.deployment
    if name is None or writer.person is not None or name not in turn.seen or name in turn.lineage:
        return
    raise InvalidValue(
        f"a rollback of {name!r} would not hide what {turn.agent!r} loads: no artifact of that deployment influences "
        f"this agent; add one to the deployment, such as {f'{turn.agent}/source'!r}, or load as an agent that "
        "has one there"
    )


def _key(salt: str, collection: str, number: int, part: Rows) -> str:
    """Return the idempotency key of a batch, made of its position and content."""
    digest = hashlib.sha256()
    for item in (salt, collection, str(number), *part.ids):
        digest.update(encode(item))
        digest.update(b"\n")
    contents = ((part.payloads, "payload", VALUE_BYTES_MAX), (part.documents, "document", LARGE_BYTES_MAX))
    for values, what, most in contents:
        for name, value in zip(part.ids, values or (), strict=False):
            digest.update(encode(value, f"the {what} of {name!r}", most=most))
            digest.update(b"\n")
        digest.update(b"\n")
    digest.update(np.ascontiguousarray(part.vectors, dtype="<f4").data)
    return f"load:{digest.hexdigest()[:40]}"
