"""Ranking of a search's rows: which are hits, and which writes superseded rows that would have been hits."""

from collections.abc import Iterable, Mapping
from operator import itemgetter

import msgspec
import numpy as np
import numpy.typing as npt

from kedge.model.lineage import Lineage
from kedge.model.scores import Scores, rounded
from kedge.model.writes import Head

Flags = npt.NDArray[np.bool_]


class ScoredRow(msgspec.Struct, frozen=True):
    """A visible row: its key's name, its lineage and its float64 score; `head` is None where it was superseded."""

    name: str
    lineage: Lineage
    score: float
    head: Head | None = None


class Best(msgspec.Struct, frozen=True):
    """The hits with their scores, best first.

    `superseded`: for each name the lineage shared by its superseded rows that rank no worse.
    """

    hits: list[tuple[Head, float]]
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
    places = (-rounded(np.array([row.score for row in listed], np.float64))).tolist()
    heads = [
        (place, row.name, row.head, row.score)
        for place, row in zip(places, listed, strict=True)
        if row.head is not None
    ]
    heads.sort(key=itemgetter(0, 1))
    last = heads[k - 1][:2] if len(heads) >= k else None
    superseded: dict[str, Lineage] = {}
    for place, row in zip(places, listed, strict=True):
        if row.head is None and (last is None or (place, row.name) <= last):
            superseded[row.name] = superseded.get(row.name, row.lineage) & row.lineage
    return Best([(head, score) for _, _, head, score in heads[:k]], superseded)


def without_own(heads: Mapping[str, Head], superseded: Mapping[str, Lineage]) -> list[Head]:
    """Return the heads that superseded rows, each with the lineage that it does not share with these rows.

    Without the shared part, a view sees neither the head nor the rows: it decides nothing.
    """
    return [msgspec.structs.replace(head, lineage=head.lineage - superseded[name]) for name, head in heads.items()]
