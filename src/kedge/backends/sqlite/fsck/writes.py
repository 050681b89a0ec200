"""Checks of the journal: its order, and the digest, lineage and references of every write."""

from typing import Any, NamedTuple

from kedge.backends.sqlite.fsck.inspection import SQL, Inspection
from kedge.backends.sqlite.fsck.segment_files import SegmentFiles
from kedge.model.stores import is_store
from kedge.model.writes import SALT_BYTES, digest

_DIGEST_BYTES = 32


class _Write(NamedTuple):
    seq: int
    space: int
    name: str
    lineage: int
    rank: int
    deleted: int
    source: int
    provenance: int
    turn: int
    has_turn: int
    digest: bytes
    salt: bytes | None
    payload: bytes | None


def check_order(inspection: Inspection) -> None:
    """Check that writes and control entries share one gapless order in which time never runs backwards.

    Up to a seq, as many as were pruned may be missing.
    What came by a move from a database without such an order, up to a seq, is known by its number of entries only.
    """
    entries = inspection.connection.execute(SQL["count_entries"]).fetchone()[0]
    came_upto, came = inspection.connection.execute(SQL["came"]).fetchone() or (0, 0)
    if entries != came + inspection.last_seq - came_upto - inspection.pruned.entries:
        inspection.report("journal", "", f"{entries} entries end at seq {inspection.last_seq}")
    for first, last in inspection.windows():
        before, at_before = first - 1, float("-inf")
        may_lack = max(came_upto, inspection.pruned.sessions)  # log entries of sessions that were forgotten
        for seq, at, is_write in inspection.connection.execute(SQL["entries"], (first, last)):
            where = f"{'writes' if is_write else 'control_log'} seq {seq}"
            if seq == before:
                inspection.report("journal", where, "the seq is that of a write and of a control entry")
            elif seq > before + 1 > may_lack:
                inspection.report("journal", where, f"seqs {before + 1} to {seq - 1} are missing before it")
            if at < at_before and seq > came_upto:
                inspection.report(
                    "journal", where, f"its time {at!r} is before {at_before!r}, that of the entry before"
                )
            before, at_before = seq, at
            inspection.count("entries")
            inspection.advance()


def check_writes(inspection: Inspection, files: SegmentFiles) -> None:
    """Check every write: what it says of itself, what it refers to, and that its content has its digest."""
    for first, last in inspection.windows():
        for row in inspection.connection.execute(SQL["writes"], (first, last)):
            write = _Write(*row)
            where = inspection.place(write.space, write.name, write.seq)
            for message in _misfits(inspection, write):
                inspection.report("write", where, message)
            _check_content(inspection, files, write, where)
            inspection.count("writes")
            inspection.advance()


def _misfits(inspection: Inspection, write: _Write) -> list[str]:
    found = []
    if not is_store(inspection.spaces.get(write.space, ("",))[0]):
        found.append(f"space {write.space} is none of a store")
    if write.lineage not in inspection.lineages:
        found.append(f"lineage {write.lineage} is not in the lineage table")
    if write.provenance not in inspection.lineages:
        found.append(f"provenance {write.provenance} is not in the lineage table")
    if not write.has_turn and (write.seq > inspection.pruned.reads or (write.salt is not None and not write.deleted)):
        found.append(f"turn {write.turn} is not in the table of turns")
    if write.source and write.lineage != 0:
        found.append(f"a source write has lineage {write.lineage}, not 0")
    if not write.source and write.provenance != write.lineage:
        found.append(f"a derived write of lineage {write.lineage} has provenance {write.provenance}")
    if not 1 <= write.rank <= write.seq:
        found.append(f"its rank {write.rank} is not from 1 to its seq")
    if write.deleted not in {0, 1} or write.source not in {0, 1}:
        found.append(f"deleted={write.deleted!r} and source={write.source!r} are not 0 or 1")
    return found


def _check_content(inspection: Inspection, files: SegmentFiles, write: _Write, where: str) -> None:
    kept: tuple[object, ...] = (write.digest, write.salt, write.payload)
    if not all(value is None or isinstance(value, bytes) for value in kept) or len(write.digest) != _DIGEST_BYTES:
        inspection.report("digest", where, f"digest (of {_DIGEST_BYTES} bytes), salt and payload are no such bytes")
    elif write.salt is None:
        if write.payload is not None:
            inspection.report("digest", where, "the payload is there without its salt")
        if not inspection.is_purged(write.lineage) and not _is_superseded(inspection, write):
            inspection.report("digest", where, "salt and payload are gone, though a view may need them")
    elif inspection.is_erased(write.lineage):
        inspection.report("purge", where, "its payload is still there, though its deployment was purged")
    elif (write.payload is None) != bool(write.deleted) or len(write.salt) != SALT_BYTES:
        inspection.report("digest", where, "payload, salt and operation do not fit one another")
    else:
        _check_digest(inspection, files, write, where)


def _is_superseded(inspection: Inspection, write: _Write) -> bool:
    key = (write.space, write.name, write.rank, write.seq)
    above = (lineage for (lineage,) in inspection.connection.execute(SQL["lineages_above"], key))
    return inspection.may_be_reclaimed(write.space, write.lineage, above)


def _check_digest(inspection: Inspection, files: SegmentFiles, write: _Write, where: str) -> None:
    salt = write.salt or b""
    if inspection.spaces.get(write.space, ("",))[0] != "vectors" or write.deleted:
        if digest(salt, write.payload) != write.digest:
            inspection.report("digest", where, "the content does not have its digest: it was altered")
        inspection.count("digests")
        return
    place: Any = (write.space, write.name, write.rank, write.seq)
    found = inspection.connection.execute(SQL["vector_place"], place).fetchall()
    if len(found) != 1:
        if found:
            inspection.report("vector", where, f"{len(found)} vector rows belong to it, not one")
        return  # the check of the rows says whether it may be without one
    content = files.row(*found[0])
    if content is None:
        inspection.count("digests unreadable")  # the check of the segment files says which file, and why
    elif digest(salt, write.payload, content) != write.digest and not files.was_erased_meanwhile(write.seq):
        inspection.report("digest", where, "the payload and the vector do not have their digest: one was altered")
    else:
        inspection.count("digests")
