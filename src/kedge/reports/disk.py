"""Disk use by store, and what retention policies would free: an estimate from a sample of the journal."""

import random

from kedge.backends.readable import readable_part
from kedge.model.compaction import Readable, may_go
from kedge.model.control import ControlRecord
from kedge.model.retention import kept_seconds
from kedge.support.display import Value
from kedge.turns.kernel import Kernel

SAMPLES = 500
USUAL_SECONDS = 30 * 86_400.0  # of the policy that is supposed where none is set


class StoreUse(Value, frozen=True):
    """The bytes of a store's content, and how many of them can be reclaimed; both are estimates.

    `freeable`: under the policies that are set; where there is none, under one of 30 days.
    """

    bytes: int
    freeable: int


def disk_use(kernel: Kernel, record: ControlRecord, last: int) -> dict[str, StoreUse]:
    """Estimate the use by store from at most `SAMPLES` seqs, one in each equal part of the journal up to `last`."""
    reclamation = kernel.backend.reclamation
    count = min(SAMPLES, last)
    dice = random.Random(last)  # noqa: S311 - a sample; the same one for the same journal
    edges = [1 + last * part // count for part in range(count)] if count else []
    seqs = [dice.randrange(first, after) for first, after in zip(edges, [*edges[1:], last + 1], strict=True)]
    share = last / count if count else 0.0
    readable: dict[float, Readable] = {}
    now = kernel.backend.clock.now()
    found: dict[str, list[float]] = {}
    for write in reclamation.sample(seqs):
        use = found.setdefault(write.store, [0.0, 0.0])
        use[0] += write.bytes * share
        seconds = _seconds(record, write.store, write.space)
        if seconds is None:
            continue
        if seconds not in readable:
            readable[seconds] = Readable(readable_part(kernel.backend.control, seconds, now).horizon)
        if may_go(write.seq, write.lineage, write.above, readable[seconds], record.purged):
            use[1] += write.bytes * share
    vectors = reclamation.vector_bytes()
    if vectors:
        found.setdefault("vectors", [0.0, 0.0])[0] += vectors
    return {store: StoreUse(round(size), round(free)) for store, (size, free) in sorted(found.items())}


def _seconds(record: ControlRecord, store: str, space: str) -> float | None:
    unset = None if record.policies else USUAL_SECONDS
    return kept_seconds(record.policies, store, space, record.retention_seconds, unset=unset)
