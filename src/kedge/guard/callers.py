"""Callers of control calls: who asks, and whether that is an agent, which may tighten and never loosens."""

from kedge.errors import NotPermitted
from kedge.support.display import brief
from kedge.turns import current
from kedge.turns.kernel import actor
from kedge.turns.turn import Turn

AGENT = "agent:"  # how the identity of an agent begins, as `by=`


def caller(by: str | None) -> tuple[str, bool]:
    """Return who calls, and whether it is an agent: inside the `with` of its turn, or by the name `agent:…`."""
    turn = current.entered()
    agent = turn.agent if isinstance(turn, Turn) else None
    who = f"{AGENT}{agent}" if by is None and agent is not None else actor(by)
    return who, agent is not None or who.startswith(AGENT)


def person(by: str | None, what: str) -> str:
    """Return who calls, or raise `NotPermitted` where it is an agent. `what` says what only a person may."""
    who, is_agent = caller(by)
    if is_agent:
        raise NotPermitted(f"{brief(who)} cannot {what} in an agent's name or turn: a person does, with by='…'")
    return who
