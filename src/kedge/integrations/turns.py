"""Turn of a call from a framework: the one that its context works in, or one of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

import kedge


@contextmanager
def turn_for(k: kedge.Kedge, agent: str | None, session: str | None = None) -> Iterator[kedge.Turn]:
    """Work in the turn of this context, or in a new one of this agent (and session) for this call alone.

    Where a rollback has ended the turn of this context, it is that turn, whose operations raise: what such code still
    writes comes from what was rolled back. A turn of another session than the given one is refused.
    """
    turn = kedge.current_turn(ended=True)
    if turn is None:
        if agent is None:
            raise kedge.Misuse(
                "this call is outside turns, and names no agent: pass agent='…', or make it inside `with k.turn(…)`"
            )
        with k.turn(session=session, agent=agent) as turn:
            yield turn
    elif session is not None and turn.session != session:
        raise kedge.Misuse(
            f"the current turn is of session {turn.session!r}, but this call is for {session!r}: make it in a turn "
            "of that session"
        )
    else:
        yield turn
