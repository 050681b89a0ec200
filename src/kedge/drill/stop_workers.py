"""Worker processes of the stop drill: members that act as fast as they may, and note when.

Requests and replies are JSON over a pipe, as with the reviewer's processes. Times are of the clock that
leases run on, which all processes of a machine share.
"""

import multiprocessing
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Literal, Self

import msgspec

from kedge.drill.database import Database, StopOpener
from kedge.errors import KedgeError
from kedge.model.levels import Level
from kedge.ports.clock import SystemClock, lease_clock
from kedge.turns.turn import Turn

TOOL = "drill-tool"
ACT_SECONDS = 0.005  # how long an act takes
LOOK_SECONDS = 0.002
_ANSWER_SECONDS = 60.0
now = lease_clock(SystemClock()).elapsed


class Act(msgspec.Struct, frozen=True):
    """One act: when it was permitted, at which epoch, and when it ended."""

    permitted_at: float
    epoch: int
    ended_at: float


class Seen(msgspec.Struct, frozen=True):
    """What a worker has done since it was asked last.

    `off_at` and `full_at` are when it first found its level off, and full; `refusal` is the first error of an act.
    """

    member: str
    acts: list[Act] = []
    off_at: float | None = None
    full_at: float | None = None
    refusal: str = ""
    answers: dict[str, str] = {}


class _Request(msgspec.Struct, frozen=True, omit_defaults=True):
    what: Literal["look", "attempt", "end"]
    entry: str = ""


class StopWorker:
    """Client of one worker process."""

    def __init__(self, open_: StopOpener, url: str, stop_file: str, feature: str, number: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (open_, url, stop_file, feature, f"drill-{number}", theirs)
        self._process = context.Process(target=_serve, args=arguments, name=f"kedge-drill-{number}", daemon=True)
        self._process.start()
        theirs.close()

    def look(self) -> Seen:
        """Return what the worker has done since the last look."""
        return self._ask(_Request("look"))

    def attempt(self, entry: str) -> dict[str, str]:
        """Let the agent try to lift an entry in every way that it has; return what came of each."""
        return self._ask(_Request("attempt", entry)).answers

    def close(self) -> None:
        """End the process."""
        with suppress(OSError):
            self._pipe.send_bytes(msgspec.json.encode(_Request("end")))
        self._process.join(5)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(5)
        self._pipe.close()

    def _ask(self, request: _Request) -> Seen:
        try:
            self._pipe.send_bytes(msgspec.json.encode(request))
            if not self._pipe.poll(_ANSWER_SECONDS):
                raise KedgeError(f"a worker of the drill has not answered {request.what!r}; look at its output")
            return msgspec.json.decode(self._pipe.recv_bytes(), type=Seen)
        except (EOFError, OSError) as error:
            raise KedgeError(f"a worker of the drill ended at {request.what!r} ({error}); run it again") from error


class StopWorkers:
    """Several workers, ended at the end of the block."""

    def __init__(self, open_: StopOpener, url: str, stop_file: str, feature: str, count: int) -> None:
        self.all = [StopWorker(open_, url, stop_file, feature, number) for number in range(1, count + 1)]

    def look(self) -> list[Seen]:
        """Return what each has done since the last look."""
        return [worker.look() for worker in self.all]

    def __enter__(self) -> Self:
        """Return the workers."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes."""
        for worker in self.all:
            worker.close()


class _Acting:
    """Two threads of a worker: one acts as fast as it may, one looks at the level, which takes no I/O."""

    def __init__(self, k: Database, feature: str, name: str) -> None:
        self._k, self._feature, self._name = k, feature, name
        self._lock = threading.Lock()
        self._seen = Seen(name)
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=work, name="kedge-drill-acting", daemon=True) for work in (self._act, self._look)
        ]
        for thread in self._threads:
            thread.start()

    def _act(self) -> None:
        while not self._end.wait(ACT_SECONDS):
            try:
                with self._k.turn(session=f"{self._feature}-{self._name}", agent=self._feature) as turn:
                    while not self._end.is_set():
                        self._act_once(turn)
            except KedgeError as error:
                self._note(refusal=f"{type(error).__name__}: {error}")

    def _act_once(self, turn: Turn) -> None:
        with turn.require("act", tool=TOOL) as permit:
            permitted_at = now()
            self._end.wait(ACT_SECONDS)
            epoch = permit.epoch
        with self._lock:
            self._seen.acts.append(Act(permitted_at, epoch, now()))

    def _look(self) -> None:
        with self._k.turn(session=f"{self._feature}-{self._name}-look", agent=self._feature) as turn:
            while not self._end.wait(LOOK_SECONDS):
                level = turn.level
                if level is Level.OFF:
                    self._note(off_at=now())
                elif level is Level.FULL:
                    self._note(full_at=now())

    def _note(self, **found: float | str) -> None:
        """Keep what is found first."""
        with self._lock:
            fresh = {name: value for name, value in found.items() if not getattr(self._seen, name)}
            if fresh:
                self._seen = msgspec.structs.replace(self._seen, **fresh)

    def take(self) -> Seen:
        with self._lock:
            taken, self._seen = self._seen, Seen(self._name)
        return taken

    def end(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(_ANSWER_SECONDS)


def _serve(open_: StopOpener, url: str, stop_file: str, feature: str, name: str, pipe: Connection) -> None:
    """Act until `end` or the end of the pipe. Ignore Ctrl-C: the parent process handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open_(url, stop_file=stop_file) as k, k.join(name, serves=[feature]):
        acting = _Acting(k, feature, name)
        try:
            while True:
                request = msgspec.json.decode(pipe.recv_bytes(), type=_Request)
                if request.what == "end":
                    return
                seen = acting.take()
                if request.what == "attempt":
                    seen = msgspec.structs.replace(seen, answers=_attempt(k, feature, name, request.entry))
                pipe.send_bytes(msgspec.json.encode(seen))
        except EOFError:
            return
        finally:
            acting.end()


def _attempt(k: Database, feature: str, name: str, entry: str) -> dict[str, str]:
    """Try to lift an entry as an agent; return the name of the error of each attempt, "done" where none was raised."""
    tries: dict[str, Callable[[], object]] = {
        "loosen, in the agent's turn": lambda: k.ladder.loosen(entry),
        "set_level to full, in the agent's turn": lambda: k.set_level(feature, "full"),
        "loosen, by the agent's name": lambda: k.ladder.loosen(entry, by=f"agent:{feature}"),
    }
    answers = {}
    with k.turn(session=f"{feature}-{name}-attempt", agent=feature):
        for what, attempt in tries.items():
            try:
                attempt()
                answers[what] = "done"
            except KedgeError as error:
                answers[what] = type(error).__name__
    return answers


__all__ = ["Act", "Seen", "StopWorker", "StopWorkers"]
