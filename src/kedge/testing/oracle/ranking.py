"""Exact search of the oracle: score all rows, sort them, and list the rows that would have ranked."""

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kedge.testing.oracle.history import NOBODY, Names, Write
from kedge.testing.oracle.oracle import Oracle, View

CLOSE = 1e-4  # scores nearer than this may be a tie where the index answers: it ranks in float32
SAME = 1e-6  # of scores that are computed exactly


@dataclass(frozen=True)
class VectorValue:
    """The value of a vector write; `embedder` is the artifact of its embedding space (None: none was seen)."""

    vector: tuple[float, ...]
    payload: Any
    embedder: Any


@dataclass(frozen=True)
class Ranked:
    """A search's answer: every candidate with its score, best first, and what the search read besides its hits.

    A superseded row that would rank among the hits influenced the answer by the head at its name, as far as that has a
    lineage of its own: no view sees the row without the row's. One that is superseded wherever it is seen never comes
    back: nothing of it is read. The same goes for what `unembedded` counts: the heads of other spaces, and what
    superseded other rows that were there. An exact search reads just that.

    A search by the index finds the same rows here, but may rank ties in another order, and may have read more: for
    each superseded row any of the writes that superseded it, also where the row would have tied with the last hit.
    """

    candidates: list[tuple[float, Write]]
    k: int
    unembedded: int
    read: Names  # what an exact search has read besides its hits
    sure: Names  # what the embedder and the heads that `unembedded` counts were made under
    pushed_out: list[list[Names]]  # for each row that would have ranked or counted, the lineages of what superseded it
    at_most: Names  # all these, those of rows that would have tied with the last hit, and of what no longer counts

    @property
    def ids(self) -> list[str]:
        """The hits, best first; among ties by id."""
        return [head.name for _, head in self.candidates[: self.k]]

    def lineage(self, ids: Sequence[str], added: Names | None = None) -> Names:
        """Return the lineages that a search with these hits adds to its turn; `added`: those that the index added."""
        hits = NOBODY.union(*(head.lineage for _, head in self.candidates if head.name in ids))
        if added is None:
            return hits | self.read
        chosen = [next((one for one in some if one <= added), min(some, key=len)) for some in self.pushed_out]
        return self.sure.union(hits, added & (self.at_most | self.read), *chosen)

    def check(self, ids: Sequence[str], scores: Sequence[float], *, exact: bool) -> None:
        """Fail if these hits are not a right answer: the best scores, in order; with the index, ties in any order."""
        close = SAME if exact else CLOSE
        wanted = [score for score, _ in self.candidates[: self.k]]
        assert len(ids) == len(set(ids)) == len(wanted), f"got {list(ids)}, expected {self.ids}"
        assert all(math.isclose(a, b, abs_tol=close) for a, b in zip(scores, wanted, strict=True)), (scores, wanted)
        true = {head.name: score for score, head in self.candidates}
        for name, score in zip(ids, scores, strict=True):
            assert name in true, f"{name} is no candidate"
            assert math.isclose(true[name], score, abs_tol=close), (name, true[name], score)
        assert not exact or list(ids) == self.ids


def search(oracle: Oracle, view: View, collection: str, vector: Sequence[float], k: int, where: Any = None) -> Ranked:
    """Rank the heads that lie in the space that the view's embedder spans."""
    metric = oracle.metrics[collection]
    embedder_head = oracle.present(view, "artifacts", "").get(oracle.embedders[collection])
    embedder = embedder_head.value if embedder_head else None
    heads = oracle.heads(view, "vectors", collection)
    history = {
        name: [w for w in oracle.visible(view) if (w.store, w.space, w.name) == ("vectors", collection, name)]
        for name in heads
    }
    fitting = [
        (similarity(metric, vector, row.value.vector), row)
        for writes in history.values()
        for row in writes
        if not row.deleted and row.value.embedder == embedder and matches(row.value.payload, where)
    ]
    fitting.sort(key=place)
    candidates = [(score, row) for score, row in fitting if heads[row.name] is row]
    last = candidates[k - 1][0] if k <= len(candidates) else -math.inf
    last_place = place(candidates[k - 1]) if k <= len(candidates) else (math.inf, "")
    settled = oracle.world(view.upto).settled
    read: list[Names] = []
    pushed_out: list[list[Names]] = []
    tied: list[list[Names]] = []
    for score, row in fitting:
        superseding = [later.lineage - settled for later in history[row.name] if comes_after(later, row)]
        if superseding and not is_dead(row, superseding) and place((score, row)) <= last_place:
            read.append(heads[row.name].lineage - row.lineage)
        if superseding and score >= last - CLOSE:
            needed = score > last + CLOSE and not is_dead(row, superseding)
            (pushed_out if needed else tied).append([some - row.lineage for some in superseding])
    counted = [head for head in heads.values() if not head.deleted and head.value.embedder != embedder]
    gone: list[Names] = []
    for row in (w for writes in history.values() for w in writes if not w.deleted and w.value.embedder != embedder):
        superseding = [later.lineage - settled for later in history[row.name] if comes_after(later, row)]
        if superseding:
            (tied if is_dead(row, superseding) else pushed_out).append([some - row.lineage for some in superseding])
            gone.append(row.lineage)
            if not is_dead(row, superseding):
                read += [some - row.lineage for some in superseding if not any(other < some for other in superseding)]
    sure = NOBODY.union(*(head.lineage for head in (*counted, *([embedder_head] if embedder_head else []))))
    return Ranked(
        candidates,
        k,
        unembedded=len(counted),
        read=sure.union(*read),
        sure=sure,
        pushed_out=pushed_out,
        at_most=NOBODY.union(*gone, *(lineage for some in (*pushed_out, *tied) for lineage in some)),
    )


def place(scored: tuple[float, Write]) -> tuple[float, str]:
    """Return what candidates are ordered by: their score, then their id. Sums of equal values may differ in noise."""
    mantissa, exponent = math.frexp(scored[0])
    return -math.ldexp(round(mantissa * 2**40), exponent - 40), scored[1].name


def comes_after(later: Write, row: Write) -> bool:
    """Say whether one write to a key supersedes another."""
    return (later.rank, later.position) > (row.rank, row.position)


def is_dead(row: Write, superseding: Sequence[Names]) -> bool:
    """Say whether a row is superseded in every view that sees it: compaction may have removed it."""
    return any(lineage <= row.lineage for lineage in superseding)


def similarity(metric: str, a: Sequence[float], b: Sequence[float]) -> float:
    """Greater is nearer: cosine, dot product, or the negative squared distance for l2; of float32 vectors."""
    pairs = list(zip(map(single, a), map(single, b), strict=True))
    if metric == "l2":
        return -math.fsum((x - y) ** 2 for x, y in pairs)
    dot = math.fsum(x * y for x, y in pairs)
    return dot if metric == "dot" else dot / (math.hypot(*(x for x, _ in pairs)) * math.hypot(*(y for _, y in pairs)))


def single(number: float) -> float:
    """Return a number as float32 holds it."""
    return float(struct.unpack("f", struct.pack("f", number))[0])


def matches(payload: Any, where: Any) -> bool:
    """Say whether a payload passes a filter: all parts must hold, and an absent field fails."""
    if where is None:
        return True
    return all(_holds(payload, part, wanted) for part, wanted in where.items())


def _values_at(payload: Any, path: str) -> list[Any]:
    """Return the value at a path in a list, or nothing: a key that is the whole path wins over a nested one."""
    if not isinstance(payload, Mapping):
        return []
    if path in payload:
        return [payload[path]]
    first, dot, rest = path.partition(".")
    return _values_at(payload.get(first), rest) if dot else []


def _holds(payload: Any, part: str, wanted: Any) -> bool:
    if part in ("and", "or"):
        return (all if part == "and" else any)(matches(payload, inner) for inner in wanted)
    found = _values_at(payload, part)
    if not found:
        return False
    value = found[0]
    if not isinstance(wanted, Mapping):
        return bool(value == wanted)
    tests: dict[str, Callable[[Any], Any]] = {
        "in": lambda bound: value in bound,
        "eq": lambda bound: value == bound,
        "ne": lambda bound: value != bound,
        "gt": lambda bound: value > bound,
        "gte": lambda bound: value >= bound,
        "lt": lambda bound: value < bound,
        "lte": lambda bound: value <= bound,
    }
    return all(tests[name](bound) for name, bound in wanted.items())
