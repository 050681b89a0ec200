"""Questions about the whole journal, answered from counters and indexes where there are any."""

import json
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.layout import GONE, Layout, Layouts
from kedge.backends.sqlite.lineages import Interner
from kedge.backends.sqlite.reads import Reader, check_epoch
from kedge.backends.sqlite.segments import SegmentWriter
from kedge.backends.sqlite.sql import queries
from kedge.errors import DamagedSegment
from kedge.model import reads as read_logs
from kedge.model.lineage import EMPTY
from kedge.model.reads import Reads
from kedge.model.visibility import View, newest
from kedge.model.writes import Head, Key
from kedge.ports.survey import Counted, Influenced, Looked, Source, Unfed

_SQL = queries("survey")
_VECTORS = queries("vectors")
_ERASE_SEQS = 20_000


class SqliteSurvey:
    """The survey of one SQLite database."""

    def __init__(
        self, database: Database, interner: Interner, reader: Reader, segments: SegmentWriter, layouts: Layouts
    ) -> None:
        self._database = database
        self._interner = interner
        self._reader = reader
        self._segments = segments
        self._layouts = layouts

    def _all(self, name: str, *parameters: Any) -> list[Any]:
        with self._database.connection() as connection:
            return connection.execute(_SQL[name], parameters).fetchall()

    # ── lineages and keys ──

    def lineages_with(self, numbers: Iterable[int], without: Iterable[int] = ()) -> list[int]:
        """Return the ids of all lineages that hold one of these numbers, and none of those in `without`."""
        return [row[0] for row in self._all("lineages_with", json.dumps(sorted(numbers)), json.dumps(sorted(without)))]

    def counted(self, lineages: Iterable[int]) -> list[Counted]:
        """Count the writes of these lineages by space, from the counters."""
        return [Counted(*row) for row in self._all("counted", json.dumps(list(lineages)))]

    def keys_of(self, lineages: Iterable[int], limit: int) -> tuple[list[Key], int]:
        """Return up to `limit` keys that have such a write among their newest, and how many there are in all."""
        ids = json.dumps(list(lineages))
        keys: list[Key] = []
        total = 0
        with self._database.reading() as connection:
            for space_id, store, space in connection.execute(_SQL["spaces_with"], (ids,)).fetchall():
                total += connection.execute(_SQL["count_keys_of"], (space_id, ids)).fetchone()[0]
                rows = connection.execute(_SQL["keys_of"], (space_id, ids, max(0, limit - len(keys))))
                keys += [Key(store, space, row[0]) for row in rows]
        return keys, total if len(keys) == limit else len(keys)  # a key of two lineages was counted twice

    def head_pairs(self, before: View, after: View, keys: Iterable[Key]) -> list[tuple[Head | None, Head | None]]:
        """Return each key's head in two views of the present."""
        with self._database.reading() as connection:
            return [
                (self._reader.head_in(connection, before, key), self._reader.head_in(connection, after, key))
                for key in keys
            ]

    def written_by_both(self, number: int, limit: int) -> list[str]:
        """Return keys, as store:space/name, that a deployment and others have both written."""
        return [f"{store}:{space}/{name}" for store, space, name in self._all("written_by_both", number, limit)]

    # ── turns and sources ──

    def influenced(self, lineages: Iterable[int]) -> list[Influenced]:
        """Return the turns whose lineage is one of these, in the order in which they first wrote."""
        return [
            Influenced(*row[:6], *map(bool, row[6:])) for row in self._all("influenced", json.dumps(list(lineages)))
        ]

    def turns(self, uids: Iterable[str]) -> list[Influenced]:
        """Return those of these turns that have written."""
        return [Influenced(*row) for row in self._all("turns", json.dumps(list(uids)))]

    def sources_inside(self, lineages: Iterable[int]) -> list[Source]:
        """Return the source writes that turns of these lineages made, without payloads, in order of seq."""
        return [_source(row) for row in self._all("sources_inside", json.dumps(list(lineages)))]

    def sources_of(self, turns: Iterable[int]) -> list[Source]:
        """Return the source writes that these turns made, without payloads, in order of seq."""
        return [_source(row) for row in self._all("sources_of", json.dumps(list(turns)))]

    def sources_at(self, seqs: Iterable[int]) -> list[Source]:
        """Return the source writes at these seqs, without payloads."""
        return [_source(row) for row in self._all("sources_at", json.dumps(list(seqs)))]

    def source_at(self, seq: int) -> Source | None:
        """Return the source write at a seq, with its payload, or None if what is there is no source write."""
        rows = self._all("source_at", seq)
        return _source(rows[0]) if rows else None

    def newest_messages(self, asked: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Source]:
        """Return the newest source message of each session up to a seq, without payload, where there is one."""
        with self._database.connection() as connection:
            found = {place: connection.execute(_SQL["newest_message"], place).fetchone() for place in asked}
        return {place: _source(row) for place, row in found.items() if row is not None}

    def writers_of(self, seqs: Iterable[int]) -> dict[int, Influenced]:
        """Return the turn that wrote each seq."""
        return {seq: Influenced(*row) for seq, *row in self._all("writers_of", json.dumps(list(seqs)))}

    def reads_of(self, turns: Iterable[int]) -> dict[int, list[Reads]]:
        """Return all that each of these turns has read, in the order of its writes."""
        found: dict[int, list[Reads]] = {}
        for turn, packed in self._all("reads_of", json.dumps(list(turns))):
            found.setdefault(turn, []).append(read_logs.unpack(packed))
        return found

    def replayed_upto(self, seqs: Iterable[int]) -> dict[int, int]:
        """Return the greatest turn that the replays of each input have made good, where there is one."""
        return dict(self._all("replayed_upto", json.dumps(list(seqs))))

    def mark_replayed(self, seq: int, turn: int, uid: str) -> None:
        """Record that an input was replayed for the sake of the turns up to one."""
        with self._database.writing("replayed") as connection:
            connection.execute(_SQL["mark_replayed"], (seq, turn, uid))

    # ── documents and their vectors ──

    def names_after(self, store: str, space: str, name: str, limit: int) -> list[str]:
        """Return the next `limit` names that were ever written in a space, in order, visible or not."""
        return [row[0] for row in self._all("names_after", store, space, name, limit)]

    def names_count(self, store: str, space: str) -> int:
        """Return how many names were ever written in a space."""
        return int(self._all("names_count", store, space)[0][0])

    def names_since(self, store: str, space: str, seq: int, without: Iterable[int] = ()) -> list[str]:
        """Return the names that were written in a space after a seq, save by writes of the lineages in `without`."""
        return [row[0] for row in self._all("names_since", store, space, seq, json.dumps(list(without)))]

    def embedded_in(self, heads: Iterable[Head]) -> dict[int, str]:
        """Return the embedding space of each of these vector writes, by seq."""
        return dict(self._all("embedded_in", json.dumps([head.seq for head in heads])))

    def made_of(self, collection: str, vectors: Iterable[Head]) -> dict[int, int]:
        """Return, by the seq of each vector, the seq of the version of its document that its turn had read."""
        seqs = {head.key.name: head.seq for head in vectors}
        versions: dict[str, list[int]] = {}
        for name, seq in self._all("versions", collection, json.dumps(list(seqs), ensure_ascii=False)):
            versions.setdefault(name, []).append(seq)
        batches = {seq: batch for seq, *batch in self._all("batches_of", json.dumps(list(seqs.values())))}
        read: dict[tuple[int, ...], frozenset[int]] = {}
        found: dict[int, int] = {}
        for name, vector in seqs.items():
            batch = tuple(batches[vector])
            if batch not in read:
                rows = self._all("reads_before", *batch)
                read[batch] = frozenset(read_logs.unpack(rows[0][0]).seqs if rows else ())
            used = [seq for seq in versions.get(name, ()) if seq in read[batch]]
            if used:
                found[vector] = max(used)
        return found

    def unfed(self, view: View, lineages: Iterable[int], collection: str, *, covered: bool) -> list[Unfed]:
        """Return the visible documents whose vectors are of these lineages, in order of name."""
        with self._database.reading() as connection:
            vectors = self._interner.space(connection, "vectors", collection)
            documents = self._interner.space(connection, "documents", collection)
            counted = connection.execute(_SQL["lineages_in"], (vectors, documents)).fetchall()
            seen = [row[0] for row in counted if view.sees(self._interner.members(connection, row[0]))]
            asked = (vectors, documents, json.dumps(list(lineages)), json.dumps(seen), covered)
            return [Unfed(*row) for row in connection.execute(_SQL["unfed"], asked)]

    # ── truth, by looking at everything ──

    def true_head(self, view: View, key: Key) -> Head | None:
        """Return a key's head by looking at every write to it: slow, and by no cache or index of heads."""
        with self._database.connection() as connection:
            return self._true_head(connection, view, key)

    def _true_head(self, connection: sqlite3.Connection, view: View, key: Key) -> Head | None:
        heads = []
        for row in connection.execute(_SQL["true_writes"], (key.store, key.space, key.name)).fetchall():
            lineage_id, rank, seq, deleted, source, at, fresh_for, payload, members = row
            lineage = frozenset(json.loads(members))
            if view.sees(lineage) and (view.upto is None or seq <= view.upto):
                heads.append(
                    Head(key, seq, rank, bool(deleted), lineage_id, lineage, bool(source), at, fresh_for, payload)
                )
        return newest(heads)

    def look_at(self, view: View, keys: Iterable[Key]) -> list[Looked]:
        """Return what readers get at each key beside the truth, as of one instant: by every write to it."""
        asked = list(keys)
        with self._database.reading() as connection:
            check_epoch(connection, view.epoch)
            heads = [self._reader.head_in(connection, view, key) for key in asked]
            truths = self._true_seqs(connection, view, asked)
        return [
            Looked(key, None, EMPTY, truth) if head is None else Looked(key, head.seq, head.lineage, truth)
            for key, head, truth in zip(asked, heads, truths, strict=True)
        ]

    def _true_seqs(self, connection: sqlite3.Connection, view: View, keys: list[Key]) -> list[int | None]:
        heads = [self._true_head(connection, view, key) for key in keys]
        return [None if head is None else head.seq for head in heads]

    def sample_keys(self, stores: Iterable[str], count: int) -> list[Key]:
        """Return up to `count` keys spread evenly over the journal."""
        wanted = set(stores)
        with self._database.connection() as connection:
            last = connection.execute("SELECT coalesce(max(seq), 0) FROM writes").fetchone()[0]
        keys: dict[Key, None] = {}
        for position in range(count):
            rows = self._all("key_near", position * last // count)
            if rows and rows[0][0] in wanted:
                keys[Key(*rows[0])] = None
        return list(keys)

    def vector_agreement(self, view: View, count: int) -> tuple[int, int]:
        """Compare the searchable state of up to `count` vector rows with the journal: (rows that agree, rows)."""
        with self._database.connection() as connection:
            segments = connection.execute("SELECT id, rows + gone FROM segments WHERE rows > 0").fetchall()
        agree = rows = 0
        for segment, length in segments:
            share = max(1, count // len(segments))
            step = max(1, length // share)
            for position in range(0, length, step):
                agrees = self._row_agrees(view, segment, position)
                agree += agrees is True
                rows += agrees is not None
        return agree, rows

    def _row_agrees(self, view: View, segment: int, number: int) -> bool | None:
        """Say whether the row at or after a number is as searchable as the journal has it; None if there is none."""
        with self._database.reading() as connection:
            found = connection.execute(_SQL["row_near"], (segment, number)).fetchone()
            if found is None:
                return None
            _, _, seq, state, name, space = found
            lineage, superseders = connection.execute(_VECTORS["state"], (state,)).fetchone()
            searchable = view.sees(self._interner.members(connection, lineage)) and not any(
                view.sees(self._interner.members(connection, other)) for other in json.loads(superseders)
            )
            (head,) = self._true_seqs(connection, view, [Key("vectors", space, name)])
        return bool(searchable == (head == seq))

    # ── purge ──

    def purge_reach(self, lineages: Iterable[int]) -> int | None:
        """Return the first seq of these lineages, or None where there is none."""
        found = self._all("first_seq_of_turns", json.dumps(list(lineages)))[0][0]
        return None if found is None else int(found)

    def erase(self, lineages: Iterable[int], progress: Callable[[int, int], None] | None = None) -> int:
        """Take payloads and salts away from all writes of these lineages; return how many. May be repeated."""
        ids = json.dumps(list(lineages))
        with self._database.connection() as connection:
            last = connection.execute("SELECT coalesce(max(seq), 0) FROM writes").fetchone()[0]
        erased = 0
        for first in range(0, last + 1, _ERASE_SEQS):
            upto = min(first + _ERASE_SEQS - 1, last)
            with self._database.writing("erase") as connection:
                erased += connection.execute(_SQL["erase"], (first, upto, ids)).rowcount
            if progress is not None:
                progress(upto, last)
        self._zero_vectors(ids)
        with self._database.writing("erase-heads") as connection:
            connection.execute("DELETE FROM heads WHERE lineage IN (SELECT value FROM json_each(?))", (ids,))
            connection.execute("DELETE FROM cache WHERE lineage IN (SELECT value FROM json_each(?))", (ids,))
        with self._database.connection() as connection:
            # What was erased still stands in the log of pages; where a reader holds that, the last to close takes it.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return erased

    def _zero_vectors(self, ids: str) -> None:
        while True:  # until no compaction has copied rows in the meantime
            layouts = self._layouts_now()
            try:
                self._zero_vectors_in(layouts, ids)
            except DamagedSegment:
                if self._layouts_now().keys() == layouts.keys():
                    raise
            if self._layouts_now().keys() == layouts.keys():
                return

    def _layouts_now(self) -> dict[tuple[int, int], tuple[Layout, int, int]]:
        """Return each segment's layout, dimension and committed rows, by its id and how often it was packed."""
        with self._database.reading() as connection:
            segments = connection.execute("SELECT id, packing, gone, dim, rows FROM segments").fetchall()
            return {(found[0], found[1]): (self._layouts.of(connection, *found[:3]), *found[3:]) for found in segments}

    def _zero_vectors_in(self, layouts: dict[tuple[int, int], tuple[Layout, int, int]], ids: str) -> None:
        with self._database.connection() as connection:
            rows = connection.execute(_VECTORS["rows_of_lineages"], (ids,)).fetchall()
        by_segment: dict[int, list[int]] = {}
        for segment, number in rows:
            by_segment.setdefault(segment, []).append(number)
        for layout, dim, committed in layouts.values():
            positions = layout.positions(np.array(by_segment.get(layout.segment, []), np.int64))
            if len(positions):
                self._segments.erase(layout, dim, committed, positions[positions != GONE].tolist())


def _source(row: Any) -> Source:
    store, space, name, seq, rank, at, agent, person, session, turn, payload = row
    return Source(Key(store, space, name), seq, rank, at, agent, person, session, turn, payload)
