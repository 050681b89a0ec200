"""Attribution: the agents that a database knows, and writes by turns that saw a deployment without its lineage."""

from collections.abc import Iterable
from typing import Protocol

import msgspec


class Examined(msgspec.Struct, frozen=True):
    """Writes of an agent's turns to one store: how many were examined, and how many are derived and lack a lineage."""

    store: str
    examined: int
    without: int


class Attribution(Protocol):
    """Questions of plans and of deploying: who is there, what did they see, and what does not carry it?

    Laws:

    - Read-only. Each call answers from one snapshot of committed writes, hidden ones included.
    - Bounded: `writes_without` examines at most `limit` writes and `unknown_turns` counts to at most `limit`. No call
      scans the journal or all turns; `sets_with` scans the distinct sets of deployments that turns saw.
    """

    def agents(self, limit: int) -> list[str]:
        """Return up to `limit` agents that have had turns with writes, in order."""

    def artifact_names(self) -> list[str]:
        """Return the names of all artifacts that have a head in some view, in order."""

    def sets_with(self, number: int) -> list[int]:
        """Return the ids of the sets of seen deployments that hold this one."""

    def writes_without(self, agent: str, seen: Iterable[int], lineages: Iterable[int], limit: int) -> list[Examined]:
        """Examine up to `limit` writes by an agent's turns that saw one of these sets, by store.

        Counts the derived ones that have none of these lineages.
        """

    def unknown_turns(self, artifact: str, number: int, limit: int) -> int:
        """Count, to at most `limit`, agents' turns after a deployment was staged whose views are not known.

        `artifact` is one of the deployment's artifacts.
        """
