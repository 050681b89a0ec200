"""Provenance of turns on PostgreSQL."""

from collections.abc import Iterable

from kedge.backends.postgres.database import Database
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.session_names import named
from kedge.backends.postgres.sql import queries
from kedge.model.calls import Edge
from kedge.model.provenance import Reach, Source, TurnRecord, Written, reads_by_turn, source_of, turn_of
from kedge.model.reads import Reads

_SQL = queries("provenance")


class PostgresProvenance:
    """The `Provenance` port of one PostgreSQL database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def influenced_turns(self, lineages: Iterable[int], after: int = 0, limit: int | None = None) -> list[TurnRecord]:
        """Return the turns whose lineage is one of these, with their flags, in the order of their first write."""
        return self._turns("influenced_turns", list(lineages), after, limit)

    def refused_turns(self, after: int = 0, limit: int | None = None) -> list[TurnRecord]:
        """Return the turns to which a derived write was refused, in the order of their first write."""
        return self._turns("refused_turns", after, limit)

    def newest_influenced(self, lineages: Iterable[int], limit: int) -> list[int]:
        """Return the newest turns whose lineage is one of these, the newest first."""
        return [ident for (ident,) in self._database.ask(_SQL["newest_influenced"], list(lineages), limit)]

    def reach(self, lineages: Iterable[int]) -> Reach:
        """Count the turns whose lineage is one of these, and what they belong to."""
        ids = list(lineages)

        def look(link: Link) -> Reach:
            turns, sessions = link.one(_SQL["influenced_total"], ids)
            agents = link.rows(_SQL["influenced_agents"], ids)
            return Reach(turns, sessions, tuple(agent for (agent,) in agents))

        return self._database.read(look)

    def turns(self, uids: Iterable[str]) -> list[TurnRecord]:
        """Return those of these turns that have written."""
        return self._turns("turns", list(uids))

    def callers(self, uids: Iterable[str]) -> list[TurnRecord]:
        """Return those of these turns that have written, and all that called them; each once."""
        return self._turns("callers", list(uids))

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
        return {seq: (at, seconds) for seq, at, seconds in self._database.ask(_SQL["budgets"], list(seqs))}

    def count_messages(self, turns: Iterable[int]) -> dict[int, int]:
        """Count the messages that each of these turns wrote."""
        return dict(self._database.ask(_SQL["count_messages"], list(turns)))

    def writers_of(self, seqs: Iterable[int]) -> dict[int, TurnRecord]:
        """Return the turn that wrote each seq."""
        rows = self._database.ask(_SQL["writers_of"], list(seqs))
        turns = named(self._database, [turn_of(row) for _, *row in rows])
        return dict(zip((row[0] for row in rows), turns, strict=True))

    def written_since(self, turn: int) -> list[Written]:
        """Count the writes of this turn and later ones by agent and space, sorted."""
        rows = self._database.ask(_SQL["written_since"], turn)
        return sorted(Written(agent, bool(by_person), *rest) for agent, by_person, *rest in rows)

    def spaces_of(self, seqs: Iterable[int]) -> dict[int, tuple[str, str]]:
        """Return the store and space of each write."""
        rows = self._database.ask(_SQL["spaces_of"], list(seqs))
        return {seq: (store, space) for seq, store, space in rows}

    def reads_of(self, turns: Iterable[int]) -> dict[int, list[Reads]]:
        """Return the read logs of each turn, in the order of its writes."""
        return reads_by_turn((turn, reads) for turn, reads in self._database.ask(_SQL["reads_of"], list(turns)))

    def sources_of_turns(self, turns: Iterable[int]) -> list[Source]:
        """Return the source writes that these turns made, without payloads, in order of seq."""
        return self._sources("sources_of_turns", list(turns))

    def corrections(self, turns: Iterable[int], limit: int) -> list[Source]:
        """Return the newest source writes to keys that these turns had derived before; no messages."""
        return self._sources("corrections", list(turns), limit)

    def sources_at(self, seqs: Iterable[int]) -> list[Source]:
        """Return the source writes at these seqs, without payloads."""
        return self._sources("sources_at", list(seqs))

    def source_with_payload(self, seq: int) -> Source | None:
        """Return the source write at a seq with its payload; None if there is none."""
        return next(iter(self._sources("source_with_payload", seq)), None)

    def newest_messages(self, asked: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Source]:
        """Return the newest source message of each (session, seq) up to that seq, without payload."""
        places = list(asked)
        sessions, seqs = [session for session, _ in places], [seq for _, seq in places]
        rows = self._database.ask(_SQL["newest_messages"], sessions, seqs)
        sources = named(self._database, [source_of(row) for _, *row in rows])
        return dict(zip((places[row[0]] for row in rows), sources, strict=True))

    def _turns(self, query: str, *asked: object) -> list[TurnRecord]:
        return named(self._database, map(turn_of, self._database.ask(_SQL[query], *asked)))

    def _sources(self, query: str, *asked: object) -> list[Source]:
        return named(self._database, map(source_of, self._database.ask(_SQL[query], *asked)))
