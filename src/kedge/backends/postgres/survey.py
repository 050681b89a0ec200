"""Questions about the whole journal, answered from counters and indexes where there are any."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.lanes import ALL
from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.reads import Reader, check_epoch
from kedge.backends.postgres.sql import queries
from kedge.backends.postgres.states import States
from kedge.model import reads as read_logs
from kedge.model.lineage import EMPTY, Lineage
from kedge.model.reads import Reads
from kedge.model.visibility import View, newest
from kedge.model.writes import Head, Key
from kedge.ports.survey import Counted, Influenced, Looked, Source, Unfed

_SQL = queries("survey")
_JOURNAL = queries("journal")
_ERASE_SEQS = 20_000
_ERASE_ROWS = 5_000
_KEYS_AT_ONCE = 500


class PostgresSurvey:
    """The survey of one PostgreSQL database."""

    def __init__(self, database: Database, interner: Interner, states: States, reader: Reader) -> None:
        self._database = database
        self._interner = interner
        self._states = states
        self._reader = reader

    def _all(self, name: str, *parameters: Any) -> list[Any]:
        return self._database.ask(_SQL[name], *parameters)

    # ── lineages and keys ──

    def lineages_with(self, numbers: Iterable[int], without: Iterable[int] = ()) -> list[int]:
        """Return the ids of all lineages that hold one of these numbers, and none of those in `without`."""
        return [row[0] for row in self._all("lineages_with", sorted(numbers), sorted(without))]

    def counted(self, lineages: Iterable[int]) -> list[Counted]:
        """Count the writes of these lineages by space, from the counters."""
        return [Counted(*row) for row in self._all("counted", list(lineages))]

    def keys_of(self, lineages: Iterable[int], limit: int) -> tuple[list[Key], int]:
        """Return up to `limit` keys that have such a write among their newest, and how many there are in all."""
        ids = list(lineages)

        def look(link: Link) -> tuple[list[Key], int]:
            spaces = link.rows(_SQL["spaces_with"], ids)
            within = [ident for ident, _, _ in spaces]
            total = link.send(_SQL["count_keys_of"], within, ids)
            found = link.rows(_SQL["keys_of"], within, ids, limit)
            keys = [Key(spaces[number][1], spaces[number][2], name) for number, name in found]
            # Where not all were fetched, a key of two lineages is counted twice.
            return keys, total.fetchall()[0][0] if len(keys) == limit else len(keys)

        return self._database.read(look)

    def head_pairs(self, before: View, after: View, keys: Iterable[Key]) -> list[tuple[Head | None, Head | None]]:
        """Return each key's head in two views of the present."""
        asked = list(keys)

        def look(link: Link) -> list[tuple[Head | None, Head | None]]:
            pairs: list[tuple[Head | None, Head | None]] = []
            for start in range(0, len(asked), _KEYS_AT_ONCE):
                chunk = asked[start : start + _KEYS_AT_ONCE]
                rows: dict[int, list[Any]] = {}
                for number, *row in link.rows(_SQL["whole_heads_of"], *_columns(chunk)):
                    rows.setdefault(number, []).append(row)
                for number, key in enumerate(chunk):
                    found = rows.get(number, ())
                    pairs.append(
                        (self._reader.choose(link, before, key, found), self._reader.choose(link, after, key, found))
                    )
            return pairs

        return self._database.read(look)

    def written_by_both(self, number: int, limit: int) -> list[str]:
        """Return keys, as store:space/name, that a deployment and others have both written."""
        return [f"{store}:{space}/{name}" for store, space, name in self._all("written_by_both", number, limit)]

    # ── turns and sources ──

    def influenced(self, lineages: Iterable[int]) -> list[Influenced]:
        """Return the turns whose lineage is one of these, in the order in which they first wrote."""
        return [Influenced(*row) for row in self._all("influenced", list(lineages))]

    def turns(self, uids: Iterable[str]) -> list[Influenced]:
        """Return those of these turns that have written."""
        return [Influenced(*row) for row in self._all("turns", list(uids))]

    def sources_inside(self, lineages: Iterable[int]) -> list[Source]:
        """Return the source writes that turns of these lineages made, without payloads, in order of seq."""
        return [_source(row) for row in self._all("sources_inside", list(lineages))]

    def sources_of(self, turns: Iterable[int]) -> list[Source]:
        """Return the source writes that these turns made, without payloads, in order of seq."""
        return [_source(row) for row in self._all("sources_of", list(turns))]

    def sources_at(self, seqs: Iterable[int]) -> list[Source]:
        """Return the source writes at these seqs, without payloads."""
        return [_source(row) for row in self._all("sources_at", list(seqs))]

    def source_at(self, seq: int) -> Source | None:
        """Return the source write at a seq, with its payload, or None if what is there is no source write."""
        rows = self._all("source_at", seq)
        return _source(rows[0]) if rows else None

    def newest_messages(self, asked: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Source]:
        """Return the newest source message of each session up to a seq, without payload, where there is one."""
        places = list(asked)
        rows = self._all("newest_messages", [session for session, _ in places], [upto for _, upto in places])
        return {places[number]: _source(row) for number, *row in rows}

    def writers_of(self, seqs: Iterable[int]) -> dict[int, Influenced]:
        """Return the turn that wrote each seq."""
        return {seq: Influenced(*row) for seq, *row in self._all("writers_of", list(seqs))}

    def reads_of(self, turns: Iterable[int]) -> dict[int, list[Reads]]:
        """Return all that each of these turns has read, in the order of its writes."""
        found: dict[int, list[Reads]] = {}
        for turn, packed in self._all("reads_of", list(turns)):
            found.setdefault(turn, []).append(read_logs.unpack(packed))
        return found

    def replayed_upto(self, seqs: Iterable[int]) -> dict[int, int]:
        """Return the greatest turn that the replays of each input have made good, where there is one."""
        return dict(self._all("replayed_upto", list(seqs)))

    def mark_replayed(self, seq: int, turn: int, uid: str) -> None:
        """Record that an input was replayed for the sake of the turns up to one."""
        self._database.write("replayed", lambda link: link.send(_SQL["mark_replayed"], seq, turn, uid), find=again)

    # ── documents and their vectors ──

    def names_after(self, store: str, space: str, name: str, limit: int) -> list[str]:
        """Return the next `limit` names that were ever written in a space, in order, visible or not."""
        return [row[0] for row in self._all("names_after", store, space, name, limit)]

    def names_count(self, store: str, space: str) -> int:
        """Return how many names were ever written in a space."""
        return int(self._all("names_count", store, space)[0][0])

    def names_since(self, store: str, space: str, seq: int, without: Iterable[int] = ()) -> list[str]:
        """Return the names that were written in a space after a seq, save by writes of the lineages in `without`."""
        return [row[0] for row in self._all("names_since", store, space, seq, list(without))]

    def embedded_in(self, heads: Iterable[Head]) -> dict[int, str]:
        """Return the embedding space of each of these vector writes, by seq."""
        return dict(self._all("embedded_in", [head.seq for head in heads]))

    def made_of(self, collection: str, vectors: Iterable[Head]) -> dict[int, int]:
        """Return, by the seq of each vector, the seq of the version of its document that its turn had read."""
        seqs = {head.key.name: head.seq for head in vectors}
        versions: dict[str, list[int]] = {}
        for name, seq in self._all("versions", collection, list(seqs)):
            versions.setdefault(name, []).append(seq)
        batches = {seq: batch for seq, *batch in self._all("batches_of", list(seqs.values()))}
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
        ids = list(lineages)

        def look(link: Link) -> list[Unfed]:
            vectors = self._interner.space(link, "vectors", collection)
            documents = self._interner.space(link, "documents", collection)
            counted = link.rows(_SQL["lineages_in"], vectors, documents)
            seen = [row[0] for row in counted if view.sees(self._interner.members(link, row[0]))]
            return [Unfed(*row) for row in link.rows(_SQL["unfed"], vectors, documents, ids, seen, covered)]

        return self._database.read(look)

    # ── truth, by looking at everything ──

    def true_head(self, view: View, key: Key) -> Head | None:
        """Return a key's head by looking at every write to it: slow, and by no cache or index of heads."""
        heads = []
        for row in self._all("true_writes", key.store, key.space, key.name):
            lineage_id, rank, seq, deleted, source, at, fresh_for, payload, members = row
            lineage = frozenset(json.loads(members))
            if view.sees(lineage) and (view.upto is None or seq <= view.upto):
                heads.append(Head(key, seq, rank, deleted, lineage_id, lineage, source, at, fresh_for, payload))
        return newest(heads)

    def look_at(self, view: View, keys: Iterable[Key]) -> list[Looked]:
        """Return what readers get at each key beside the truth, as of one instant: by every write to it."""
        asked = list(keys)

        def look(link: Link) -> list[Looked]:
            check_epoch(link.send(_JOURNAL["epoch"]), view)
            found = self._newest_of(link, view, "heads_of", asked)
            truths = self._true_seqs(link, view, asked)
            heads: list[tuple[int | None, Lineage]] = [found.get(number, (None, EMPTY)) for number in range(len(asked))]
            return [
                Looked(key, seq, lineage, truth)
                for key, (seq, lineage), truth in zip(asked, heads, truths, strict=True)
            ]

        return self._database.read(look)

    def _true_seqs(self, link: Link, view: View, keys: list[Key]) -> list[int | None]:
        found = self._newest_of(link, view, "newest_writes_of", keys)
        return [found[number][0] if number in found else None for number in range(len(keys))]

    def _newest_of(self, link: Link, view: View, what: str, keys: list[Key]) -> dict[int, tuple[int, Lineage]]:
        """Return the seq and lineage of the newest visible row of each key, by its place among them."""
        best: dict[int, tuple[int, int, Lineage]] = {}
        for number, lineage, rank, seq in link.rows(_SQL[what], *_columns(keys)):
            members = self._interner.members(link, lineage)
            if view.sees(members) and (number not in best or (rank, seq) > best[number][:2]):
                best[number] = (rank, seq, members)
        return {number: (seq, members) for number, (_, seq, members) in best.items()}

    def sample_keys(self, stores: Iterable[str], count: int) -> list[Key]:
        """Return up to `count` keys spread evenly over the journal."""
        wanted = set(stores)

        def look(link: Link) -> list[Key]:
            last = link.one(_SQL["last_write"])[0]
            near = [link.send(_SQL["key_near"], position * last // count) for position in range(count)]
            found = [row for cursor in near for row in cursor.fetchall()]
            return list(dict.fromkeys(Key(*row) for row in found if row[0] in wanted))

        return self._database.read(look)

    def vector_agreement(self, view: View, count: int) -> tuple[int, int]:
        """Compare the searchable state of up to `count` vector rows with the journal: (rows that agree, rows)."""

        def look(link: Link) -> tuple[int, int]:
            extents = [row for row in link.rows(_SQL["row_extents"]) if row[1] is not None]
            share = max(1, count // max(1, len(extents)))
            near = [
                link.send(_SQL["row_near"], embedding, first + (last - first) * position // max(1, share - 1))
                for embedding, first, last in extents
                for position in range(share)
            ]
            rows = list({row[0]: row for cursor in near for row in cursor.fetchall()}.values())
            states = self._states.learn(link, [ident for _, ident, _, _ in rows])
            truths = self._true_seqs(link, view, [Key("vectors", space, name) for _, _, name, space in rows])
            agree = sum(
                self._states.is_head(link, view, states[ident]) == (truth == seq)
                for (seq, ident, _, _), truth in zip(rows, truths, strict=True)
            )
            return agree, len(rows)

        return self._database.read(look)

    # ── purge ──

    def purge_reach(self, lineages: Iterable[int]) -> int | None:
        """Return the first seq of these lineages, or None where there is none."""
        found = self._all("first_seq_of_turns", list(lineages))[0][0]
        return None if found is None else int(found)

    def erase(self, lineages: Iterable[int], progress: Callable[[int, int], None] | None = None) -> int:
        """Take payloads and salts away from all writes of these lineages; return how many. May be repeated.

        What they held stays in dead rows until PostgreSQL vacuums the tables, as this asks it to at the end.
        """
        ids = list(lineages)
        last = int(self._all("last_write")[0][0])
        erased = 0
        for first in range(0, last + 1, _ERASE_SEQS):
            erased += self._erase(first, min(first + _ERASE_SEQS - 1, last), ids)
            if progress is not None:
                progress(min(first + _ERASE_SEQS - 1, last), last)

        def take(link: Link) -> int:
            return len(link.rows(_SQL["erase_rows"], ids, ALL[0], _ERASE_ROWS))

        def rest(link: Link) -> None:
            link.send(_SQL["erase_heads"], ids)
            link.send(_SQL["erase_cache"], ids)

        while self._database.write("erase-vectors", take, lanes=ALL, find=again):
            pass  # a part at a time, since writers wait
        self._database.write("erase-heads", rest, lanes=ALL, find=again)
        self._database.vacuum("writes", "vector_rows", "cache")
        return erased

    def _erase(self, first: int, upto: int, ids: list[int]) -> int:
        return int(self._database.write("erase", lambda link: link.one(_SQL["erase"], first, upto, ids)[0], find=again))


def _columns(keys: Sequence[Key]) -> tuple[list[str], ...]:
    return [key.store for key in keys], [key.space for key in keys], [key.name for key in keys]


def _source(row: Any) -> Source:
    store, space, name, seq, rank, at, agent, person, session, turn, payload = row
    return Source(Key(store, space, name), seq, rank, at, agent, person, session, turn, payload)
