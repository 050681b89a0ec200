"""Bounded thread pool in which the calls of one owner run one after another, and may wait for coroutines."""

import asyncio
import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, NamedTuple
from weakref import WeakSet

from kedge.support.interrupts import shielded

_IDLE_SECONDS = 5.0
_here = threading.local()


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


class Strands:
    """At most `limit` threads for any number of strands.

    A thread that waits for a coroutine does not count: the coroutine may need another thread, and a limit on waiting
    threads could deadlock. Idle threads end after a few seconds, at once after `close`.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._is_closed = False
        self.after_fork()
        _in_use.add(self)

    def after_fork(self) -> None:
        """Begin without threads: in a forked child, those of the parent do not exist."""
        self._ready: deque[Strand] = deque()
        self._changed = threading.Condition()
        self._counted = 0
        self._idle = 0

    def put(self, strand: "Strand") -> None:
        """Run the next job of a strand as soon as a thread is free."""
        with self._changed:
            self._ready.append(strand)
            self._provide()

    def close(self) -> None:
        """End the threads once nothing is left to run."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def leave(self) -> None:
        """Stop counting the calling thread, which is about to wait."""
        with self._changed:
            self._counted -= 1
            self._provide()

    def rejoin(self) -> None:
        """Count the calling thread again, even above the limit: it ends its job, and then itself."""
        with self._changed:
            self._counted += 1

    def _provide(self) -> None:
        if self._idle:
            self._changed.notify()
        if len(self._ready) > self._idle and self._counted < self._limit:
            self._counted += 1
            threading.Thread(target=self._work, name="kedge-turns", daemon=True).start()

    def _work(self) -> None:
        while (strand := self._next()) is not None:
            strand.run_one()

    def _next(self) -> "Strand | None":
        with self._changed:
            while self._counted <= self._limit:
                if self._ready:
                    return self._ready.popleft()
                if self._is_closed:
                    break
                self._idle += 1
                was_woken = self._changed.wait(_IDLE_SECONDS)
                self._idle -= 1
                if not was_woken and not self._ready:
                    break
            self._counted -= 1
            self._provide()  # for what came meanwhile
            return None


class Strand:
    """Calls of one owner: they run one after another, in the order in which they were submitted."""

    def __init__(self, strands: Strands) -> None:
        self._strands = strands
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._loop = asyncio.get_running_loop()
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._is_active = False  # a thread has it, or will
        self._waits = 0  # for coroutines, one inside another

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        """Run a call in a thread, with the caller's context variables; return its future."""
        return shielded(self._submit, call)

    def _submit(self, call: Callable[[], Any]) -> Future[Any]:
        if self._pid != os.getpid():  # what the parent of this forked process has submitted runs there
            self._begin()
        job = _Job(call, contextvars.copy_context(), Future())
        with self._changed:
            self._jobs.append(job)
            was_active, self._is_active = self._is_active, True
            self._changed.notify()
        if not was_active:
            self._strands.put(self)
        return job.answer

    def run_one(self) -> None:
        """Run the next job, in a thread of the pool."""
        _here.strand = self
        try:
            self._jobs.popleft().run()
        finally:
            _here.strand = None
        with self._changed:
            self._is_active = has_more = bool(self._jobs)
        if has_more:
            self._strands.put(self)

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in the event loop; run in this thread, meanwhile, the calls that it submits here."""
        answer = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        answer.add_done_callback(self._wake)
        self._waits += 1
        if self._waits == 1:
            self._strands.leave()
        try:
            while (job := self._next_job(answer)) is not None:
                job.run()
        finally:
            self._waits -= 1
            if self._waits == 0:
                self._strands.rejoin()
        return answer.result()

    def _next_job(self, answer: Future[Any]) -> _Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or answer.done())
            return None if answer.done() else self._jobs.popleft()

    def _wake(self, _: Future[Any]) -> None:
        with self._changed:
            self._changed.notify_all()


def current_strand() -> Strand | None:
    """Return the strand whose call runs in this thread, if any."""
    found: Strand | None = getattr(_here, "strand", None)
    return found


_in_use: WeakSet[Strands] = WeakSet()


def _after_fork() -> None:
    for strands in _in_use:
        strands.after_fork()


os.register_at_fork(after_in_child=_after_fork)
