"""Vector reader of PostgreSQL: search by pgvector or by a scan, with the view as a set of states.

The database returns the nearest rows in the states that the view sees; they are scored again in float64. Without
pgvector, or for lengths that pgvector cannot compare (`vector_type.are_plain`), rows are fetched and compared here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np

from kedge.backends.postgres.contested_rows import ContestedRows
from kedge.backends.postgres.database import Database
from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.reads import Reader, check_epoch
from kedge.backends.postgres.sql import queries
from kedge.backends.postgres.states import States
from kedge.backends.postgres.vector_rows import VectorRows, collection_of
from kedge.backends.postgres.vector_type import (
    DISTANCES,
    INDEXED_DIM_MAX,
    OPERATORS,
    Vector,
    are_plain,
    as_floats,
    lower_bound,
    score_beyond,
)
from kedge.errors import PastUnreadable
from kedge.model.compaction import check_readable
from kedge.model.filters import matches
from kedge.model.lineage import Lineage
from kedge.model.ranking import ScoredRow, best, is_enough, may_rank, without_own
from kedge.model.scores import score_exactly
from kedge.model.states import RowClass, State, deciding
from kedge.model.visibility import View
from kedge.model.writes import Head, Key, decode
from kedge.ports.vectors import Collection, Floats, Found, Ints, Search, SpaceHeads, Tally

_SQL = queries("vectors")
_COMPACTION = queries("compaction")
_EPOCH = queries("journal")["epoch"]
_EXACT_ROWS = 10_000  # up to so many visible rows, a search is exact
_EFFORT_MIN, _EFFORT_MAX = 100, 1_000  # candidates of an index search; pgvector allows no more
_NEAR_MAX = 3_000  # rows that the index proposes for a filter before all rows are compared instead
_SCANNED_MAX = 100_000  # rows that an iterative index scan visits before all rows are compared instead
_MARGIN = 32  # rows scored again in float64 beyond the k request for
_SCAN_ROWS = 5_000  # fetched by one statement where the database cannot compare vectors

_RANKED = {RowClass.HEAD, RowClass.SUPERSEDED, RowClass.CONTESTED}  # a superseded row tells what replaced it


class Request(msgspec.Struct, frozen=True):
    """The arguments of a search."""

    view: View
    collection: Collection
    space: str
    vector: Floats
    k: int
    where: Mapping[str, Any] | None
    exact: bool


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A row that may rank among the best."""

    row_class: RowClass
    seq: int
    name: str
    rank: int
    lineage: int
    vector: bytes
    distance: float = np.inf  # as the database ranks it


class Ranked(msgspec.Struct, frozen=True):
    """The nearest rows. `whole`: these are all visible rows. `exact`: every visible row was compared.

    If `exact`, no row that is left out scores more than `beyond`.
    """

    rows: list[Candidate]
    whole: bool
    exact: bool
    beyond: float = -np.inf


class SearchedSpace(msgspec.Struct, frozen=True):
    """The embedding space to search: whether the database can compare all its vectors, and has an index on them."""

    ident: int = 0
    dim: int = 0
    is_plain: bool = True
    is_indexed: bool = False


class OtherSpaces(msgspec.Struct, frozen=True):
    """The embedding spaces that are not searched: the number of their heads, and the lineages that decide it."""

    heads: int
    lineages: frozenset[Lineage]


class PostgresVectors:
    """The `VectorReader` and `VectorIndexer` of one PostgreSQL database."""

    def __init__(
        self, database: Database, interner: Interner, states: States, reader: Reader, writer: VectorRows
    ) -> None:
        self._database = database
        self._interner = interner
        self._states = states
        self._reader = reader
        self._writer = writer
        self._contested = ContestedRows(interner, reader)

    # ── collections ──

    def collection(self, name: str) -> Collection | None:
        """Return a collection, or None."""
        rows = self._database.ask(_SQL["collection"], name)
        return collection_of(rows[0]) if rows else None

    def collections(self) -> list[Collection]:
        """Return all collections by name."""
        return [collection_of(row) for row in self._database.ask(_SQL["collections"])]

    def dim(self, collection: str, space: str) -> int | None:
        """Return the dimension of an embedding space, or None if nothing was written to it."""
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
        request = Request(view, collection, space, query, k, where, exact)

        def look(link: Link) -> Search:
            check_epoch(link.send(_EPOCH), view)
            self._interner.space(link, "vectors", collection.name)  # cached from here on
            embeddings = link.rows(_SQL["embeddings"], collection.name)
            searched = next((SearchedSpace(ident, *rest) for ident, name, *rest in embeddings if name == space), None)
            others = [ident for ident, name, *_ in embeddings if name != space]
            at_seq = self._reader.last_seq(link)
            if view.upto is None:
                elsewhere, batches = self._present(link, request, searched or SearchedSpace(), others)
            else:
                elsewhere, batches = self._past(link, request, searched or SearchedSpace(), others)
            if searched is None:
                return Search([], [], elsewhere.heads, elsewhere.lineages, exact=True, at_seq=at_seq)
            return self._choose(link, request, elsewhere, batches, at_seq)

        return self._database.read(look)

    def _present(
        self, link: Link, request: Request, searched: SearchedSpace, others: list[int]
    ) -> tuple[OtherSpaces, Iterator[Ranked]]:
        view, counts = request.view, link.rows(_SQL["state_counts"], request.collection.name)
        classes = self._states.classes(link, view, {state for _, state, _ in counts})
        elsewhere = self._elsewhere(link, request, [row for row in counts if row[0] in others])
        here = {state: rows for embedding, state, rows in counts if embedding == searched.ident}
        shown = [state for state in here if classes[state] in _RANKED]

        def as_candidates(found: list[tuple[Any, ...]]) -> list[Candidate]:
            return [Candidate(classes[state], seq, *row) for seq, state, *row in found]

        def rows(name: str, *last: Any) -> list[Candidate]:
            return as_candidates(link.rows(self._statement(name, request, searched), searched.ident, shown, *last))

        def near(query: Vector, wanted: int) -> list[Candidate]:
            link.send(_SQL["settings"], str(min(_EFFORT_MAX, 2 * wanted)), str(_SCANNED_MAX))
            return as_candidates(
                link.rows(self._filled("nearest_by_index", request.collection, searched), shown, query, wanted)
            )

        ranked = sum(here[state] for state in shown)
        heads = sum(here[state] for state in shown if classes[state] is RowClass.HEAD)
        is_worth_it = searched.is_indexed and ranked > _EXACT_ROWS and not request.exact
        share = ranked / max(1, heads)
        return elsewhere, self._ranked(request, searched, rows, "", near if is_worth_it else None, share)

    def _elsewhere(self, link: Link, request: Request, counts: list[tuple[int, int, int]]) -> OtherSpaces:
        """Return what the embedding spaces of these counts (embedding, state, rows) hold."""
        view, members = request.view, partial(self._interner.members, link)
        states = {state for _, state, _ in counts}
        known, classes = self._states.learn(link, states), self._states.classes(link, view, states)
        heads = sum(rows for _, state, rows in counts if classes[state] is RowClass.HEAD)
        kinds: set[State] = {known[state] for state in states if classes[state] is not RowClass.CONTESTED}
        contested = [state for state in states if classes[state] is RowClass.CONTESTED]
        if contested:
            asked = (list({embedding for embedding, _, _ in counts}), contested)
            seqs = [row[0] for row in link.rows(_SQL["rows_in_contested"], *asked)]
            for _, lineage, is_superseded, above in self._contested.newer(
                link, view, request.collection, seqs, of_all=True
            ):
                heads += not is_superseded
                kinds.add((lineage, tuple(sorted(above))))
        found: set[Lineage] = set()
        for lineage, superseders in kinds:
            found |= deciding(view, members(lineage), map(members, superseders or ()))
        return OtherSpaces(heads, frozenset(found))

    def _resolved(
        self, link: Link, request: Request, rows: list[Candidate], newest: dict[str, Head]
    ) -> list[Candidate]:
        """Return candidates without contested ones: the heads of their keys, added to `newest`, tell what these are."""
        contested = [(row.seq, row.name, row.rank, row.lineage) for row in rows if row.row_class is RowClass.CONTESTED]
        if not contested:
            return rows
        classes = self._contested.classes(link, request.view, request.collection, contested, newest)
        resolved = (
            msgspec.structs.replace(row, row_class=classes[row.seq]) if row.seq in classes else row for row in rows
        )
        return [row for row in resolved if row.row_class is not RowClass.DEAD]

    def _past(
        self, link: Link, request: Request, searched: SearchedSpace, others: list[int]
    ) -> tuple[OtherSpaces, Iterator[Ranked]]:
        view = request.view
        _check_readable(link, view, request.collection.name)
        lineages = self._reader.lineages_in(link, view, "vectors", request.collection.name)
        heads = link.rows(_SQL["heads_then"], others, view.upto, lineages) if others else []
        elsewhere = OtherSpaces(len(heads), frozenset())  # no turn reads the past

        def rows(name: str, *last: Any) -> list[Candidate]:
            found = link.rows(self._statement(name, request, searched), searched.ident, lineages, *last, view.upto)
            seqs = [row[0] for row in found]
            gone = {row[0] for row in link.rows(_SQL["superseded_then"], seqs, view.upto, lineages)}
            return [
                Candidate(RowClass.SUPERSEDED if seq in gone else RowClass.HEAD, seq, *row) for seq, _, *row in found
            ]

        return elsewhere, self._ranked(request, searched, rows, "_then")

    def _statement(self, name: str, request: Request, searched: SearchedSpace) -> bytes:
        nearness = lower_bound(request.collection.metric, searched.dim)
        return self._writer.sql(name).replace(b"{nearness}", nearness.encode())

    def _filled(self, name: str, collection: Collection, searched: SearchedSpace) -> bytes:
        metric = collection.metric
        fields = {"embedding": str(searched.ident), "dim": str(searched.dim), "distance": DISTANCES[metric]}
        fields["operators"] = OPERATORS[metric]
        sql = _SQL[name].decode()
        for field, text in fields.items():
            sql = sql.replace("{" + field + "}", text)
        return sql.encode()

    def _ranked(
        self,
        request: Request,
        searched: SearchedSpace,
        rows: Callable[..., list[Candidate]],
        when: str,
        near: Callable[[Vector, int], list[Candidate]] | None = None,
        rows_a_head: float = 1.0,
    ) -> Iterator[Ranked]:
        """Yield ever longer lists of the nearest rows, up to all visible ones: by the index, while it finds enough.

        The first one is as long as is likely to hold enough heads, within limits.
        """
        least = request.k + _MARGIN
        wanted = least if near else min(16 * least, int(1.5 * request.k * rows_a_head) + _MARGIN)
        query = request.vector
        length = float(np.linalg.norm(query.astype(np.float64)))
        if request.collection.metric != "l2":
            query = query / (length or 1.0)  # this changes no order, and no product overflows
        if not (self._writer.is_typed and searched.is_plain and are_plain(query[None, :])):
            yield from self._scanned(request, rows, when)
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
            if len(found) < wanted:
                yield Ranked(found, whole=True, exact=True)
                return
            beyond = score_beyond(request.collection.metric, searched.dim, found[-1].distance, length)
            yield Ranked(found, whole=False, exact=True, beyond=beyond)
            wanted *= 4

    def _scanned(self, request: Request, rows: Callable[..., list[Candidate]], when: str) -> Iterator[Ranked]:
        """Fetch all visible rows, a part at a time, and keep the nearest."""
        wanted = request.k + _MARGIN
        while True:
            kept: list[tuple[float, Candidate]] = []
            last, beyond = 0, -np.inf
            while part := rows("scan" + when, last, _SCAN_ROWS):
                scores = score_exactly(
                    as_floats([row.vector for row in part]), request.vector, request.collection.metric
                )
                kept += zip(scores.tolist(), part, strict=True)
                kept.sort(key=lambda scored: -scored[0])
                beyond = max([beyond, *(score for score, _ in kept[wanted : wanted + 1])])
                del kept[wanted:]
                last = part[-1].seq
            yield Ranked([row for _, row in kept], whole=beyond == -np.inf, exact=True, beyond=beyond)
            wanted *= 4

    def _choose(
        self, link: Link, request: Request, elsewhere: OtherSpaces, batches: Iterator[Ranked], at_seq: int
    ) -> Search:
        heads: dict[int, Head] = {}
        newest: dict[str, Head] = {}  # by name, without payloads
        while True:
            batch = next(batches)
            rows = self._resolved(link, request, batch.rows, newest)
            if request.where is not None:
                self._fetch(link, request, rows, heads)
                rows = [row for row in rows if _passes(heads.get(row.seq), request.where)]
            scores = score_exactly(_matrix(rows, request), request.vector, request.collection.metric)
            is_head = np.array([row.row_class is RowClass.HEAD for row in rows], bool)
            if batch.whole or (
                is_enough(scores, is_head, request.k, batch.beyond)
                if batch.exact
                else np.count_nonzero(is_head) >= request.k + _MARGIN // 2
            ):
                break
        chosen = np.flatnonzero(may_rank(scores, is_head, request.k)).tolist()
        self._fetch(link, request, [rows[place] for place in chosen if is_head[place]], heads)
        self._interner.load(link, {rows[place].lineage for place in chosen})
        ranked = []
        for place in chosen:
            row, lineage = rows[place], self._interner.members(link, rows[place].lineage)
            ranked.append(
                ScoredRow(row.name, lineage, float(scores[place]), heads[row.seq] if is_head[place] else None)
            )
        found = best(ranked, request.k)
        hits = [Found(head, score) for head, score in found.hits]
        superseders: list[Head] = []
        if found.superseded and request.view.upto is None:  # no turn reads the past
            gone = sorted(found.superseded)
            missing = [name for name in gone if name not in newest]
            if missing:
                newest |= self._reader.heads_in(
                    link, request.view, "vectors", request.collection.name, missing, payloads=False
                )
            superseders = without_own({name: newest[name] for name in gone if name in newest}, found.superseded)
        return Search(hits, superseders, elsewhere.heads, elsewhere.lineages, exact=batch.exact, at_seq=at_seq)

    def _fetch(self, link: Link, request: Request, rows: Sequence[Candidate], heads: dict[int, Head]) -> None:
        """Read the writes of the rows that are not in `heads` yet."""
        wanted = [row.seq for row in rows if row.seq not in heads]
        if not wanted:
            return
        for seq, name, lineage, rank, source, at, fresh_for, payload in link.rows(_SQL["writes"], wanted):
            heads[seq] = Head(
                key=Key("vectors", request.collection.name, name), seq=seq, rank=rank, deleted=False,
                lineage_id=lineage, lineage=self._interner.members(link, lineage), source=source, at=at,
                fresh_for=fresh_for, payload=payload,
            )  # fmt: skip

    def optimize(self, collection: Collection, progress: Callable[[int, int], None] | None = None) -> int:
        """Index large embedding spaces while others work; return the number of indexed rows.

        Later writes are indexed as they come. Without pgvector, or beyond its dimensions, nothing is indexed.
        """
        indexed = 0
        for ident, _, *rest in self._database.ask(_SQL["embeddings"], collection.name):
            searched = SearchedSpace(ident, *rest)
            rows = int(self._database.ask(_SQL["rows_in"], ident)[0][0])
            can_be = self._writer.is_typed and searched.is_plain and searched.dim <= INDEXED_DIM_MAX
            if not searched.is_indexed and (rows < _EXACT_ROWS or not can_be):
                continue
            if not searched.is_indexed:
                self._database.maintain(
                    self._filled("index_drop", collection, searched), self._filled("index", collection, searched)
                )
            indexed += rows
            if progress is not None:
                progress(indexed, indexed)
        return indexed

    # ── rows ──

    def vectors(self, heads: Sequence[Head]) -> list[Floats]:
        """Return the stored vector of each of these writes, or raise `PastUnreadable` if one was erased."""
        found = dict(self._database.ask(_SQL["rows_of"], [head.seq for head in heads]))
        gone = [head for head in heads if head.seq not in found]
        if gone:
            key, seq = gone[0].key, gone[0].seq
            raise PastUnreadable(f"the vector of {key.name!r} in {key.space!r}, at seq {seq}, was purged; read again")
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
        heads, contested = self._states.standing(link, view, space)
        counts = link.rows(_SQL["heads_present"], space, list(heads))
        if contested:
            visible = self._reader.visible_in(link, view, space)
            counts += link.rows(_SQL["contested_heads_present"], space, list(contested), visible)
        lineages = {self._interner.members(link, (heads | contested)[state]) for state, _ in counts}
        lineages |= self._reader.tombstones_in(link, view, "vectors", collection)
        return Tally(sum(rows for _, rows in counts), frozenset(lineages), at_seq)

    def _tally_then(self, link: Link, view: View, collection: str, at_seq: int) -> Tally:
        _check_readable(link, view, collection)
        lineages = self._reader.lineages_in(link, view, "vectors", collection)
        embeddings = [row[0] for row in link.rows(_SQL["embeddings"], collection)]
        heads = link.rows(_SQL["heads_then"], embeddings, view.upto, lineages)
        return Tally(len(heads), frozenset(self._interner.members(link, row[2]) for row in heads), at_seq)

    def space_heads(self, view: View, collection: Collection, space: str) -> SpaceHeads:
        """Return the rows of one embedding space that are head: the rows that an iteration visits."""

        def look(link: Link) -> SpaceHeads:
            tally = self._tally(link, view, collection.name)
            embedding = link.row(_SQL["embedding"], collection.name, space)
            seqs = [] if embedding is None else self._heads_of(link, view, collection, embedding[0])
            return SpaceHeads(np.array(seqs, np.int64), tally.count - len(seqs), tally.lineages, tally.at_seq)

        return self._database.read(look)

    def _heads_of(self, link: Link, view: View, collection: Collection, embedding: int) -> list[int]:
        if view.upto is not None:
            lineages = self._reader.lineages_in(link, view, "vectors", collection.name)
            return sorted(row[1] for row in link.rows(_SQL["heads_then"], [embedding], view.upto, lineages))
        states = [state for where, state, _ in link.rows(_SQL["state_counts"], collection.name) if where == embedding]
        classes = self._states.classes(link, view, states)
        heads = [state for state in states if classes[state] is RowClass.HEAD]
        seqs = [row[0] for row in link.rows(_SQL["rows_in_states"], embedding, heads)]
        contested = [state for state in states if classes[state] is RowClass.CONTESTED]
        if contested:
            asked = [row[0] for row in link.rows(_SQL["rows_in_contested"], [embedding], contested)]
            seqs += [
                seq
                for seq, _, is_superseded, _ in self._contested.newer(link, view, collection, asked)
                if not is_superseded
            ]
        return sorted(seqs)

    def matrix(self, collection: Collection, space: str, seqs: Ints) -> tuple[Ints, Floats]:
        """Return the positions in `seqs` that are rows of an embedding space, and their vectors, read-only."""
        embedding = self._database.ask(_SQL["embedding"], collection.name, space)
        found = self._database.ask(_SQL["matrix"], seqs.tolist(), embedding[0][0]) if embedding else []
        if not found:
            return np.empty(0, np.int64), np.empty((0, collection.dim), np.float32)
        places, rows = zip(*found, strict=True)
        return np.array(places, np.int64), as_floats(list(rows))


def _matrix(rows: Sequence[Candidate], request: Request) -> Floats:
    if not rows:
        return np.empty((0, len(request.vector)), np.float32)
    return as_floats([row.vector for row in rows])


def _passes(head: Head | None, where: Mapping[str, Any]) -> bool:
    return head is not None and matches(decode(head.payload), where)


def _check_readable(link: Link, view: View, collection: str) -> None:
    """Raise `PastUnreadable` if a compaction has removed rows that this past view would show."""
    if view.upto is not None and link.row(_COMPACTION["is_snapshot"], view.upto) is None:
        check_readable(view.upto, link.one(_COMPACTION["reclaimed"], collection)[0])
