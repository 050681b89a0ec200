"""Code pins: the code that a process reports, compared with the artifact `<agent>/code`."""

from collections.abc import Iterator, Mapping

from kedge.errors import InvalidValue
from kedge.model.artifacts import Artifact, names_of
from kedge.model.checks import check_name
from kedge.model.declared_metrics import OWN

CODE = "code"  # the last part of the key of the artifact that pins it
COUNTED = f"{OWN}code:"  # prefix of the metrics that count turns on other code
EVERY = "*"  # all agents that are not named
POLICIES = ("ignore", "warn", "refuse")


def read_code(given: str | Mapping[str, str] | None) -> dict[str, str]:
    """Return the code by agent, from one digest for all or a mapping; empty for None."""
    if given is None:
        return {}
    said = {EVERY: given} if isinstance(given, str) else given
    if not isinstance(said, Mapping):
        raise InvalidValue(f"code={given!r:.80} is neither a digest nor a mapping of agents to digests")
    return {
        check_name("an agent in code=", agent): check_name(f"the code of {agent!r}", c) for agent, c in said.items()
    }


def running(code: Mapping[str, str], agent: str) -> str | None:
    """Return the code that runs an agent, where the process reports it."""
    return code.get(agent, code.get(EVERY))


def is_other(code: Mapping[str, str], agent: str, pin: Artifact) -> bool:
    """Return whether a process runs an agent on other code than the pinned one; False where it reports none."""
    return bool(code) and running(code, agent) not in names_of(pin)


def others(code: Mapping[str, str], serves: tuple[str, ...], pins: Mapping[str, Artifact]) -> Iterator[str]:
    """Yield the agents that a process serves or names on other code than the pinned one."""
    for agent, pin in pins.items():
        if (agent in serves or agent in code) and is_other(code, agent, pin):
            yield agent
