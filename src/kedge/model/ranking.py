"""Ranking of a search's rows: which are hits, and which writes superseded rows that would have been hits."""

from collections.abc import Iterable, Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from kedge.model.lineage import Lineage
from kedge.model.scores import Scores, rounded
from kedge.model.writes import Head

Flags = npt.NDArray[np.bool_]


class ScoredRow(msgspec.Struct, frozen=True):
    """A visible row: its write, its float64 score, and whether it is head. A row that is not head was superseded."""

    write: Head
    score: float
    is_head: bool


class Best(msgspec.Struct, frozen=True):
    """The hits, best first, and for each name the lineage shared by its superseded rows that rank no worse."""

    hits: list[ScoredRow]
    superseded: dict[str, Lineage]


def is_enough(scores: Scores, is_head: Flags, k: int, beyond: float) -> bool:
    """Return whether the `k` best heads among some rows rank before all rows left out, whose scores are ≤ `beyond`."""
    last = _last(scores[is_head], k)
    return last is not None and last > float(rounded(np.array(beyond)))


def may_rank(scores: Scores, is_head: Flags, k: int) -> Flags:
    """Return which rows score at least as well as the `k`-th best head; all, where there are fewer heads."""
    last = _last(scores[is_head], k)
    return np.ones(len(scores), bool) if last is None else np.asarray(rounded(scores) >= last)


def _last(scores: Scores, k: int) -> float | None:
    """Return the rounded `k`-th best score, or None where there are fewer."""
    place = len(scores) - k
    return None if place < 0 else float(rounded(np.partition(scores, place)[place]))


def best(rows: Iterable[ScoredRow], k: int) -> Best:
    """Return the `k` best heads by score, then by id, and the superseded rows that would rank among them."""
    listed = list(rows)
    order = rounded(np.array([row.score for row in listed], np.float64)).tolist()
    hits: list[ScoredRow] = []
    superseded: dict[str, Lineage] = {}
    ranked = sorted(zip(order, listed, strict=True), key=lambda row: (-row[0], row[1].write.key.name, row[1].is_head))
    for _, row in ranked:
        if row.is_head:
            hits.append(row)
            if len(hits) == k:
                break
        else:
            name, own = row.write.key.name, row.write.lineage
            superseded[name] = superseded.get(name, own) & own
    return Best(hits, superseded)


def without_own(heads: Mapping[str, Head], superseded: Mapping[str, Lineage]) -> list[Head]:
    """Return the heads that superseded rows, each with the lineage that it does not share with these rows.

    Without the shared part, a view sees neither the head nor the rows: it decides nothing.
    """
    return [msgspec.structs.replace(head, lineage=head.lineage - superseded[name]) for name, head in heads.items()]
