"""Turns of hosts: which turn a framework's code works in, as its integration knows, and the agent it works for."""

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar, Token
from functools import wraps
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from kedge.errors import InvalidValue
from kedge.model.checks import check_name

if TYPE_CHECKING:
    from kedge.turns.turn import Turn

F = TypeVar("F", bound=Callable[..., Any])
_agent: ContextVar[str | None] = ContextVar("kedge_agent", default=None)


class TurnSource(Protocol):
    """What an integration knows of the turns that its host's code works in. Both calls take no I/O where they can."""

    def current(self, found: "Turn | None") -> "Turn | None":
        """Return the turn that this context works in; `found` is what Kedge knows without the integration."""

    def began(self, turn: "Turn") -> None:
        """Note that this context began a turn, which is its integration's own or its user's."""


_sources: list[TurnSource] = []


def add_turn_source(source: TurnSource) -> None:
    """Let an integration say, from now on, which turn the code of its host works in."""
    _sources.append(source)


def found_by_sources(found: "Turn | None") -> "Turn | None":
    """Return the turn that this context works in, by what the integrations know."""
    for source in _sources:
        found = source.current(found)
    return found


def began(turn: "Turn") -> None:
    """Tell the integrations of a turn that began."""
    for source in _sources:
        source.began(turn)


def current_agent() -> str | None:
    """Return the agent that this context works for, as `kedge.agent` says, or None."""
    return _agent.get()


class agent:  # noqa: N801 - used as `kedge.agent("planner")`, like the context managers of the standard library
    """Work for an agent: a decorator of a function, or a context manager. Turns that begin inside are this agent's.

    In a node of a framework that an integration knows, the node's turn is this agent's, and reads its artifacts.
    """

    def __init__(self, name: str) -> None:
        self.name = check_name("the agent", name)
        self._tokens: list[Token[str | None]] = []

    def __repr__(self) -> str:
        """Return one line."""
        return f"kedge.agent({self.name!r})"

    def __enter__(self) -> Self:
        """Work for the agent from now on; where a host's code runs, its turn begins."""
        token = _agent.set(self.name)
        try:
            found_by_sources(None)
        except BaseException:
            _agent.reset(token)
            raise
        self._tokens.append(token)
        return self

    def __exit__(self, *_: object) -> None:
        """Work for the agent before."""
        _agent.reset(self._tokens.pop())

    def __call__(self, function: F) -> F:
        """Return a function that works for the agent, of the same kind: sync, async, or a generator of either."""
        if not callable(function):
            raise InvalidValue(
                f"kedge.agent({self.name!r}) decorates functions, not {type(function).__name__}; call the object in a "
                "function, inside `with kedge.agent(…):`"
            )
        return _inside(self.name, function)


def _inside(name: str, function: F) -> F:
    call: Any = function
    target = call if inspect.isroutine(call) else getattr(call, "__call__", call)  # noqa: B004 - it is looked at

    if inspect.isasyncgenfunction(target):

        @wraps(call)
        async def stream(*arguments: Any, **options: Any) -> AsyncIterator[Any]:
            with agent(name):
                async for each in call(*arguments, **options):
                    yield each

        return stream  # type: ignore[return-value]
    if inspect.iscoroutinefunction(target):

        @wraps(call)
        async def answer(*arguments: Any, **options: Any) -> Any:
            with agent(name):
                return await call(*arguments, **options)

        return answer  # type: ignore[return-value]
    if inspect.isgeneratorfunction(target):

        @wraps(call)
        def generate(*arguments: Any, **options: Any) -> Iterator[Any]:
            with agent(name):
                yield from call(*arguments, **options)

        return generate  # type: ignore[return-value]

    @wraps(call)
    def run(*arguments: Any, **options: Any) -> Any:
        with agent(name):
            return call(*arguments, **options)

    return run  # type: ignore[return-value]
