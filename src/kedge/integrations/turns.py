"""Turn of a call from a framework: the one that its context works in, or one of its own."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Protocol, TypeVar, cast

import kedge

F = TypeVar("F", bound=Callable[..., Any])


class AsyncOpened(Protocol):
    """An open database of `kedge.aio`."""

    @property
    def sync(self) -> kedge.Kedge:
        """The `Kedge` behind it."""


Opened = kedge.Kedge | AsyncOpened


def sync_of(k: Opened) -> kedge.Kedge:
    """Return the `Kedge` behind an open database of `kedge.aio`, or the one given."""
    return k if isinstance(k, kedge.Kedge) else k.sync


@contextmanager
def turn_for(k: kedge.Kedge, agent: str | None, session: str | None = None) -> Iterator[kedge.Turn]:
    """Work in the turn of this context, or in a new one of this agent (and session) for this call alone.

    Where a settle has ended the turn of this context, it is a child of it. Where a rollback has, or where it was
    closed, beginning the child raises: what such code still does is no work outside turns. A turn of another session
    than the given one is refused.
    """
    turn = kedge.current_turn(ended=True, of=k)
    if turn is None:
        if agent is None:
            raise kedge.Misuse(
                "this call is outside turns, and names no agent: pass agent='…', or make it inside `with k.turn(…)`"
            )
        with k.turn(session=session, agent=agent) as own:
            yield own
        return
    if session is not None and turn.session != session:
        raise kedge.Misuse(
            f"the current turn is of session {turn.session!r}, but this call is for {session!r}: make it in a turn "
            "of that session"
        )
    if turn.is_open:
        yield turn
        return
    with k.turn(agent=turn.agent, person=turn.person, parent=turn) as child:
        try:
            yield child
        finally:
            turn.absorb(child)


def outlives_settles(method: F) -> F:
    """Return the method, called once more where a settle ends the turn on the way: the second call has a child turn."""
    if inspect.iscoroutinefunction(method):

        @wraps(method)
        async def called_async(*arguments: Any, **options: Any) -> Any:
            try:
                return await method(*arguments, **options)
            except kedge.SettledMeanwhile:
                return await method(*arguments, **options)

        return cast("F", called_async)

    @wraps(method)
    def called(*arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, **options)
        except kedge.SettledMeanwhile:
            return method(*arguments, **options)

    return cast("F", called)
