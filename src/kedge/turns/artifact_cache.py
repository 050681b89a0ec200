"""Cache of agents' own artifacts, by epoch and view."""

import msgspec

from kedge.model.lineage import Lineage
from kedge.model.reads import RangeRead
from kedge.model.visibility import View
from kedge.model.writes import Head

_ENTRIES_MAX = 256


class AgentArtifacts(msgspec.Struct, frozen=True):
    """An agent's own artifacts: their heads, the range read that found them, and all lineages in it."""

    heads: list[Head]
    read: RangeRead
    lineages: frozenset[Lineage]


NO_ARTIFACTS = AgentArtifacts([], RangeRead("artifacts", "", "", 0), frozenset())


class ArtifactCache:
    """Cache of agents' own artifacts, by the deployments that a view sees.

    Only changes of the control record write artifacts, so they are constant at one epoch. Threads share it without a
    lock: an entry lost to a race is read again.
    """

    def __init__(self) -> None:
        self._entries: tuple[int, dict[tuple[str, frozenset[int]], AgentArtifacts]] = (-1, {})

    def get(self, view: View, agent: str) -> AgentArtifacts | None:
        """Return an agent's own artifacts in a view of the present, or None where they are not cached."""
        epoch, entries = self._entries
        return entries.get((agent, view.seen)) if epoch == view.epoch else None

    def put(self, view: View, agent: str, own: AgentArtifacts) -> None:
        """Cache what was read in this view."""
        epoch, entries = self._entries
        if epoch != view.epoch or len(entries) >= _ENTRIES_MAX:
            self._entries = (view.epoch, {(agent, view.seen): own})
        else:
            entries[agent, view.seen] = own
