"""Wrapped functions: each call of a tool or an agent's function is a turn, for programs without a framework."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial, wraps
from typing import Any, Protocol, TypeVar, cast, overload

from kedge.errors import InvalidValue
from kedge.support.display import brief
from kedge.turns import current
from kedge.turns.turn import Turn, current_turn

T = TypeVar("T")
Tool = TypeVar("Tool")


class BeginsTurns(Protocol):
    """An open database, as far as a wrapped function uses it: a `Kedge`, or its async twin."""

    def turn(self, session: str | None = None, agent: str | None = None, *, parent: Any = None) -> Any:
        """Begin a turn."""


@overload
def wrap(tool: Tool, *, k: BeginsTurns, agent: str, session: str | Callable[..., str | None] | None = None) -> Tool: ...


@overload
def wrap(
    *, k: BeginsTurns, agent: str, session: str | Callable[..., str | None] | None = None
) -> Callable[[Tool], Tool]: ...


def wrap(
    tool: Any = None,
    *,
    k: BeginsTurns,
    agent: str,
    session: str | Callable[..., str | None] | None = None,
) -> Any:
    """Return a function, or a tool with one, each call of which is a turn of this agent.

    Inside a turn, a call is a child of it: it works in its session and view, and the caller absorbs what it has read.
    Elsewhere it begins a turn of `session`, or of what `session(*arguments)` returns. Inside, `kedge.current_turn()` is
    its turn. Functions, coroutine functions and generators of both kinds stay what they are; of an object with `func`
    or `coroutine`, such as a tool of LangChain, these are wrapped in a copy. Without `tool`, it is a decorator.
    """
    if tool is None:
        return partial(wrap, k=k, agent=agent, session=session)
    how = _Calls(k, agent, session)
    if inspect.isasyncgenfunction(tool):
        return _wrap_async_generator(tool, how)
    if inspect.isgeneratorfunction(tool):
        return _wrap_generator(tool, how)
    if inspect.iscoroutinefunction(tool):
        return _wrap_coroutine(tool, how)
    parts = {name: part for name in ("func", "coroutine") if callable(part := getattr(tool, name, None))}
    copy = getattr(tool, "model_copy", None)
    if parts and copy is not None and not isinstance(tool, partial):
        return copy(update={name: wrap(part, k=k, agent=agent, session=session) for name, part in parts.items()})
    if not callable(tool) or isinstance(tool, type):
        raise InvalidValue(
            f"cannot wrap {brief(tool)}: pass a function, or an object with `func`; of others, wrap the method"
        )
    return _wrap_function(tool, how)


class _Calls:
    """How each call begins its turn, and what its caller takes on from it."""

    def __init__(self, k: BeginsTurns, agent: str, session: str | Callable[..., str | None] | None) -> None:
        self._k = k
        self._agent = agent
        self._session = session

    def _options(self, caller: Turn | None, arguments: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
        if caller is not None:
            return {"agent": self._agent, "parent": caller}
        session = self._session(*arguments, **named) if callable(self._session) else self._session
        return {"agent": self._agent, "session": session}

    def begin(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> "tuple[Turn | None, Turn]":
        """Return the caller's turn, or None, and the new one."""
        k: Any = getattr(self._k, "sync", self._k)  # a plain function cannot await the async twin
        caller = current_turn(ended=True, of=k)
        return caller, k.turn(**self._options(caller, arguments, named))

    @contextmanager
    def turn(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> Iterator[None]:
        """Work in a turn of the call."""
        caller, turn = self.begin(arguments, named)
        try:
            with turn:
                yield
        finally:
            if caller is not None:
                caller.absorb(turn)

    @asynccontextmanager
    async def turn_async(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> AsyncIterator[None]:
        """Work in a turn of the call, which does not block the event loop."""
        k: Any = getattr(self._k, "sync", self._k)
        caller = current_turn(ended=True, of=k)
        options = self._options(caller, arguments, named)
        if hasattr(self._k, "sync"):  # the async twin, whose turns await
            async with self._k.turn(**options):
                turn = current_turn()
                try:
                    yield
                finally:
                    if caller is not None and turn is not None:
                        await asyncio.to_thread(caller.absorb, turn)
            return
        turn = cast("Turn", await asyncio.to_thread(partial(self._k.turn, **options)))
        with turn:
            try:
                yield
            finally:
                if caller is not None:
                    await asyncio.to_thread(caller.absorb, turn)
                await asyncio.to_thread(turn.close)  # it may write; leaving the block then does not


def _wrap_function(function: Callable[..., T], how: _Calls) -> Callable[..., T]:
    @wraps(function)
    def called(*arguments: Any, **named: Any) -> T:
        with how.turn(arguments, named):
            return function(*arguments, **named)

    return called


def _wrap_coroutine(function: Callable[..., Any], how: _Calls) -> Callable[..., Any]:
    @wraps(function)
    async def called(*arguments: Any, **named: Any) -> Any:
        async with how.turn_async(arguments, named):
            return await function(*arguments, **named)

    return called


class _Steps:
    """The turn of a generator: current while it runs, and not while its caller has what it yielded."""

    def __init__(self, caller: Turn | None, turn: Turn) -> None:
        self._caller = caller
        self._turn = turn
        self._told: frozenset[str] | None = None
        current.leave(turn)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run a step, and have the caller take on what it has read by then."""
        self._turn.__enter__()
        try:
            yield
        finally:
            current.leave(self._turn)
            self._tell()

    def _tell(self) -> None:
        lineage = self._turn.lineage
        if self._caller is not None and lineage != self._told:
            self._caller.absorb(self._turn)
            self._told = lineage

    def end(self) -> None:
        """End the turn."""
        self._turn.close()


def _wrap_generator(function: Callable[..., Any], how: _Calls) -> Callable[..., Any]:
    @wraps(function)
    def called(*arguments: Any, **named: Any) -> Generator[Any, Any, Any]:
        steps = _Steps(*how.begin(arguments, named))
        generator = function(*arguments, **named)
        try:
            step = partial(next, generator)
            while True:
                try:
                    with steps.running():
                        found = step()
                except StopIteration as stop:
                    return stop.value
                try:
                    given = yield found
                    step = partial(generator.send, given)
                except GeneratorExit:
                    with steps.running():
                        generator.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - it belongs to the generator, which may handle it
                    step = partial(generator.throw, error)
        finally:
            steps.end()

    return called


def _wrap_async_generator(function: Callable[..., Any], how: _Calls) -> Callable[..., Any]:
    @wraps(function)
    async def called(*arguments: Any, **named: Any) -> AsyncGenerator[Any, Any]:
        steps = _Steps(*await asyncio.to_thread(how.begin, arguments, named))
        generator = function(*arguments, **named)
        try:
            step = generator.__anext__
            while True:
                try:
                    with steps.running():
                        found = await step()
                except StopAsyncIteration:
                    return
                try:
                    given = yield found
                    step = partial(generator.asend, given)
                except GeneratorExit:
                    with steps.running():
                        await generator.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - it belongs to the generator, which may handle it
                    step = partial(generator.athrow, error)
        finally:
            steps.end()

    return called
