"""Attribution on SQLite."""

import json
from collections.abc import Iterable

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.sql import queries
from kedge.ports.attribution import Examined

_SQL = queries("attribution")


class SqliteAttribution:
    """The `Attribution` port of one SQLite database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def agents(self, limit: int) -> list[str]:
        """Return up to `limit` agents that have had turns with writes, in order."""
        return [agent for (agent,) in self._database.ask(_SQL["agents"], limit)]

    def artifact_names(self) -> list[str]:
        """Return the names of all artifacts that have a head in some view, in order."""
        return [name for (name,) in self._database.ask(_SQL["artifact_names"])]

    def sets_with(self, number: int) -> list[int]:
        """Return the ids of the sets of seen deployments that hold this one."""
        return [ident for (ident,) in self._database.ask(_SQL["sets_with"], number)]

    def writes_without(self, agent: str, seen: Iterable[int], lineages: Iterable[int], limit: int) -> list[Examined]:
        """Examine up to `limit` writes by an agent's turns that saw one of these sets, by store."""
        asked = json.dumps(list(seen)), json.dumps(list(lineages))
        return [Examined(*row) for row in self._database.ask(_SQL["writes_without"], agent, *asked, limit)]

    def unknown_turns(self, artifact: str, number: int, limit: int) -> int:
        """Count, to at most `limit`, agents' turns after a deployment was staged whose views are not known."""
        return int(self._database.ask(_SQL["unknown_turns"], artifact, number, limit)[0][0])
