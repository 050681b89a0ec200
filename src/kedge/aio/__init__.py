"""Async façade: every method of `Kedge`, awaited. Each call runs the sync method in a thread.

    async with kedge.aio.open("sqlite:///state/kedge.db") as k:
        await k.deploy("support-v2", {"support/prompt": "Answer briefly…"}, canary=0.1)
        async with k.turn(session="s-17", agent="support") as turn:
            prompt = await turn.artifacts["support/prompt"]
            await turn.memory.append("user", "Where is my order?")
            hits = await turn.vectors("kb").search(vector, k=5)

- Names and arguments are those of the sync classes. Methods are awaited (`await k.ladder.list()`); properties are
  plain (`turn.lineage`). Those
  that ask the database (`k.epoch`, `k.seq`, `k.moved_to`, `view.seen`) do so in the calling thread, by one short query.
- `__init__.pyi` holds the types; `make stub` writes it from the signatures of the sync classes.
- The calls of a turn run one after another, in the order in which they were made. Different turns run in parallel, in
  at most `threads` threads (`kedge.aio.open(…, threads=32)`); an open turn between two calls takes none.
- It works in a forked child, too, with threads of its own, in an event loop of the child (`asyncio.run`).
- Iterate over batches with `async for`: `async for rows in await turn.vectors("kb").batches(): …`.
- A callable argument (a replay's handler, a cache's compute function, a change callback) may be `async def`: it runs in
  the event loop, and may use the turn that waits for it, and other turns. A plain function runs in the thread; it must
  not wait for the event loop.
- A thread cannot be stopped. When an await is cancelled, a call that has begun runs to its end before the turn's next
  call; a call that has not begun is dropped. Leaving a turn, and closing the database, wait for calls that have begun,
  however often the task is cancelled.
- So every write carries an idempotency key. Where the caller gives none, Kedge makes one (`aio:<turn>:<count>`).
  Where the answer was lost (the await was cancelled after the call had begun, or it raised `OutcomeUnknown`), the key
  is in `turn.unanswered`. The same call with `idempotency=` that key is done only once, and returns the seqs. The
  façade repeats nothing by itself: only the caller knows whether a cancelled write is still wanted.
"""

import asyncio
import contextvars
import inspect
import operator
import os
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kedge.errors import InvalidValue, OutcomeUnknown, TurnClosed
from kedge.face import Kedge
from kedge.fleet.member import Member
from kedge.guard.guard import Guard
from kedge.guard.ladder import Ladder
from kedge.guard.stopping import ReleaseReport, StopReport
from kedge.migration.compare import StoreDiff
from kedge.migration.migrate import MoveReport
from kedge.model.ladder import Scope
from kedge.model.numbers import as_integer
from kedge.open import compare_stores as compare_stores_sync
from kedge.open import migrate_store as migrate_store_sync
from kedge.open import open as open_sync
from kedge.open import release as release_sync
from kedge.open import stop as stop_sync
from kedge.stores.batches import VectorBatches, VectorRows
from kedge.stores.keyed import Context, Documents
from kedge.stores.memory import Memory
from kedge.stores.own import Store, StoreView, Values
from kedge.stores.vectors import Vectors
from kedge.support.strands import Strand, Strands, current_strand
from kedge.support.user_warnings import awaiting
from kedge.turns import current
from kedge.turns.batch import WriteBatch
from kedge.turns.permits import Permit
from kedge.turns.turn import Turn
from kedge.turns.turn import current_turn as current_sync_turn
from kedge.turns.view import ReadView

THREADS = 8  # for calls outside turns
TURN_THREADS = 32  # for the calls of all turns together
THREADS_MAX = 10_000
_STORES = frozenset({"artifacts", "memory", "context", "cache"})
_PARTS: dict[str, type[Any]] = {"guard": Guard, "ladder": Ladder}  # of the database: properties with methods
_SPACES: dict[str, type[Any]] = {"documents": Documents, "vectors": Vectors}


def open(  # noqa: A001 - the twin of `kedge.open`
    url: str | Path, *, threads: int = TURN_THREADS, **options: Any
) -> "AsyncKedge":
    """Return a database that `async with` or `await` opens; the other options are those of `kedge.open`.

    At most `threads` threads run the calls of all its turns. A call that waits for your coroutine does not count.
    """
    return AsyncKedge(partial(open_sync, url, **options), threads)


async def migrate_store(source: str | Path, target: str | Path, **options: Any) -> MoveReport | None:
    """Move a database in a thread; the options are those of `kedge.migrate_store`. Callbacks run in that thread."""
    return await asyncio.to_thread(migrate_store_sync, source, target, **options)


async def stop(url: str | Path, scope: Scope | str = "everything", **options: Any) -> StopReport:
    """Stop everything, or a scope, in a thread; the options are those of `kedge.stop`."""
    return await asyncio.to_thread(stop_sync, url, scope, **options)


async def release(url: str | Path, scope: Scope | str = "everything", **options: Any) -> ReleaseReport:
    """Lift the stops of a scope in a thread; the options are those of `kedge.release`."""
    return await asyncio.to_thread(release_sync, url, scope, **options)


async def compare_stores(a: str | Path, b: str | Path, **options: Any) -> StoreDiff:
    """Compare two databases in a thread; the options are those of `kedge.compare_stores`."""
    return await asyncio.to_thread(compare_stores_sync, a, b, **options)


# ── threads ──


class _Worker:
    """The calls of one turn, one after another, in the threads of the database."""

    def __init__(self, strands: Strands) -> None:
        self._strand = Strand(strands)
        self._leaving = False  # set in the event loop

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        if self._leaving:
            raise TurnClosed("this turn is closed; begin another with k.turn()")
        return self._strand.submit(call)

    def stop(self) -> None:
        """Refuse further calls."""
        self._leaving = True


class _Inside:
    """What submits the calls of a turn that is handed to a coroutine, while the thread waits for that coroutine."""

    def __init__(self, strand: Strand) -> None:
        self.submit = strand.submit


async def _to_its_end(answer: Future[Any]) -> None:
    """Wait for the end of a call, however often this task is cancelled; only then raise the cancellation."""
    cancelled: asyncio.CancelledError | None = None
    ended = asyncio.wrap_future(answer)
    while not ended.done():
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    ended.result()


def _callable_in_thread(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a plain function that runs a coroutine function, to be called in a thread."""
    loop, pid = asyncio.get_running_loop(), os.getpid()

    def call(*arguments: Any) -> Any:
        if pid != os.getpid():
            raise TurnClosed(
                f"the event loop of {function!r} is that of the parent process; pass it to Kedge here again"
            )
        if loop.is_closed():
            raise TurnClosed(f"the event loop of {function!r} is closed; keep it open as long as Kedge")
        strand = current_strand()
        if strand is None:
            return asyncio.run_coroutine_threadsafe(function(*arguments), loop).result()
        inside = _Inside(strand)
        given = [AsyncTurn(inside, argument) if isinstance(argument, Turn) else argument for argument in arguments]
        return strand.wait(_on_line(current.line(), function(*given)))

    return call


_handler: contextvars.ContextVar[tuple[asyncio.Task[Any] | None, int] | None] = contextvars.ContextVar(
    "kedge_handler", default=None
)


async def _on_line(line: int, work: Coroutine[Any, Any, Any]) -> Any:
    """Run a callback in place of a plain function in the thread that waits for it: its calls have that order."""
    _handler.set((asyncio.current_task(), line))
    return await work


def _line_here() -> int | None:
    """Return the line of work of a callback's task; `NO_LINE` in the tasks that it has started."""
    known = _handler.get()
    if known is None:
        return None
    task, line = known
    return line if asyncio.current_task() is task else current.NO_LINE


def _is_async(argument: object) -> bool:
    return inspect.iscoroutinefunction(argument) or inspect.iscoroutinefunction(getattr(argument, "__call__", None))  # noqa: B004


def _given(arguments: dict[str, Any] | tuple[Any, ...]) -> Any:
    """Return arguments for a sync call: façades replaced by their targets, async functions by plain ones."""
    if isinstance(arguments, dict):
        return dict(zip(arguments, _given(tuple(arguments.values())), strict=True))
    return tuple(
        argument._target()  # noqa: SLF001 - of a façade in this module
        if isinstance(argument, _Proxy)
        else _callable_in_thread(argument)
        if _is_async(argument)
        else argument
        for argument in arguments
    )


# ── façades of turns, views and stores ──


class _Calls:
    """How calls of one turn or view run: in which thread, with which idempotency keys."""

    def __init__(self, submit: Callable[[Callable[[], Any]], Future[Any]], turn: str | None) -> None:
        self._submit = submit
        self._turn = turn
        self._count = 0
        self.unanswered: list[str] = []
        self.batch: WriteBatch | None = None  # its calls have no keys of their own

    async def call(
        self, target: Callable[[], Any], method: str, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        given, named = _given(arguments), _given(options)
        key = options.get("idempotency")
        if method in _writing() and self._turn is not None and key is None and self.batch is None:
            self._count += 1
            key = f"aio:{self._turn}:{self._count}"
        with awaiting(), current.working_on(_line_here()):
            answer = self._submit(partial(_do, target, method, given, named, key))
        try:
            found = await asyncio.wrap_future(answer)
            if isinstance(found, ReadView):
                return AsyncReadView(self, found)
            if isinstance(found, Permit):
                return AsyncPermit(self, found)
            return AsyncBatches(self, found) if isinstance(found, VectorBatches) else found
        except asyncio.CancelledError:
            if key is not None and not answer.cancelled():
                self.unanswered.append(key)
            raise
        except OutcomeUnknown:
            if key is not None:
                self.unanswered.append(key)
            raise


def _do(
    target: Callable[[], Any], name: str, arguments: tuple[Any, ...], options: dict[str, Any], key: str | None
) -> Any:
    found = getattr(target(), name)
    if not callable(found):
        return found
    if key is not None and "idempotency" in _parameters(getattr(found, "__func__", found)):
        options = options | {"idempotency": key}
    return found(*arguments, **options)


@cache
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


@cache
def _writing() -> frozenset[str]:
    """Return the names of all store methods that take an idempotency key."""
    methods = [
        method
        for store in (Memory, Context, Documents, Vectors, Values, WriteBatch)
        for method in inspect.getmembers(store, callable)
    ]
    return frozenset(
        name for name, method in methods if not name.startswith("_") and "idempotency" in _parameters(method)
    )


class AsyncBatches:
    """A collection's rows in batches: `async for rows in await turn.vectors("kb").batches()`."""

    def __init__(self, calls: _Calls, batches: VectorBatches) -> None:
        self._calls = calls
        self._batches = batches
        self.rows, self.unembedded = batches.rows, batches.unembedded
        self.size, self.dim = batches.size, batches.dim

    async def __aiter__(self) -> AsyncIterator[VectorRows]:
        """Return the batches; each is read in the thread of the turn."""
        batches = iter(self._batches)
        while (rows := await self._calls.call(lambda: partial(next, batches, None), "__call__", (), {})) is not None:
            yield rows


class _Proxy:
    """Façade of a sync object: its methods are awaited."""

    def __init__(self, calls: _Calls, target: Callable[[], Any], kind: type[Any] | None = None) -> None:
        self._calls = calls
        self._target = target
        self._type = kind

    def __getattr__(self, name: str) -> Any:
        """Return a coroutine function that calls the sync method of this name, or the value of the property."""
        if name.startswith("_"):
            raise AttributeError(name)
        if isinstance(getattr(self._type, name, None), property):
            return getattr(self._target(), name)

        async def call(*arguments: Any, **options: Any) -> Any:
            return await self._calls.call(self._target, name, arguments, options)

        call.__name__ = name
        return call

    async def __getitem__(self, key: Any) -> Any:
        """Return the item at a key."""
        return await self._calls.call(lambda: partial(operator.getitem, self._target()), "__call__", (key,), {})


class _ReadProxy(_Proxy):
    """Façade of a turn or a view: its stores are plain attributes, and their methods are awaited."""

    _kind: type[Turn] | type[ReadView]

    def __repr__(self) -> str:
        """Return the line of the sync object, marked as async."""
        return f"<Async{repr(self._target()).removeprefix('<')}"

    def __getattr__(self, name: str) -> Any:
        """Return a store, a function that returns one, or a method to await."""
        if name in _STORES and (name != "cache" or self._kind is Turn):
            return _Proxy(self._calls, lambda: getattr(self._target(), name))
        if name in _SPACES:
            return lambda collection: _Proxy(
                self._calls, cache(lambda: getattr(self._target(), name)(collection)), _SPACES[name]
            )
        if name == "store":
            return lambda named: _StoreProxy(self._calls, cache(lambda: self._target().store(named)))
        if not hasattr(self._kind, name):
            raise AttributeError(f"a {self._kind.__name__} has no {name!r}")
        return super().__getattr__(name)


class _StoreProxy:
    """Façade of a user's keyed store."""

    def __init__(self, calls: _Calls, target: Callable[[], Store | StoreView]) -> None:
        self._calls = calls
        self._target = target

    def space(self, name: str) -> _Proxy:
        """Return one space of the store."""
        return _Proxy(self._calls, cache(lambda: self._target().space(name)), Values)


class AsyncWriteBatch:
    """A batch of a turn's writing calls: `async with turn.batch() as batch`."""

    def __init__(self, calls: _Calls, batch: WriteBatch) -> None:
        self._calls = calls
        self._batch = batch

    def __repr__(self) -> str:
        """Return one line."""
        return f"<Async{repr(self._batch).removeprefix('<')}"

    @property
    def seqs(self) -> list[int]:
        """The seqs of the writes in order, once the block has ended."""
        return self._batch.seqs

    async def __aenter__(self) -> Self:
        """Begin collecting, in the task's own context."""
        self._batch.begin()
        self._calls.batch = self._batch
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit all, or, after an exception, nothing."""
        self._calls.batch = None
        try:
            if kind is None:
                given = {"idempotency": self._batch.idempotency} if self._batch.idempotency else {}
                await self._calls.call(lambda: self._batch, "commit", (), given)
        finally:
            self._batch.leave()


class AsyncPermit(_Proxy):
    """A permit: `async with await turn.require("act", tool="refund") as permit: await permit.check()`."""

    def __init__(self, calls: _Calls, permit: Permit) -> None:
        super().__init__(calls, lambda: permit, Permit)
        self._permit = permit

    def __getattr__(self, name: str) -> Any:
        """Return a coroutine function that calls the sync method of this name, or the value of the attribute."""
        if name in Permit.__slots__:
            return getattr(self._permit, name)
        return super().__getattr__(name)

    async def check(self) -> Self:
        """Return itself if the act is still permitted; else raise `NotPermitted`."""
        await self._calls.call(lambda: self._permit, "check", (), {})
        return self

    async def __aenter__(self) -> Self:
        """Return itself, checked."""
        return await self.check()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it: the act is over."""
        self._permit.__exit__(kind, error, trace)


class AsyncTurn(_ReadProxy):
    """A turn whose calls run one after another: `async with k.turn(…) as turn`."""

    _kind = Turn

    def __init__(self, worker: _Worker | _Inside, turn: Turn) -> None:
        super().__init__(_Calls(worker.submit, turn.id), lambda: turn, Turn)
        known = _async_turns.get(turn)
        if known is None or known() is None:  # a coroutine that a callback runs gets a further façade
            _async_turns[turn] = weakref.ref(self)

    def batch(self, *, idempotency: str | None = None) -> AsyncWriteBatch:
        """Return a batch: the writing calls in its `async with` block commit as one at its end."""
        turn: Turn = self._target()
        return AsyncWriteBatch(self._calls, turn.batch(idempotency=idempotency))

    @property
    def unanswered(self) -> tuple[str, ...]:
        """The idempotency keys of writes whose answer was lost, oldest first: repeat each call with its key."""
        return tuple(self._calls.unanswered)


_async_turns: "weakref.WeakKeyDictionary[Turn, weakref.ReferenceType[AsyncTurn]]" = weakref.WeakKeyDictionary()


_sync_begun = Strands(TURN_THREADS)  # for turns that no `kedge.aio` database has begun


def current_turn() -> AsyncTurn | None:
    """Return the turn that this task works in, or None; `kedge.current_turn()` returns the sync turn behind it.

    It may be one that began without `await`, such as that of a framework's code. Outside event loops, there is none.
    """
    found = current_sync_turn()
    try:
        return None if found is None else _facade_of(found)
    except RuntimeError:  # no running event loop
        return None


def _facade_of(turn: Turn) -> AsyncTurn:
    known = _async_turns.get(turn)
    facade = None if known is None else known()
    return AsyncTurn(_Worker(_sync_begun), turn) if facade is None else facade


class AsyncMember(_Proxy):
    """This process as a member: `async with await k.join(name="support-1") as member`, or `await member.leave()`."""

    def __init__(self, submit: Callable[[Callable[[], Any]], Future[Any]], member: Member) -> None:
        super().__init__(_Calls(submit, None), lambda: member, Member)

    def __getattr__(self, name: str) -> Any:
        """Return a coroutine function that calls the sync method of this name, or the value of the property."""
        if not hasattr(Member, name):
            raise AttributeError(f"a Member has no {name!r}")
        return super().__getattr__(name)

    async def __aenter__(self) -> Self:
        """Return the member itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave."""
        await self.leave()


class AsyncReadView(_ReadProxy):
    """A read-only view: `view = await k.view()`, `past = await k.at("before-friday")`."""

    _kind = ReadView

    def __init__(self, calls: _Calls, view: ReadView) -> None:
        super().__init__(calls, lambda: view, ReadView)


# ── the database ──


class _Part(_Proxy):
    """Façade of a part of the database, such as `k.ladder`: its methods are awaited."""

    def __init__(self, owner: "AsyncKedge", name: str) -> None:
        super().__init__(_Calls(owner._submit, None), lambda: getattr(owner.sync, name), _PARTS[name])  # noqa: SLF001
        self._owner = owner

    def __getattr__(self, name: str) -> Any:
        """Return a coroutine function that calls the sync method of this name, or the value of the property."""
        if not hasattr(self._type, name):
            raise AttributeError(f"a {self._type.__name__ if self._type else 'part'} has no {name!r}")
        if name.startswith("_") or isinstance(getattr(self._type, name), property):
            return super().__getattr__(name)

        async def call(*arguments: Any, **options: Any) -> Any:
            return await self._owner._call(name, arguments, options, self._target)  # noqa: SLF001 - of this module

        call.__name__ = name
        return call


class AsyncKedge:
    """An open database, every method of `Kedge` awaited. Use it in `async with`, or `await` it and `await close()`."""

    def __init__(self, opener: Callable[[], Kedge], threads: int = TURN_THREADS) -> None:
        self._opener = opener
        limit = as_integer("threads", threads, f"an integer from 1 to {THREADS_MAX:,}", least=1, most=THREADS_MAX)
        self._strands = Strands(limit)
        self._make_pool()
        self._opened: Kedge | None = None

    def _make_pool(self) -> None:
        self._pid = os.getpid()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="kedge")

    def _own_pool(self) -> ThreadPoolExecutor:
        if self._pid != os.getpid():  # the threads of a parent process do not exist here
            self._make_pool()
        return self._pool

    def __await__(self) -> Generator[Any, None, Self]:
        """Open the database."""
        return self._open().__await__()

    async def _open(self) -> Self:
        if self._opened is None:
            self._opened = await self._in_pool(self._opener)
        return self

    async def __aenter__(self) -> Self:
        """Open the database."""
        return await self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the database."""
        await self.close()

    @property
    def sync(self) -> Kedge:
        """The sync `Kedge` of the same open database."""
        if self._opened is None:
            raise InvalidValue("the database is not open; write `async with kedge.aio.open(…) as k`, or await it first")
        return self._opened

    async def close(self) -> None:
        """Close the database after the calls that have begun."""
        pool, opened = self._own_pool(), self._opened

        def end() -> None:
            pool.shutdown()
            if opened is not None:
                opened.close()

        try:
            await _to_its_end(Strand(self._strands).submit(end))
        finally:
            self._strands.close()

    async def _in_pool(self, call: Callable[[], Any]) -> Any:
        with awaiting():
            answer = self._submit(call)
        return await asyncio.wrap_future(answer)

    def _submit(self, call: Callable[[], Any]) -> Future[Any]:
        """Run a call in a thread of the pool, with the context variables of the task."""
        return self._own_pool().submit(contextvars.copy_context().run, call)

    def __getattr__(self, name: str) -> Any:
        """Return a coroutine function that calls the sync method of this name, or the value of the property."""
        if name.startswith("_") or not hasattr(Kedge, name):
            raise AttributeError(f"a Kedge has no {name!r}")
        if name in _PARTS:
            return _Part(self, name)
        if isinstance(getattr(Kedge, name), property):
            return getattr(self.sync, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            found = await self._call(name, arguments, options)
            if isinstance(found, Member):
                return AsyncMember(self._submit, found)
            if isinstance(found, ReadView):
                return AsyncReadView(_Calls(self._submit, None), found)
            return _facade_of(found) if isinstance(found, Turn) else found

        call.__name__ = name
        return call

    async def _call(
        self,
        name: str,
        arguments: tuple[Any, ...],
        options: dict[str, Any],
        part: Callable[[], Any] | None = None,
    ) -> Any:
        target = part or (lambda: self.sync)
        if not any(_is_async(argument) for argument in (*arguments, *options.values())):
            return await self._in_pool(partial(_do, target, name, _given(arguments), _given(options), None))
        given, named = _given(arguments), _given(options)  # its thread waits for a coroutine and serves its calls
        call = partial(_do, target, name, given, named, None)
        with awaiting():
            answer = Strand(self._strands).submit(call)
        return await asyncio.wrap_future(answer)

    @asynccontextmanager
    async def turn(
        self, session: str | None = None, agent: str | None = None, **options: Any
    ) -> AsyncIterator[AsyncTurn]:
        """Begin a turn; the arguments are those of `Kedge.turn`."""
        sync = self.sync
        worker = _Worker(self._strands)
        try:
            with awaiting(), current.working_on(_line_here()):
                begun = worker.submit(partial(sync.turn, session, agent, **_given(options)))
            turn: Turn = await asyncio.wrap_future(begun)
            try:
                turn.__enter__()  # in the task's own context: it becomes current there
                facade = AsyncTurn(worker, turn)  # kept by this frame: the map of current turns holds it weakly
                yield facade
            finally:  # a cancelled call that has begun ends before the turn does
                try:
                    await _to_its_end(worker.submit(turn.close))
                finally:
                    current.leave(turn)  # the thread that closed it has a context of its own
        finally:
            worker.stop()
