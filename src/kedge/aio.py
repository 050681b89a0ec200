"""Async façade: every method of `Kedge`, awaited. Each call runs the sync method in a thread.

    async with kedge.aio.open("sqlite:///state/kedge.db") as k:
        await k.deploy("support-v2", {"support/prompt": "Answer briefly…"}, canary=0.1)
        async with k.turn(session="s-17", agent="support") as turn:
            prompt = await turn.artifacts["support/prompt"]
            await turn.memory.append("user", "Where is my order?")
            hits = await turn.vectors("kb").search(vector, k=5)

- Names and arguments are those of the sync classes. A property is called here: `await turn.lineage()`.
- Each open turn has a thread of its own. Its calls run there one after another, in the order in which they were made.
  Different turns run in parallel.
- Iterate over batches with `async for`: `async for rows in await turn.vectors("kb").batches(): …`.
- A callable argument (a replay's handler, a cache's compute function, a change callback) may be `async def`: it runs in
  the event loop, and may use the turn that waits for it. A plain function runs in the thread.
- A thread cannot be stopped. When an await is cancelled, a call that has begun runs to its end before the turn's next
  call; a call that has not begun is dropped.
- So every write carries an idempotency key. Where the caller gives none, Kedge makes one (`aio:<turn>:<count>`).
  Where the answer was lost (the await was cancelled after the call had begun, or it raised `OutcomeUnknown`), the key
  is in `turn.unanswered`. The same call with `idempotency=` that key is done only once, and returns the seqs. The
  façade repeats nothing by itself: only the caller knows whether a cancelled write is still wanted.
"""

import asyncio
import contextvars
import inspect
import operator
import queue
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from kedge.errors import InvalidValue, OutcomeUnknown, TurnClosed
from kedge.face import Kedge
from kedge.fleet.member import Member
from kedge.migration.compare import StoreDiff
from kedge.migration.migrate import MoveReport
from kedge.open import compare_stores as compare_stores_sync
from kedge.open import migrate_store as migrate_store_sync
from kedge.open import open as open_sync
from kedge.stores.batches import VectorBatches, VectorRows
from kedge.stores.keyed import Context, Documents
from kedge.stores.memory import Memory
from kedge.stores.vectors import Vectors
from kedge.turns.turn import Turn
from kedge.turns.turn import current_turn as current_sync_turn
from kedge.turns.view import ReadView

THREADS = 8  # for calls outside turns
_STORES = frozenset({"artifacts", "memory", "context", "cache"})
_SPACES = frozenset({"documents", "vectors"})


def open(url: str | Path, **options: Any) -> "AsyncKedge":  # noqa: A001 - the twin of `kedge.open`
    """Return a database that `async with` or `await` opens; the options are those of `kedge.open`."""
    return AsyncKedge(partial(open_sync, url, **options))


async def migrate_store(source: str | Path, target: str | Path, **options: Any) -> MoveReport | None:
    """Move a database in a thread; the options are those of `kedge.migrate_store`. Callbacks run in that thread."""
    return await asyncio.to_thread(migrate_store_sync, source, target, **options)


async def compare_stores(a: str | Path, b: str | Path, **options: Any) -> StoreDiff:
    """Compare two databases in a thread; the options are those of `kedge.compare_stores`."""
    return await asyncio.to_thread(compare_stores_sync, a, b, **options)


# ── threads ──


class _Job(NamedTuple):
    call: Callable[[], Any]
    context: contextvars.Context
    answer: Future[Any]

    def run(self) -> None:
        if not self.answer.set_running_or_notify_cancel():
            return
        try:
            self.answer.set_result(self.context.run(self.call))
        except BaseException as error:  # noqa: BLE001 - the edge of the thread: it is raised at the await
            self.answer.set_exception(error)


class _Worker:
    """One thread that runs calls in the order of their submission."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._leaving = False  # set in the event loop
        self._stopped = False  # set in the thread
        self._thread = threading.Thread(target=self._work, name="kedge-turn", daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        if self._leaving:
            raise TurnClosed("this turn is closed; begin another with k.turn()")
        job = _Job(call, contextvars.copy_context(), Future())
        self._jobs.put(job)
        return job.answer

    def stop(self) -> None:
        """End the thread after the calls submitted before."""
        self._leaving = True
        self._jobs.put(_Job(self._stop, contextvars.copy_context(), Future()))

    def _stop(self) -> None:
        self._stopped = True

    def _work(self) -> None:
        while not self._stopped:
            self._serve()

    def _serve(self) -> None:
        job = self._jobs.get()
        if job is not None:
            job.run()

    def is_current(self) -> bool:
        return threading.current_thread() is self._thread

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """In the thread: run a coroutine in the event loop, and serve the calls that it submits meanwhile."""
        answer = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        answer.add_done_callback(lambda _: self._jobs.put(None))  # wakes the thread up
        while not answer.done():
            self._serve()
        return answer.result()


def _callable_in_thread(function: Callable[..., Any], worker: _Worker | None) -> Callable[..., Any]:
    """Return a plain function that runs a coroutine function, to be called in a thread."""
    loop = asyncio.get_running_loop()

    def call(*arguments: Any) -> Any:
        if loop.is_closed():
            raise TurnClosed(f"the event loop of {function!r} is closed; keep it open as long as Kedge")
        inside = worker if worker is not None and worker.is_current() else None
        given = [
            AsyncTurn(inside, argument) if inside is not None and isinstance(argument, Turn) else argument
            for argument in arguments
        ]
        if inside is not None:
            return inside.wait(function(*given))
        return asyncio.run_coroutine_threadsafe(function(*given), loop).result()

    return call


def _is_async(argument: object) -> bool:
    return inspect.iscoroutinefunction(argument) or inspect.iscoroutinefunction(getattr(argument, "__call__", None))  # noqa: B004


def _given(arguments: dict[str, Any] | tuple[Any, ...], worker: _Worker | None) -> Any:
    """Return arguments for a sync call: façades replaced by their targets, async functions by plain ones."""
    if isinstance(arguments, dict):
        return dict(zip(arguments, _given(tuple(arguments.values()), worker), strict=True))
    return tuple(
        argument._target()  # noqa: SLF001 - of a façade in this module
        if isinstance(argument, _Proxy)
        else _callable_in_thread(argument, worker)
        if _is_async(argument)
        else argument
        for argument in arguments
    )


# ── façades of turns, views and stores ──


class _Calls:
    """How calls of one turn or view run: in which thread, with which idempotency keys."""

    def __init__(self, submit: Callable[[Callable[[], Any]], Future[Any]], worker: _Worker | None, name: str) -> None:
        self._submit = submit
        self._worker = worker
        self._name = name
        self._count = 0
        self.unanswered: list[str] = []

    async def call(
        self, target: Callable[[], Any], method: str, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        given, named = _given(arguments, self._worker), _given(options, self._worker)
        key = options.get("idempotency")
        if method in _writing() and self._worker is not None and key is None:
            self._count += 1
            key = f"aio:{self._name}:{self._count}"
        answer = self._submit(partial(_do, target, method, given, named, key))
        try:
            found = await asyncio.wrap_future(answer)
            if isinstance(found, ReadView):
                return AsyncReadView(self, found)
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
        method for store in (Memory, Context, Documents, Vectors) for method in inspect.getmembers(store, callable)
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

    def __init__(self, calls: _Calls, target: Callable[[], Any]) -> None:
        self._calls = calls
        self._target = target

    def __getattr__(self, name: str) -> Any:
        """Return a coroutine function that calls the sync method of this name, or returns the property."""
        if name.startswith("_"):
            raise AttributeError(name)

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

    def __getattr__(self, name: str) -> Any:
        """Return a store, a function that returns one, or a method to await."""
        if name in _STORES and (name != "cache" or self._kind is Turn):
            return _Proxy(self._calls, lambda: getattr(self._target(), name))
        if name in _SPACES:
            return lambda collection: _Proxy(self._calls, cache(lambda: getattr(self._target(), name)(collection)))
        if not hasattr(self._kind, name):
            raise AttributeError(f"a {self._kind.__name__} has no {name!r}")
        return super().__getattr__(name)


class AsyncTurn(_ReadProxy):
    """A turn in a thread of its own: `async with k.turn(…) as turn`."""

    _kind = Turn

    def __init__(self, worker: _Worker, turn: Turn) -> None:
        super().__init__(_Calls(worker.submit, worker, turn.id), lambda: turn)
        _async_turns[turn] = weakref.ref(self)

    @property
    def unanswered(self) -> tuple[str, ...]:
        """The idempotency keys of writes whose answer was lost, oldest first: repeat each call with its key."""
        return tuple(self._calls.unanswered)


_async_turns: "weakref.WeakKeyDictionary[Turn, weakref.ReferenceType[AsyncTurn]]" = weakref.WeakKeyDictionary()


def current_turn() -> AsyncTurn | None:
    """Return the turn that this task works in, or None; `kedge.current_turn()` returns the sync turn behind it."""
    found = current_sync_turn()
    known = None if found is None else _async_turns.get(found)
    return None if known is None else known()


class AsyncMember(_Proxy):
    """This process as a member: `async with await k.join(name="support-1") as member`, or `await member.leave()`."""

    def __init__(self, pool: ThreadPoolExecutor, member: Member) -> None:
        super().__init__(_Calls(pool.submit, None, ""), lambda: member)

    def __getattr__(self, name: str) -> Any:
        """Return a coroutine function that calls the sync method of this name, or returns the property."""
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
        super().__init__(calls, lambda: view)


# ── the database ──


class AsyncKedge:
    """An open database, every method of `Kedge` awaited. Use it in `async with`, or `await` it and `await close()`."""

    def __init__(self, opener: Callable[[], Kedge]) -> None:
        self._opener = opener
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="kedge")
        self._opened: Kedge | None = None

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
        if self._opened is not None:
            await self._in_pool(self._opened.close)
        self._pool.shutdown(wait=False)

    async def _in_pool(self, call: Callable[[], Any]) -> Any:
        return await asyncio.wrap_future(self._pool.submit(contextvars.copy_context().run, call))

    def __getattr__(self, name: str) -> Any:
        """Return a coroutine function that calls the sync method of this name, or returns the property."""
        if name.startswith("_") or not hasattr(Kedge, name):
            raise AttributeError(f"a Kedge has no {name!r}")

        async def call(*arguments: Any, **options: Any) -> Any:
            found = await self._call(name, arguments, options)
            if isinstance(found, Member):
                return AsyncMember(self._pool, found)
            if isinstance(found, ReadView):
                return AsyncReadView(_Calls(self._pool.submit, None, ""), found)
            return found

        call.__name__ = name
        return call

    async def _call(self, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if not any(_is_async(argument) for argument in (*arguments, *options.values())):
            return await self._in_pool(
                partial(_do, lambda: self.sync, name, _given(arguments, None), _given(options, None), None)
            )
        worker = _Worker()  # a thread that waits for a coroutine and serves its calls
        try:
            given, named = _given(arguments, worker), _given(options, worker)
            return await asyncio.wrap_future(worker.submit(partial(_do, lambda: self.sync, name, given, named, None)))
        finally:
            worker.stop()

    @asynccontextmanager
    async def turn(
        self, session: str | None = None, agent: str | None = None, **options: Any
    ) -> AsyncIterator[AsyncTurn]:
        """Begin a turn in a thread of its own; the arguments are those of `Kedge.turn`."""
        sync = self.sync
        worker = _Worker()
        try:
            turn: Turn = await asyncio.wrap_future(worker.submit(partial(sync.turn, session, agent, **options)))
            try:
                turn.__enter__()  # in the task's own context: it becomes current there
                yield AsyncTurn(worker, turn)
            finally:  # a cancelled call that has begun ends before the turn does
                await asyncio.shield(asyncio.wrap_future(worker.submit(turn.close)))
        finally:
            worker.stop()
