"""Compaction rule: the vector rows that no readable view needs."""

from collections.abc import Iterable, Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from kedge.errors import PastUnreadable
from kedge.model.lineage import Lineage

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Past(msgspec.Struct, frozen=True):
    """A readable point, and what was settled there."""

    seq: int
    settled: Lineage


class Readable(msgspec.Struct, frozen=True):
    """The readable past: every seq from the horizon on, and the snapshots, in order."""

    horizon: Past
    snapshots: tuple[Past, ...] = ()

    def oldest(self, seq: int) -> Past:
        """Return the oldest readable point at or after a seq; from the horizon on, the seq itself."""
        here = Past(seq, self.horizon.settled) if seq > self.horizon.seq else self.horizon
        return next((past for past in self.snapshots if seq <= past.seq < here.seq), here)


class Rows(msgspec.Struct, frozen=True):
    """Rows by position: the seq of each, ascending, and the id of its lineage."""

    seqs: Ints
    lineages: Ints


class Log(msgspec.Struct, frozen=True):
    """The seqs at which rows, by position, were superseded by lineages."""

    rows: Ints
    seqs: Ints
    lineages: Ints


def may_go(
    seq: int, lineage: Lineage, superseded: Iterable[tuple[int, Lineage]], readable: Readable, purged: Lineage
) -> bool:
    """Return whether no view needs a row, given the seqs at which lineages superseded it.

    A row that is superseded in every view at the oldest point is so at all later ones: the settled set only grows.
    """
    oldest = readable.oldest(seq)
    return not lineage.isdisjoint(purged) or any(
        at <= oldest.seq and _hides(by, lineage, oldest.settled) for at, by in superseded
    )


def _hides(by: Lineage, lineage: Lineage, settled: Lineage) -> bool:
    return by - lineage <= settled


def rows_to_go(rows: Rows, log: Log, members: Mapping[int, Lineage], readable: Readable, purged: Lineage) -> Mask:
    """Return `may_go` of each row."""
    pasts = [past for past in readable.snapshots if past.seq < readable.horizon.seq] + [readable.horizon]
    at = np.searchsorted(np.array([past.seq for past in pasts], np.int64), rows.seqs)
    oldest = np.where(at < len(pasts), np.array([*(past.seq for past in pasts), 0], np.int64)[at], rows.seqs)
    gone = [ident for ident in np.unique(rows.lineages).tolist() if not members[ident].isdisjoint(purged)]
    going: Mask = np.isin(rows.lineages, gone)
    early = log.seqs <= oldest[log.rows]
    touched = log.rows[early]
    cases = np.stack([log.lineages[early], rows.lineages[touched], np.minimum(at[touched], len(pasts) - 1)], axis=1)
    kinds, kind_of = np.unique(cases, axis=0, return_inverse=True)
    hidden = np.array(
        [_hides(members[by], members[own], pasts[past].settled) for by, own, past in kinds.tolist()], bool
    )
    going[touched[hidden[kind_of.ravel()]] if len(kinds) else []] = True
    return going


def check_readable(seq: int, reclaimed: int) -> None:
    """Raise `PastUnreadable` for a seq before `reclaimed`, up to which compaction removed superseded rows."""
    if seq < reclaimed:
        raise PastUnreadable(
            f"seq {seq} is before seq {reclaimed}: superseded rows of this collection were reclaimed by a compaction, "
            "irrevocably; read at a later point, or at a named snapshot"
        )
