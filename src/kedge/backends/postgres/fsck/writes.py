"""Checks of the journal: the content of every write, and what its turn had read."""

from collections.abc import Iterator
from typing import Any

from kedge.backends.postgres.fsck.inspection import SQL, Inspection
from kedge.model.fsck import keys
from kedge.model.migration import PAYLOAD_BYTES
from kedge.model.writes import SALT_BYTES, digest


def check_writes(inspection: Inspection) -> None:
    """Check that every write's content is there and has its digest, or was purged."""
    for window in inspection.windows():
        above = dict(inspection.link.rows(SQL["lineages_above"], *window))
        for seq, space, name, lineage, deleted, *content in _writes(inspection, *window):
            inspection.count("writes")
            is_vector = inspection.spaces.get(space, ("",))[0] == "vectors" and not deleted
            may_be_gone = inspection.is_purged(lineage) or inspection.may_be_reclaimed(
                space, lineage, above.get(seq, ())
            )
            found = _misfit(
                inspection,
                (seq, lineage, space),
                content,
                deleted=deleted,
                is_vector=is_vector,
                may_be_gone=may_be_gone,
            )
            if found is not None:
                inspection.report(found[0], inspection.place(space, name, seq), found[1])
        inspection.advance(*window)


def _writes(inspection: Inspection, first: int, last: int) -> Iterator[tuple[Any, ...]]:
    """Yield the writes of a range of seqs, which may be too large to hold at once."""
    while rows := inspection.link.rows(SQL["writes"], first, last, PAYLOAD_BYTES):
        yield from rows
        first = rows[-1][0] + 1


def _misfit(
    inspection: Inspection,
    write: tuple[int, int, int],
    content: list[Any],
    *,
    deleted: bool,
    is_vector: bool,
    may_be_gone: bool,
) -> tuple[str, str] | None:
    """Return the kind and the message of a finding about a write's content, or None."""
    seq, lineage, space = write
    expected, salt, payload, vector = content
    if salt is None:
        if payload is not None:
            return "digest", "the payload is there without its salt"
        if not may_be_gone:
            return "digest", "salt and payload are gone, though a view may need them"
        if vector is not None and inspection.is_erased(lineage):
            return "purge", "its vector is still there, though its deployment was purged"
        return None
    if inspection.is_erased(lineage):
        return "purge", "its payload is still there, though its deployment was purged"
    if (payload is None) != deleted or len(salt) != SALT_BYTES:
        return "digest", "payload, salt and operation do not fit one another"
    if vector is None and is_vector and seq < inspection.reclaimed.get(inspection.spaces[space][1], 0):
        inspection.count("vectors reclaimed")
        return None
    if (vector is not None) != is_vector:
        return "vector", "has a vector and is not a put of one, or is one and has none"
    if digest(salt, payload, vector or b"") != expected:
        return "digest", "the content does not have its digest: it was altered"
    inspection.count("digests")
    return None


def check_reads(inspection: Inspection) -> None:
    """Check what turns have read."""
    for window in inspection.windows():
        for turn, before, packed in inspection.link.rows(SQL["read_logs"], *window):
            keys.check_reads(inspection, turn, before, packed)
