"""Turn of a call from a framework: the one that its context works in, or one of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import kedge
from kedge.support.display import brief


class AsyncOpened(Protocol):
    """An open database of `kedge.aio`."""

    @property
    def sync(self) -> kedge.Kedge:
        """The `Kedge` behind it."""


Opened = kedge.Kedge | AsyncOpened


def sync_of(k: Opened) -> kedge.Kedge:
    """Return the `Kedge` behind an open database of `kedge.aio`, or the one given."""
    found = k if isinstance(k, kedge.Kedge) else getattr(k, "sync", None)
    if not isinstance(found, kedge.Kedge):
        raise kedge.InvalidValue(f"not an open database: {brief(k)}; open it first, with kedge.open(…), and pass that")
    return found


@contextmanager
def turn_for(k: kedge.Kedge, agent: str | None, session: str | None = None) -> Iterator[kedge.Turn]:
    """Work in the turn of this context, or in a new one of this agent (and session) for this call alone.

    A turn that has ended counts: its operations raise, and what such code still does is no work outside turns. A turn
    of another session than the given one is refused.
    """
    turn = kedge.current_turn(ended=True, of=k)
    if turn is None:
        if agent is None:
            raise kedge.Misuse(
                "this call is outside turns, and names no agent: pass agent='…', or make it inside `with k.turn(…)`"
            )
        with k.turn(session=session, agent=agent, on_settle="continue") as own:
            yield own
        return
    if session is not None and turn.session != session:
        raise kedge.Misuse(
            f"the current turn is of session {turn.session!r}, but this call is for {session!r}: make it in a turn "
            "of that session"
        )
    yield turn
