"""Worker processes on one database: one JSON request a line, one JSON answer a line.

`python -m tests.workers FOLDER WHO` reads one JSON request `[name, arguments…]` a line and prints the JSON result, or
`{"error": class, "message": …}` for an error of Kedge. Any other exception ends it, with a traceback on stderr.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

import kedge
from kedge.model.address import locate
from kedge.support import failpoints
from tests.databases import raw_rows
from tests.processes import Talker
from tests.thresholds import lower

DIM = 4
KEYS = [f"k{n:02}" for n in range(24)]
WAIT_SECONDS = 60


# ── requests ──


def put(k: kedge.Kedge, key: str, value: Any, expect: int | None = None) -> int:
    with k.turn(agent="clerk") as turn:
        return turn.context.put(key, value, expect=expect)


def increment(k: kedge.Kedge, key: str, times: int, who: str) -> list[int]:
    """Add one to a counter so many times, by compare-and-set; return the values that this process made."""
    made: list[int] = []
    while len(made) < times:
        with k.turn(agent="clerk") as turn:
            entry = turn.context.entry(key)
            following = 1 if entry is None else entry.value["n"] + 1
            try:
                turn.context.put(key, {"n": following, "by": who}, expect=0 if entry is None else entry.seq)
            except kedge.ExpectationFailed:
                continue
            made.append(following)
    return made


def converse(k: kedge.Kedge, session: str, times: int) -> list[int]:
    """Append so many messages, each after the newest one that this process saw; return their seqs."""
    made: list[int] = []
    while len(made) < times:
        with k.turn(session, "clerk") as turn:
            newest = [message.seq for message in turn.memory.history(limit=1)] or [0]
            try:
                made.append(turn.memory.append("assistant", {"after": newest[0]}, expect=newest[0]))
            except kedge.ExpectationFailed:
                continue
    return made


def assign(k: kedge.Kedge, sessions: list[str]) -> list[list[str]]:
    return [k.assignment(session) for session in sessions]


def deploy(k: kedge.Kedge, name: str, canary: float | None = None) -> str:
    return str(k.deploy(name, {"shared/x": name}, canary=canary, independent=True).status)


def weigh(k: kedge.Kedge, name: str, weights: list[float]) -> None:
    for weight in weights:
        k.canary(name, weight)


def write(k: kedge.Kedge, who: str, first: int, count: int) -> list[int]:
    """Write to every store in an agent's turns, beginning anew where a rollback ends one; each batch has a key."""
    done = []
    for number in range(first, first + count):
        while True:
            try:
                with k.turn(session=f"s-{who}-{number // 10}", agent="support") as turn:
                    write_once(turn, who, number)
                break
            except (kedge.RolledBack, kedge.Retryable):
                continue
        done.append(number)
    return done


def write_once(turn: kedge.Turn, who: str, number: int) -> None:
    key = f"{who}:{number}"
    match number % 4:
        case 0:
            turn.memory.extend([("user", key), ("assistant", key), ("assistant", key)], idempotency=key)
        case 1:
            turn.context.put(f"shared/{number % 7}", key, idempotency=key)
        case 2:
            ids = [*KEYS[:3], f"{who}{number}"]
            turn.vectors("kb").upsert(ids, matrix(ids, number), idempotency=key)
        case _:
            turn.documents("kb").put(f"doc {number % 5}", key, origin="derived", idempotency=key)


BATCH = {0: 3, 1: 1, 2: 4, 3: 1}  # writes in the batch of `write_once`


def batches_in(place: Path | str) -> dict[str, int]:
    """Return the batches that are there, as writes by idempotency key; fail at one that is there by half."""
    if str(place).startswith("postgresql"):
        rows = raw_rows(str(place), _BATCHES_ON_A_SERVER)
    else:
        rows = raw_rows(f"sqlite:///{locate(place)}", _BATCHES_IN_A_FILE)
    assert [row for row in rows if row[1] != row[2]] == []
    return {key: count for key, count, _ in rows}


_BATCHES_IN_A_FILE = """SELECT i.key, i.count, count(w.seq) FROM idempotency i
LEFT JOIN writes w ON w.seq BETWEEN i.seq AND i.seq + i.count - 1 GROUP BY i.key, i.seq"""
_BATCHES_ON_A_SERVER = """SELECT i.key, cardinality(i.seqs), count(w.seq) FROM idempotency i
LEFT JOIN writes w ON w.seq = ANY(i.seqs) GROUP BY i.key, i.seqs"""


def launch(k: kedge.Kedge, name: str, *, purge: bool) -> list[bool | None]:
    """Take a release through canary, rollback, reinstatement and rollback; return what verification said each time."""
    k.deploy(name, {"support/prompt": name}, canary=1.0)
    ok: list[bool | None] = [k.rollback(name).ok]
    k.reinstate(name)
    ok.append(k.rollback(name).ok)
    if purge:
        k.purge(name, confirm=name)
    return ok


def flip(k: kedge.Kedge, name: str) -> str:
    """Roll a release back, or reinstate it; return how it stands."""
    if k.deployment(name).status is kedge.Status.ROLLED_BACK:
        return str(k.reinstate(name).status)
    k.rollback(name, verify=False)
    return str(k.deployment(name).status)


def dawdle(_: kedge.Kedge, point: str, seconds: float) -> None:
    """Sleep at each reach of a crash point from now on: what holds the write lock there makes others wait."""
    failpoints.arm(point, lambda: time.sleep(seconds))


def doom(_: kedge.Kedge, setting: str) -> None:
    """Die by SIGKILL at a crash point, as `KEDGE_FAILPOINT` spells it."""
    failpoints.arm_from(setting)


def compact(k: kedge.Kedge, times: int) -> int:
    """Compact so many times; return how many rows that took out."""
    return sum(k.optimize("kb")["kb"].reclaimed_rows for _ in range(times))


# A member that keeps one turn open.
_member: list[kedge.Member] = []
_turn: list[kedge.Turn] = []


def join(k: kedge.Kedge, name: str, lease_seconds: float) -> None:
    _member[:] = [k.join(name, lease_seconds=lease_seconds)]


def begin(k: kedge.Kedge, session: str, agent: str) -> None:
    _turn[:] = [k.turn(session=session, agent=agent)]


def note(_: kedge.Kedge, key: str, value: int) -> int:
    return _turn[0].context.put(key, value)


def level_now(_: kedge.Kedge) -> str:
    return str(_turn[0].level)


def standing(_: kedge.Kedge) -> dict[str, Any]:
    return {"serving": _member[0].serving, "epoch": _member[0].epoch}


def serve_sessions(k: kedge.Kedge, who: str, first: int, count: int) -> dict[str, int]:
    """Serve new sessions of an agent whose answers are as good as its prompt; count them by the prompt that they saw.

    Three of five answers fail under a prompt that says 'bad', and none under any other: no chance freezes a ramp.
    """
    served: dict[str, int] = {}
    for number in range(first, first + count):
        try:
            with k.turn(f"{who}-{number}", "support") as turn:
                prompt = str(turn.artifacts["support/prompt"].value)
                turn.memory.append("user", f"question {number}")
                turn.memory.append("assistant", f"an answer by the {prompt} prompt")
                turn.observe("resolved", prompt != "bad" or number % 5 > 2)
        except kedge.RolledBack:
            prompt = "stopped"
        served[prompt] = served.get(prompt, 0) + 1
    return served


def stop_before_append(k: kedge.Kedge) -> None:
    """Pause this process, as SIGSTOP from outside would, between an append's look at the lease and its transaction."""
    journal: Any = k._kernel.backend.journal
    append = journal.append

    def stopped(batch: Any) -> Any:
        journal.append = append
        os.kill(os.getpid(), signal.SIGSTOP)
        return append(batch)

    journal.append = stopped


def roll_back(k: kedge.Kedge, name: str, hold: list[str]) -> bool:
    return k.rollback(name, hold=hold).ok


def overwrite(k: kedge.Kedge, first: int, count: int) -> None:
    """Write every vector of KEYS anew, as one batch each time, and delete them all now and then."""
    with k.turn(agent="clerk") as turn:
        for version in range(first, first + count):
            if version % 5 == 0:
                turn.vectors("kb").delete(KEYS)
            else:
                turn.vectors("kb").upsert(KEYS, matrix(KEYS, version), [{"v": version}] * len(KEYS))


def low(_: kedge.Kedge, *, behind: bool) -> None:
    """Index a few hundred rows like millions; without `behind`, only where that is asked for."""
    lower(behind=behind)


def grow(k: kedge.Kedge, batch: int, size: int, deployment: str | None = None) -> bool:
    """Add `size` rows and write as many over as change with each batch; say whether that was still possible."""
    prefix = "new" if deployment is None else "bad"
    ids = [f"{prefix}-{batch}-{n}" for n in range(size)]
    again = [f"again-{n}" for n in range(size // 2)] if deployment is None else []
    try:
        with k.turn(agent="support", deployment=deployment) as turn:
            turn.vectors("kb").upsert(ids + again, points(ids, 0, again, batch), [{"v": batch}] * len(ids + again))
            turn.vectors("kb").search([1.0] * DIM)  # which has an index built where that is due
    except (kedge.RolledBack, kedge.IllegalTransition):  # within a turn, or between two
        return False
    return True


def optimize(k: kedge.Kedge) -> dict[str, int]:
    return {name: done.indexed for name, done in k.optimize().items()}


def find(k: kedge.Kedge, batch: int, size: int) -> dict[str, int]:
    """Look for the rows of a batch, and for rows that changed with it, each by its own vector; count what is wrong."""
    kb = k.view().vectors("kb")
    wrong = {"missed": 0, "missed by exact search": 0, "stale": 0, "hidden": 0, "exact": 0}
    for n in range(0, size, 7):
        name, again = f"new-{batch}-{n}", f"again-{n % (size // 2)}"
        own, old = points([name], 0, [again], batch)
        for exact in (False, True):
            hits = kb.search(own, k=3, exact=exact)
            if not hits or hits[0].id != name:
                wrong["missed by exact search" if exact else "missed"] += 1
            for hit in [*hits, *kb.search(old, k=3, exact=exact)]:
                wrong["stale"] += hit.id.startswith("again") and hit.payload["v"] < batch
                wrong["hidden"] += hit.id.startswith("bad")
            wrong["exact"] += not exact and hits.exact
    return wrong


def points(ids: list[str], version: int, others: list[str], other_version: int) -> npt.NDArray[np.float32]:
    """Return a direction for each id and version."""
    seeds = [(ident, version) for ident in ids] + [(ident, other_version) for ident in others]
    rows = [np.random.default_rng([*ident.encode(), at]).standard_normal(DIM) for ident, at in seeds]
    return np.array(rows, np.float32)


def matrix(ids: Iterable[str], version: int) -> npt.NDArray[np.float32]:
    """Return vectors that tell their version: it is the first number of each."""
    return np.array([[version + 1, *(ord(c) for c in ident.rjust(3)[-3:])] for ident in ids], np.float32)


COMMANDS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        *(put, increment, converse, assign, deploy, weigh, write, launch, flip, dawdle, doom),
        *(overwrite, compact, low, grow, find, optimize),
        *(join, begin, note, level_now, standing, serve_sessions, stop_before_append, roll_back),
    )
}


def main(place: str) -> None:
    """Answer requests until stdin ends."""
    warnings.simplefilter("error")
    with kedge.open(place, durability="normal") as k:
        answer("ready")
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            options = arguments.pop() if arguments and isinstance(arguments[-1], dict) else {}
            try:
                answer(COMMANDS[name](k, *arguments, **options))
            except kedge.KedgeError as error:
                answer({"error": type(error).__name__, "message": str(error)})


def answer(result: Any) -> None:
    os.write(1, json.dumps(result).encode() + b"\n")


# ── the parent's side ──


class Worker:
    """One such process. Use as a context manager: it is ended at the end, and must not have failed by itself."""

    def __init__(self, place: Path | str, who: str = "") -> None:
        self._errors = tempfile.TemporaryFile("w+", prefix=who)  # noqa: SIM115 - closed with the process
        self.process = Talker(["-m", "tests.workers", str(place)], self._errors)

    def ready(self) -> Self:
        """Wait until it has opened the database."""
        assert self.result() == "ready"
        return self

    def ask(self, *request: Any, **options: Any) -> None:
        """Send a request; the answer is `result()`."""
        stdin = self.process.stdin
        stdin.write(json.dumps([*request, options] if options else request) + "\n")
        stdin.flush()

    def result(self) -> Any:
        """Wait for the answer to the oldest request that has none yet."""
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(WAIT_SECONDS)
            self._errors.seek(0)
            raise AssertionError(f"the worker ended with {self.process.returncode}:\n{self._errors.read()}")
        return json.loads(line)

    def do(self, *request: Any, **options: Any) -> Any:
        """Send a request and wait for its answer."""
        self.ask(*request, **options)
        return self.result()

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(WAIT_SECONDS)

    def rest(self) -> list[Any]:
        """Return the answers that it gave before it died."""
        return [json.loads(line) for line in self.process.stdout if line.endswith("\n")]

    def close(self) -> None:
        """Let the process end, and close its pipes."""
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Self:
        return self.ready()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


if __name__ == "__main__":
    main(sys.argv[1])
