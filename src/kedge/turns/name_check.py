"""Name check: a warning about an agent without artifacts whose name resembles one that has some."""

from kedge.model.attribution import owners_of, resembling
from kedge.ports.backend import Backend
from kedge.support.user_warnings import warn_user
from kedge.turns.artifact_cache import AgentArtifacts

_REHEARSAL = "drill-"  # agents of rehearsals in place: a random name may resemble another one


class AttributionWarning(UserWarning):
    """An agent's name resembles one that has artifacts, and has none itself: its turns may be attributed to nothing."""


class NameCheck:
    """The agents that were looked at, by epoch: only changes of the control record write artifacts."""

    def __init__(self) -> None:
        self._epoch = -1
        self._owners: frozenset[str] = frozenset()
        self._checked: set[str] = set()
        self._warned: set[str] = set()

    def check(self, backend: Backend, agent: str, own: AgentArtifacts, epoch: int) -> None:
        """Warn about an agent once where its name seems to have a slip."""
        if own.heads or (epoch == self._epoch and agent in self._checked) or agent in self._warned:
            return
        if epoch != self._epoch:
            owners = owners_of(backend.attribution.artifact_names())
            self._owners = frozenset(owner for owner in owners if not owner.startswith(_REHEARSAL))
            self._epoch, self._checked = epoch, set()
        self._checked.add(agent)
        other = None if agent in self._owners else resembling(agent, self._owners)
        if other is not None:
            self._warned.add(agent)
            warn_user(
                f"the agent {agent!r} has no artifacts, and its name resembles {other!r}, which has some: no "
                f"deployment influences its turns, so no rollback hides what they write; if {other!r} is meant, "
                f"begin them with agent={other!r}",
                AttributionWarning,
            )
