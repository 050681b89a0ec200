"""Provenance of turns on SQLite."""

import json
from collections.abc import Iterable

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.session_names import named
from kedge.backends.sqlite.sql import queries
from kedge.model.calls import Edge
from kedge.model.provenance import Reach, Source, TurnRecord, Written, reads_by_turn, source_of, turn_of
from kedge.model.reads import Reads

_SQL = queries("provenance")


class SqliteProvenance:
    """The `Provenance` port of one SQLite database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def influenced_turns(self, lineages: Iterable[int], after: int = 0, limit: int | None = None) -> list[TurnRecord]:
        """Return the turns whose lineage is one of these, with their flags, in the order of their first write."""
        asked = json.dumps(list(lineages)), after, -1 if limit is None else limit
        return self._turns("influenced_turns", *asked)

    def refused_turns(self, after: int = 0, limit: int | None = None) -> list[TurnRecord]:
        """Return the turns to which a derived write was refused, in the order of their first write."""
        return self._turns("refused_turns", after, -1 if limit is None else limit)

    def newest_influenced(self, lineages: Iterable[int], limit: int) -> list[int]:
        """Return the newest turns whose lineage is one of these, the newest first."""
        rows = self._database.ask(_SQL["newest_influenced"], json.dumps(list(lineages)), limit)
        return [ident for (ident,) in rows]

    def reach(self, lineages: Iterable[int]) -> Reach:
        """Count the turns whose lineage is one of these, and what they belong to."""
        ((turns, sessions, agents),) = self._database.ask(_SQL["reach"], json.dumps(list(lineages)))
        return Reach(turns, sessions, tuple(sorted(json.loads(agents))))

    def turns(self, uids: Iterable[str]) -> list[TurnRecord]:
        """Return those of these turns that have written."""
        return self._turns("turns", json.dumps(list(uids)))

    def callers(self, uids: Iterable[str]) -> list[TurnRecord]:
        """Return those of these turns that have written, and all that called them; each once."""
        return self._turns("callers", json.dumps(list(uids)))

    def newest_edges(self, limit: int) -> list[Edge]:
        """Return the newest calls and absorptions of headers, the oldest first."""
        return [Edge(*row) for row in reversed(self._database.ask(_SQL["newest_edges"], limit))]

    def newest_turns(self, limit: int) -> list[TurnRecord]:
        """Return the turns that wrote, called or absorbed last for the first time, the oldest first."""
        return self._turns("newest_turns", limit)[::-1]

    def begun_before(self, moment: float, after: int, limit: int) -> list[tuple[float, TurnRecord]]:
        """Return turns after one that began before a moment, with when they did: the first of them, in order."""
        rows = self._database.ask(_SQL["begun_before"], moment, after, limit)
        turns = named(self._database, [turn_of(row) for _, *row in rows])
        return list(zip((row[0] for row in rows), turns, strict=True))

    def budgets(self, seqs: Iterable[int]) -> dict[int, tuple[float, float]]:
        """Return the time and the freshness budget of the facts of the context at these seqs that have one."""
        rows = self._database.ask(_SQL["budgets"], json.dumps(list(seqs)))
        return {seq: (at, seconds) for seq, at, seconds in rows}

    def count_messages(self, turns: Iterable[int]) -> dict[int, int]:
        """Count the messages that each of these turns wrote."""
        return dict(self._database.ask(_SQL["count_messages"], json.dumps(list(turns))))

    def writers_of(self, seqs: Iterable[int]) -> dict[int, TurnRecord]:
        """Return the turn that wrote each seq."""
        rows = self._database.ask(_SQL["writers_of"], json.dumps(list(seqs)))
        turns = named(self._database, [turn_of(row) for _, *row in rows])
        return dict(zip((row[0] for row in rows), turns, strict=True))

    def written_since(self, turn: int) -> list[Written]:
        """Count the writes of this turn and later ones by agent and space, sorted."""
        rows = self._database.ask(_SQL["written_since"], turn)
        return sorted(Written(agent, bool(by_person), *rest) for agent, by_person, *rest in rows)

    def spaces_of(self, seqs: Iterable[int]) -> dict[int, tuple[str, str]]:
        """Return the store and space of each write."""
        rows = self._database.ask(_SQL["spaces_of"], json.dumps(list(seqs)))
        return {seq: (store, space) for seq, store, space in rows}

    def reads_of(self, turns: Iterable[int]) -> dict[int, list[Reads]]:
        """Return the read logs of each turn, in the order of its writes."""
        return reads_by_turn(self._database.ask(_SQL["reads_of"], json.dumps(list(turns))))

    def sources_of_turns(self, turns: Iterable[int]) -> list[Source]:
        """Return the source writes that these turns made, without payloads, in order of seq."""
        return self._sources("sources_of_turns", json.dumps(list(turns)))

    def corrections(self, turns: Iterable[int], limit: int) -> list[Source]:
        """Return the newest source writes to keys that these turns had derived before; no messages."""
        return self._sources("corrections", json.dumps(list(turns)), limit)

    def sources_at(self, seqs: Iterable[int]) -> list[Source]:
        """Return the source writes at these seqs, without payloads."""
        return self._sources("sources_at", json.dumps(list(seqs)))

    def source_with_payload(self, seq: int) -> Source | None:
        """Return the source write at a seq with its payload; None if there is none."""
        return next(iter(self._sources("source_with_payload", seq)), None)

    def newest_messages(self, asked: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Source]:
        """Return the newest source message of each (session, seq) up to that seq, without payload."""
        with self._database.reading() as connection:
            found = {place: connection.execute(_SQL["newest_message"], place).fetchone() for place in asked}
        there = {place: source_of(row) for place, row in found.items() if row is not None}
        return dict(zip(there, named(self._database, there.values()), strict=True))

    def _turns(self, query: str, *asked: object) -> list[TurnRecord]:
        return named(self._database, map(turn_of, self._database.ask(_SQL[query], *asked)))

    def _sources(self, query: str, *asked: object) -> list[Source]:
        return named(self._database, map(source_of, self._database.ask(_SQL[query], *asked)))
