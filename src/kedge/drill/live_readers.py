"""Live readers: threads that read during a rehearsal and check that they see none of its writes."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from types import TracebackType
from typing import Self

from kedge.drill.database import Database, Opener
from kedge.drill.probes import AGENT, Probe, Reader

_PAUSE_SECONDS = 0.005
_IDLE_SHARE = 4  # pause this many times as long as a read takes, so that the load stays low
_START_SECONDS = 60


class LiveReaders:
    """Threads that read each place where the rehearsal writes: by new views, by new turns, and by one long turn.

    One thread uses a connection of its own, as another process does.
    """

    def __init__(self, k: Database, open_: Opener, url: str, probes: Sequence[Probe]) -> None:
        self._probes = probes
        self._stop = threading.Event()
        self._started = threading.Barrier(4)
        self._lock = threading.Lock()
        self.reads = 0
        self.leaks: list[str] = []
        self.errors: list[str] = []
        roles: dict[str, Callable[[], None]] = {
            "views": lambda: self._with_views(k),
            "a long turn": lambda: self._with_long_turn(k),
            "another connection": lambda: self._with_own_connection(open_, url),
        }
        self._threads = [
            threading.Thread(target=self._run, args=(role, work), name=f"kedge-drill-{role}", daemon=True)
            for role, work in roles.items()
        ]

    def __enter__(self) -> Self:
        """Start reading; return when all threads have started."""
        for thread in self._threads:
            thread.start()
        with suppress(threading.BrokenBarrierError):  # the reason is in `errors`
            self._started.wait(_START_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reading."""
        self._stop.set()
        for thread in self._threads:
            thread.join(_START_SECONDS)

    def _run(self, role: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - a thread's edge: every error goes into the report
            self._started.abort()
            with self._lock:
                self.errors.append(f"{role}: {type(error).__name__}: {error}")

    def _with_views(self, k: Database) -> None:
        self._keep_reading(lambda: nullcontext(k.view()), "a view")

    def _with_long_turn(self, k: Database) -> None:
        with k.turn(agent=AGENT) as turn:
            self._keep_reading(lambda: nullcontext(turn), "a long open turn")

    def _with_own_connection(self, open_: Opener, url: str) -> None:
        with open_(url) as k:
            self._keep_reading(lambda: k.turn(agent=AGENT), "a turn on another connection")

    def _keep_reading(self, open_reader: Callable[[], AbstractContextManager[Reader]], who: str) -> None:
        self._started.wait(_START_SECONDS)
        pause = 0.0
        while not self._stop.wait(pause):
            began = time.perf_counter()
            with open_reader() as reader:
                self._read_all(reader, who)
            pause = max(_PAUSE_SECONDS, _IDLE_SHARE * (time.perf_counter() - began))

    def _read_all(self, reader: Reader, who: str) -> None:
        for probe in self._probes:
            seen = probe.read(reader)
            with self._lock:
                self.reads += 1
                if seen is not None:
                    self.leaks.append(f"{who} saw {seen!r:.80} in {probe.store} {probe.space}".rstrip())


__all__ = ["LiveReaders"]
