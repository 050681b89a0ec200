"""The reviewer's processes: they use the same database, and join their callers' turns by signed headers.

Requests and replies are JSON over a pipe. Requests: *review* a question; *hold* a turn open in the middle of a session;
*resume* that turn later; *digest* all that is visible.
"""

import multiprocessing
import signal
from contextlib import suppress
from multiprocessing.connection import Connection
from threading import Lock
from types import TracebackType
from typing import Literal, Protocol, Self
from zlib import crc32

import msgspec

from kedge.drill.agents import Task, review
from kedge.drill.content import Scope, digest, visible
from kedge.drill.database import Database, Opener
from kedge.drill.trace import Op
from kedge.drill.traced_turn import Stopped, TracedTurn
from kedge.errors import KedgeError
from kedge.turns.turn import Turn

_ANSWER_SECONDS = 120.0
REVIEWERS = 2
_HELD_KEY = "held/by-the-reviewer"


class Reviewed(msgspec.Struct, frozen=True):
    """A reviewer's verdict, what it did to reach it, and the headers it sends back."""

    verdict: str
    ops: list[Op]
    headers: dict[str, str]


class Reviewer(Protocol):
    """A reviewer, in this process or in another."""

    def review(self, task: Task, headers: dict[str, str], stop_at: int | None = None) -> Reviewed:
        """Review one question for a caller; with `stop_at`, stop at that operation."""


class LocalReviewer:
    """The reviewer in this process."""

    def __init__(self, k: Database) -> None:
        self._k = k

    def review(self, task: Task, headers: dict[str, str], stop_at: int | None = None) -> Reviewed:
        """Review one question in a turn of its own."""
        ops: list[Op] = []
        verdict = ""
        with self._k.turn(agent="reviewer", parent=headers) as turn:
            try:
                verdict = review(TracedTurn(turn, f"{task.name}/reviewer", ops.append, stop_at=stop_at), task)
            except Stopped:
                return Reviewed("", ops, {})
            return Reviewed(verdict, ops, turn.headers())


class _Request(msgspec.Struct, frozen=True, omit_defaults=True):
    what: Literal["review", "hold", "resume", "digest", "stop"]
    task: Task | None = None
    headers: dict[str, str] = {}
    session: str = ""
    scope: Scope | None = None


class _Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    text: str = ""
    reviewed: Reviewed | None = None
    failed: str = ""


class ReviewerProcess:
    """Client of one reviewer process. Safe to share between threads; requests run one at a time."""

    def __init__(self, open_: Opener, url: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(open_, url, theirs), name="kedge-drill-reviewer")
        self._process.daemon = True
        self._process.start()
        theirs.close()
        self._lock = Lock()

    def review(self, task: Task, headers: dict[str, str], stop_at: int | None = None) -> Reviewed:
        """Review one question in the other process."""
        if stop_at is not None:
            raise AssertionError("stop_at is for the reviewer of a twin, which runs in this process")
        reviewed = self._ask(_Request("review", task=task, headers=headers)).reviewed
        if reviewed is None:
            raise AssertionError("the reviewer's process answered without a verdict")
        return reviewed

    def hold(self, session: str) -> None:
        """Open a turn in a session there, read as answering does, and keep the turn open."""
        self._ask(_Request("hold", session=session))

    def resume(self) -> str:
        """Write in the held turn; return the name of the error raised, or an empty string."""
        return self._ask(_Request("resume")).text

    def digest(self, scope: Scope) -> str:
        """Return the digest of all that is visible there."""
        return self._ask(_Request("digest", scope=scope)).text

    def close(self) -> None:
        """End the process."""
        if self._process.is_alive():
            with suppress(OSError):
                self._pipe.send_bytes(msgspec.json.encode(_Request("stop")))
            self._process.join(5)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(5)
        self._pipe.close()

    def _ask(self, request: _Request) -> _Reply:
        with self._lock:
            try:
                self._pipe.send_bytes(msgspec.json.encode(request))
                if not self._pipe.poll(_ANSWER_SECONDS):
                    raise KedgeError(f"the reviewer's process has not answered {request.what!r}; look at its output")
                reply = msgspec.json.decode(self._pipe.recv_bytes(), type=_Reply)
            except (EOFError, OSError) as error:
                raise KedgeError(
                    f"the reviewer's process ended at {request.what!r} ({error}); run the drill again"
                ) from error
        if reply.failed:
            raise KedgeError(f"the reviewer's process failed at {request.what!r}: {reply.failed}")
        return reply


class ReviewerPool:
    """Several reviewer processes; the same question always goes to the same one."""

    def __init__(self, open_: Opener, url: str) -> None:
        self._all = [ReviewerProcess(open_, url) for _ in range(REVIEWERS)]

    def review(self, task: Task, headers: dict[str, str], stop_at: int | None = None) -> Reviewed:
        """Review one question in the other process."""
        return self._all[crc32(task.name.encode()) % REVIEWERS].review(task, headers, stop_at)

    def hold(self, session: str) -> None:
        """Open a turn in a session in one process, read as answering does, and keep the turn open."""
        self._all[0].hold(session)

    def resume(self) -> str:
        """Write in the held turn; return the name of the error raised, or an empty string."""
        return self._all[0].resume()

    def all_see(self, scope: Scope, expected: str) -> bool:
        """Return whether the visible content of each process has this digest."""
        return all(reviewer.digest(scope) == expected for reviewer in self._all)

    def __enter__(self) -> Self:
        """Return the reviewers."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes."""
        for reviewer in self._all:
            reviewer.close()


def _serve(open_: Opener, url: str, pipe: Connection) -> None:
    """Answer requests until `stop` or the end of the pipe. Ignore Ctrl-C: the parent process handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open_(url) as k:
        server = _Server(k)
        while True:
            try:
                request = msgspec.json.decode(pipe.recv_bytes(), type=_Request)
            except EOFError:
                return
            if request.what == "stop":
                return
            try:
                reply = server.answer(request)
            except Exception as error:  # noqa: BLE001 - a process's edge: the caller raises it
                reply = _Reply(failed=f"{type(error).__name__}: {error}")
            pipe.send_bytes(msgspec.json.encode(reply))


class _Server:
    """Request handler in the other process."""

    def __init__(self, k: Database) -> None:
        self._k = k
        self._reviewer = LocalReviewer(k)
        self._held: Turn | None = None

    def answer(self, request: _Request) -> _Reply:
        if request.what == "review" and request.task is not None:
            return _Reply(reviewed=self._reviewer.review(request.task, request.headers))
        if request.what == "hold":
            self._held = self._k.turn(session=request.session, agent="answering")
            self._held.memory.history()
        elif request.what == "resume" and self._held is not None:
            return _Reply(self._write())
        elif request.what == "digest" and request.scope is not None:
            return _Reply(digest(visible(self._k, request.scope)))
        return _Reply()

    def _write(self) -> str:
        if self._held is None:
            return "no held turn"
        try:
            self._held.context.put(_HELD_KEY, "written after the rollback, by a process that had not heard of it")
        except KedgeError as error:
            return type(error).__name__
        finally:
            self._held.close()
        return ""


__all__ = ["LocalReviewer", "Reviewed", "Reviewer", "ReviewerProcess"]
