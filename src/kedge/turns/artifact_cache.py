"""Cache of agents' own artifacts, by epoch and view."""

import msgspec

from kedge.model.lineage import Lineage
from kedge.model.reads import RangeRead
from kedge.model.visibility import View
from kedge.model.writes import Head

_KEPT_MAX = 256


class AgentArtifacts(msgspec.Struct, frozen=True):
    """An agent's own artifacts: their heads, the range that they were read by, and all lineages in it."""

    heads: list[Head]
    read: RangeRead
    lineages: frozenset[Lineage]


NO_ARTIFACTS = AgentArtifacts([], RangeRead("artifacts", "", "", 0), frozenset())


class ArtifactCache:
    """Agents' own artifacts by what a view sees.

    Artifacts are written by changes of the control record alone, so at one epoch they stay what they are. Shared by
    threads without a lock: what one of them loses is read again.
    """

    def __init__(self) -> None:
        self._kept: tuple[int, dict[tuple[str, frozenset[int]], AgentArtifacts]] = (-1, {})

    def of(self, view: View, agent: str) -> AgentArtifacts | None:
        """Return what lies under an agent's name in a view of the present, if it is known."""
        epoch, kept = self._kept
        return kept.get((agent, view.seen)) if epoch == view.epoch else None

    def keep(self, view: View, agent: str, own: AgentArtifacts) -> None:
        """Remember what was read in this view."""
        epoch, kept = self._kept
        if epoch != view.epoch or len(kept) >= _KEPT_MAX:
            self._kept = (view.epoch, {(agent, view.seen): own})
        else:
            kept[agent, view.seen] = own
