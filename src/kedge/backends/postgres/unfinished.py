"""Table of unfinished operations on PostgreSQL: kept in the transactions that write the control log."""

from collections.abc import Sequence

import msgspec

from kedge.backends.postgres.link import Link
from kedge.backends.postgres.sql import queries
from kedge.model.control_log import NewEntry, decode_entry
from kedge.model.unfinished import Unfinished, Wanted, concerns, followed, of_log

_SQL = queries("control")


def follow(link: Link, entry: NewEntry, seq: int) -> None:
    """Update the table for a new entry of the log, in its transaction.

    That of a change holds all lanes, that of a step the lane of its operation, of which alone it deletes the row.
    """
    is_step = entry.record is None
    if not concerns(entry, is_step=is_step):
        return
    before = unfinished_in(link)
    after = followed(before, entry, seq, is_step=is_step)
    for operation in {one.operation for one in before} - {one.operation for one in after}:
        link.send(_SQL["unfinished_delete"], operation)
    _put(link, [one for one in after if one not in before])


def fill(link: Link) -> None:
    """Make the table anew, in a write transaction that holds all lanes."""
    link.send(_SQL["unfinished_clear"])
    _put(link, from_log(link))


def unfinished_in(link: Link) -> list[Unfinished]:
    """Return the table, the oldest operation first."""
    rows = link.rows(_SQL["unfinished"])
    return [Unfinished(operation, kind, seq, decode_wanted(wanted)) for operation, kind, seq, wanted in rows]


def from_log(link: Link) -> list[Unfinished]:
    """Return what the table says if it is complete, from the whole log."""
    entries = map(decode_entry, reversed(link.rows(_SQL["log"], None)))
    return of_log((entry.seq, entry.is_step, entry) for entry in entries)


def decode_wanted(stored: bytes) -> Wanted:
    """Return the external systems that must follow a change."""
    return msgspec.json.decode(stored, type=Wanted)


def _put(link: Link, rows: Sequence[Unfinished]) -> None:
    for one in rows:
        link.send(_SQL["unfinished_put"], one.operation, one.kind, one.seq, msgspec.json.encode(one.wanted))
