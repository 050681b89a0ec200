"""Which code a process says that it runs, and whether that is what a view pins in `<agent>/code`."""

from collections.abc import Iterator, Mapping

from kedge.errors import InvalidValue
from kedge.model.artifacts import Artifact, names_of
from kedge.model.checks import check_name
from kedge.model.negotiation import OWN

CODE = "code"  # the last part of the key of the artifact that pins it
COUNTED = f"{OWN}code:"  # how the metrics begin under which turns on other code are counted
EVERY = "*"  # in place of an agent: all for whom nothing else is said
POLICIES = ("ignore", "warn", "refuse")


def read_code(given: str | Mapping[str, str] | None) -> dict[str, str]:
    """Return what runs by agent, of one digest for all or a mapping; nothing where nothing is said."""
    if given is None:
        return {}
    said = {EVERY: given} if isinstance(given, str) else given
    if not isinstance(said, Mapping):
        raise InvalidValue(f"code={given!r:.80} is neither a digest nor a mapping of agents to digests")
    return {
        check_name("an agent in code=", agent): check_name(f"the code of {agent!r}", c) for agent, c in said.items()
    }


def running(code: Mapping[str, str], agent: str) -> str | None:
    """Return the code that runs as an agent, where the process says so."""
    return code.get(agent, code.get(EVERY))


def is_other(code: Mapping[str, str], agent: str, pin: Artifact) -> bool:
    """Say whether a process runs, as an agent, other code than is pinned; not where it says nothing at all."""
    return bool(code) and running(code, agent) not in names_of(pin)


def others(code: Mapping[str, str], serves: tuple[str, ...], pins: Mapping[str, Artifact]) -> Iterator[str]:
    """Return the agents among what a process serves, or names, for which it runs other code than is pinned."""
    for agent, pin in pins.items():
        if (agent in serves or agent in code) and is_other(code, agent, pin):
            yield agent
