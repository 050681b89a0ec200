"""Searching vectors: the view is a set of states, and what is found is scored again in float64."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from kedge.backends.postgres.database import Database
from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.reads import Reader, check_epoch
from kedge.backends.postgres.sql import queries
from kedge.backends.postgres.states import States
from kedge.backends.postgres.vector_rows import VectorRows, collection_of
from kedge.backends.postgres.vector_type import DISTANCES, INDEXED_DIM_MAX, OPERATORS, Vector, are_plain, as_floats
from kedge.errors import PastUnreadable
from kedge.model.filters import matches
from kedge.model.lineage import Lineage
from kedge.model.scores import score_exactly
from kedge.model.states import State
from kedge.model.visibility import View
from kedge.model.writes import Head, Key, decode
from kedge.ports.vectors import Collection, Floats, Found, Ints, Search, SpaceHeads, Tally

_SQL = queries("vectors")
_EPOCH = queries("journal")["epoch"]
_EXACT_ROWS = 10_000  # a view that shows no more is searched exactly
_EFFORT_MIN, _EFFORT_MAX = 100, 1_000  # candidates: the most is what pgvector takes
_NEAR_MAX = 3_000  # rows that a filter may have the index bring: then all are compared
_SCANNED_MAX = 100_000  # rows that an iterative scan looks at before it gives up: then all are compared
_MARGIN = 32  # rows scored again in float64 beyond the k asked for
_SCAN_ROWS = 5_000  # that one statement brings where the database cannot compare vectors itself

# What a row is in a view: head; seen, but a write that could be rolled back took its place; not seen, or gone.
HEAD, SUPERSEDED, HIDDEN = 1, 2, 0


class Asked(msgspec.Struct, frozen=True):
    """What is searched for, and by whom."""

    view: View
    collection: Collection
    space: str
    vector: Floats
    k: int
    where: Mapping[str, Any] | None
    exact: bool


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A row that may be among the best."""

    seq: int
    name: str
    vector: bytes
    is_head: bool


class Ranked(msgspec.Struct, frozen=True):
    """The nearest rows; `whole`: there are no more that the view shows. `exact`: every row was compared."""

    rows: list[Candidate]
    whole: bool
    exact: bool


class Here(msgspec.Struct, frozen=True):
    """The embedding space that is searched: whether the database can compare all its vectors, and has them indexed."""

    ident: int = 0
    dim: int = 0
    is_plain: bool = True
    is_indexed: bool = False


class Around(msgspec.Struct, frozen=True):
    """What lies in the embedding spaces that are not searched: how many heads, and the lineages that decide it."""

    heads: int
    lineages: frozenset[Lineage]


class PostgresVectors:
    """The vectors of one PostgreSQL database."""

    def __init__(
        self, database: Database, interner: Interner, states: States, reader: Reader, writer: VectorRows
    ) -> None:
        self._database = database
        self._interner = interner
        self._states = states
        self._reader = reader
        self._writer = writer

    # ── collections ──

    def collection(self, name: str) -> Collection | None:
        """Return a collection, or None."""
        rows = self._database.ask(_SQL["collection"], name)
        return collection_of(rows[0]) if rows else None

    def collections(self) -> list[Collection]:
        """Return all collections by name."""
        return [collection_of(row) for row in self._database.ask(_SQL["collections"])]

    def dim(self, collection: str, space: str) -> int | None:
        """Return the dimension of an embedding space, or None where nothing was written to it."""
        rows = self._database.ask(_SQL["embedding"], collection, space)
        return int(rows[0][1]) if rows else None

    # ── search ──

    def search(
        self,
        view: View,
        collection: Collection,
        space: str,
        query: Floats,
        k: int,
        where: Mapping[str, Any] | None,
        *,
        exact: bool = False,
    ) -> Search:
        """Return the `k` best rows of one embedding space for a query of shape (dim,)."""
        asked = Asked(view, collection, space, query, k, where, exact)

        def look(link: Link) -> Search:
            check_epoch(link.send(_EPOCH), view)
            embeddings = link.rows(_SQL["embeddings"], collection.name)
            here = next((Here(ident, *rest) for ident, name, *rest in embeddings if name == space), None)
            others = [ident for ident, name, *_ in embeddings if name != space]
            at_seq = self._reader.last_seq(link)
            if view.upto is None:
                around, batches = self._present(link, asked, here or Here(), others)
            else:
                around, batches = self._past(link, asked, here or Here(), others)
            if here is None:
                return Search([], [], around.heads, around.lineages, exact=True, at_seq=at_seq)
            return self._choose(link, asked, around, batches, at_seq)

        return self._database.read(look)

    def _present(self, link: Link, asked: Asked, here: Here, others: list[int]) -> tuple[Around, Iterator[Ranked]]:
        counts = link.rows(_SQL["state_counts"], asked.collection.name)
        known = self._states.learn(link, [state for _, state, _ in counts])
        classes = {state: self._class_of(link, asked.view, known[state]) for _, state, _ in counts}
        heads = sum(rows for embedding, state, rows in counts if embedding in others and classes[state] == HEAD)
        states = {state for embedding, state, _ in counts if embedding in others}
        around = Around(heads, self._lineages_of(link, asked.view, [known[state] for state in states]))
        shown = [state for embedding, state, _ in counts if embedding == here.ident and classes[state] != HIDDEN]

        def as_candidates(found: list[tuple[Any, ...]]) -> list[Candidate]:
            return [Candidate(seq, key, vector, classes[state] == HEAD) for seq, state, key, vector in found]

        def rows(name: str, *last: Any) -> list[Candidate]:
            return as_candidates(link.rows(self._statement(name, asked), here.ident, shown, *last))

        def near(query: Vector, wanted: int) -> list[Candidate]:
            link.send(_SQL["settings"], str(min(_EFFORT_MAX, 2 * wanted)), str(_SCANNED_MAX))
            return as_candidates(
                link.rows(self._filled("nearest_by_index", asked.collection, here), shown, query, wanted)
            )

        ranked = sum(rows for embedding, state, rows in counts if embedding == here.ident and state in shown)
        is_worth_it = here.is_indexed and ranked > _EXACT_ROWS and not asked.exact
        return around, self._ranked(asked, here, rows, "", near if is_worth_it else None)

    def _past(self, link: Link, asked: Asked, here: Here, others: list[int]) -> tuple[Around, Iterator[Ranked]]:
        view = asked.view
        lineages = self._reader.lineages_in(link, view, "vectors", asked.collection.name)
        heads = link.rows(_SQL["heads_then"], others, view.upto, lineages) if others else []
        members = frozenset(self._interner.members(link, lineage) for lineage in lineages)
        around = Around(len(heads), frozenset(m for m in members if others and not m <= view.settled))

        def rows(name: str, *last: Any) -> list[Candidate]:
            found = link.rows(self._statement(name, asked), here.ident, lineages, *last, view.upto)
            seqs = [row[0] for row in found]
            gone = {row[0] for row in link.rows(_SQL["superseded_then"], seqs, view.upto, lineages)}
            return [Candidate(seq, key, vector, seq not in gone) for seq, _, key, vector in found]

        return around, self._ranked(asked, here, rows, "_then")

    def _statement(self, name: str, asked: Asked) -> bytes:
        return self._writer.sql(name).replace(b"{distance}", DISTANCES[asked.collection.metric].encode())

    def _filled(self, name: str, collection: Collection, here: Here) -> bytes:
        metric = collection.metric
        fields = {"embedding": str(here.ident), "dim": str(here.dim), "distance": DISTANCES[metric]}
        fields["operators"] = OPERATORS[metric]
        sql = _SQL[name].decode()
        for field, text in fields.items():
            sql = sql.replace("{" + field + "}", text)
        return sql.encode()

    def _ranked(
        self,
        asked: Asked,
        here: Here,
        rows: Callable[..., list[Candidate]],
        when: str,
        near: Callable[[Vector, int], list[Candidate]] | None = None,
    ) -> Iterator[Ranked]:
        """Yield ever more of the nearest rows, until the view shows no more: by the index, while that finds enough."""
        wanted = asked.k + _MARGIN
        query = asked.vector
        if asked.collection.metric == "cosine":
            query = query / np.linalg.norm(query.astype(np.float64))  # no order changes, and no product is too large
        if not (self._writer.is_typed and here.is_plain and are_plain(query[None, :])):
            yield from self._scanned(asked, rows, when)
            return
        sent = Vector(query.astype("<f4").tobytes())
        while near is not None and wanted <= _NEAR_MAX:
            found = near(sent, wanted)
            if len(found) < wanted:
                break
            yield Ranked(found, whole=False, exact=False)
            wanted *= 4
        while True:
            found = rows("nearest" + when, sent, wanted)
            yield Ranked(found, whole=len(found) < wanted, exact=True)
            wanted *= 4

    def _scanned(self, asked: Asked, rows: Callable[..., list[Candidate]], when: str) -> Iterator[Ranked]:
        """Bring all rows that the view shows, a part at a time, and keep the nearest."""
        wanted = asked.k + _MARGIN
        while True:
            best: list[tuple[float, Candidate]] = []
            last, is_whole = 0, True
            while part := rows("scan" + when, last, _SCAN_ROWS):
                scores = score_exactly(as_floats([row.vector for row in part]), asked.vector, asked.collection.metric)
                best += zip(scores.tolist(), part, strict=True)
                best.sort(key=lambda scored: -scored[0])
                is_whole = is_whole and len(best) <= wanted
                del best[wanted:]
                last = part[-1].seq
            yield Ranked([row for _, row in best], whole=is_whole, exact=True)
            wanted *= 4

    def _choose(self, link: Link, asked: Asked, around: Around, batches: Iterator[Ranked], at_seq: int) -> Search:
        heads: dict[int, Head] = {}
        while True:
            best = next(batches)
            rows = best.rows
            if asked.where is not None:
                self._fetch(link, asked, rows, heads)
                rows = [row for row in rows if _passes(heads.get(row.seq), asked.where)]
            if sum(row.is_head for row in rows) >= asked.k + _MARGIN // 2 or best.whole:
                break
        scores = self._scores(asked, rows)
        ordered = sorted((scores[row.seq] for row in rows if row.is_head), reverse=True)
        floor = ordered[asked.k - 1] if len(ordered) >= asked.k else float("-inf")
        chosen = [row for row in rows if scores[row.seq] >= floor]
        self._fetch(link, asked, chosen, heads)
        hits = [Found(heads[row.seq], scores[row.seq]) for row in chosen if row.is_head]
        hits.sort(key=lambda hit: (-hit.score, hit.head.key.name))
        gone = {row.name for row in chosen if not row.is_head}
        over = self._reader.heads_in(link, asked.view, "vectors", asked.collection.name, sorted(gone)) if gone else {}
        return Search(
            hits[: asked.k], list(over.values()), around.heads, around.lineages, exact=best.exact, at_seq=at_seq
        )

    def _scores(self, asked: Asked, rows: Sequence[Candidate]) -> dict[int, float]:
        if not rows:
            return {}
        found = score_exactly(as_floats([row.vector for row in rows]), asked.vector, asked.collection.metric)
        return dict(zip((row.seq for row in rows), found.tolist(), strict=True))

    def _class_of(self, link: Link, view: View, state: State) -> int:
        lineage, superseders = state
        if not view.sees(self._interner.members(link, lineage)):
            return HIDDEN
        by = [self._interner.members(link, other) for other in superseders]
        visible = [members for members in by if view.sees(members)]
        if not visible:
            return HEAD
        return HIDDEN if any(members <= view.settled for members in visible) else SUPERSEDED

    def _lineages_of(self, link: Link, view: View, states: Sequence[State]) -> frozenset[Lineage]:
        """Return the revocable lineages that decide which rows in these states are head."""
        members = self._interner.members
        found: set[Lineage] = set()
        for own, superseders in states:
            if view.sees(members(link, own)):
                seen = [members(link, other) for other in superseders]
                found |= {members(link, own)} | {other for other in seen if view.sees(other)}
        return frozenset(lineage for lineage in found if not lineage <= view.settled)

    def _fetch(self, link: Link, asked: Asked, rows: Sequence[Candidate], heads: dict[int, Head]) -> None:
        """Look up the writes of those rows that are not among `heads` yet."""
        wanted = [row.seq for row in rows if row.seq not in heads]
        if not wanted:
            return
        for seq, name, lineage, rank, source, at, fresh_for, payload in link.rows(_SQL["writes"], wanted):
            heads[seq] = Head(
                key=Key("vectors", asked.collection.name, name), seq=seq, rank=rank, deleted=False, lineage_id=lineage,
                lineage=self._interner.members(link, lineage), source=source, at=at, fresh_for=fresh_for,
                payload=payload,
            )  # fmt: skip

    def optimize(self, collection: Collection, progress: Callable[[int, int], None] | None = None) -> int:
        """Have large embedding spaces indexed, while others read and write; return how many rows are indexed then.

        What is written afterwards is indexed as it comes. Without pgvector, or beyond its dimensions, nothing is.
        """
        indexed = 0
        for ident, _, *rest in self._database.ask(_SQL["embeddings"], collection.name):
            here = Here(ident, *rest)
            rows = int(self._database.ask(_SQL["rows_in"], ident)[0][0])
            can_be = self._writer.is_typed and here.is_plain and here.dim <= INDEXED_DIM_MAX
            if not here.is_indexed and (rows < _EXACT_ROWS or not can_be):
                continue
            if not here.is_indexed:
                self._database.maintain(
                    self._filled("index_drop", collection, here), self._filled("index", collection, here)
                )
            indexed += rows
            if progress is not None:
                progress(indexed, indexed)
        return indexed

    # ── rows ──

    def vectors(self, heads: Sequence[Head]) -> list[Floats]:
        """Return the stored vector of each of these vector writes, or raise `PastUnreadable` where it was erased."""
        found = dict(self._database.ask(_SQL["rows_of"], [head.seq for head in heads]))
        gone = [head for head in heads if head.seq not in found]
        if gone:
            key, seq = gone[0].key, gone[0].seq
            raise PastUnreadable(f"the vector of {key.name!r} in {key.space!r}, at seq {seq}, was purged meanwhile")
        return [np.frombuffer(found[head.seq], np.float32).copy() for head in heads]

    def tally(self, view: View, collection: str) -> Tally:
        """Count the keys present in a collection, over all embedding spaces."""
        return self._database.read(lambda link: self._tally(link, view, collection))

    def _tally(self, link: Link, view: View, collection: str) -> Tally:
        check_epoch(link.send(_EPOCH), view)
        at_seq = self._reader.last_seq(link)
        space = self._interner.space(link, "vectors", collection)
        if space is None:
            return Tally(0, frozenset(), at_seq)
        if view.upto is not None:
            return self._tally_then(link, view, collection, at_seq)
        standing = dict(self._states.heads(link, view, space))
        counts = link.rows(_SQL["heads_present"], space, list(standing))
        lineages = {self._interner.members(link, standing[state]) for state, _ in counts}
        lineages |= self._reader.tombstones_in(link, view, "vectors", collection)
        return Tally(sum(rows for _, rows in counts), frozenset(lineages), at_seq)

    def _tally_then(self, link: Link, view: View, collection: str, at_seq: int) -> Tally:
        lineages = self._reader.lineages_in(link, view, "vectors", collection)
        embeddings = [row[0] for row in link.rows(_SQL["embeddings"], collection)]
        heads = link.rows(_SQL["heads_then"], embeddings, view.upto, lineages)
        return Tally(len(heads), frozenset(self._interner.members(link, row[2]) for row in heads), at_seq)

    def space_heads(self, view: View, collection: Collection, space: str) -> SpaceHeads:
        """Return the rows of one embedding space that are head: what an iteration goes through."""

        def look(link: Link) -> SpaceHeads:
            tally = self._tally(link, view, collection.name)
            embedding = link.row(_SQL["embedding"], collection.name, space)
            seqs = [] if embedding is None else self._heads_of(link, view, collection.name, embedding[0])
            return SpaceHeads(np.array(seqs, np.int64), tally.count - len(seqs), tally.lineages, tally.at_seq)

        return self._database.read(look)

    def _heads_of(self, link: Link, view: View, collection: str, embedding: int) -> list[int]:
        if view.upto is not None:
            lineages = self._reader.lineages_in(link, view, "vectors", collection)
            return sorted(row[1] for row in link.rows(_SQL["heads_then"], [embedding], view.upto, lineages))
        counts = link.rows(_SQL["state_counts"], collection)
        known = self._states.learn(link, [state for _, state, _ in counts])
        states = [
            state for where, state, _ in counts if where == embedding and self._states.is_head(link, view, known[state])
        ]
        return [row[0] for row in link.rows(_SQL["rows_in_states"], embedding, states)]

    def matrix(self, collection: Collection, space: str, seqs: Ints) -> tuple[Ints, Floats]:
        """Return which of these seqs, by position, are rows of an embedding space, and their vectors, read-only."""
        embedding = self._database.ask(_SQL["embedding"], collection.name, space)
        found = self._database.ask(_SQL["matrix"], seqs.tolist(), embedding[0][0]) if embedding else []
        if not found:
            return np.empty(0, np.int64), np.empty((0, collection.dim), np.float32)
        places, rows = zip(*found, strict=True)
        return np.array(places, np.int64), as_floats(list(rows))


def _passes(head: Head | None, where: Mapping[str, Any]) -> bool:
    return head is not None and matches(decode(head.payload), where)
