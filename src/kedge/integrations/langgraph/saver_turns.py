"""Turns of graphs: which turn a node, a checkpoint and a task's writes belong to, so that lineage follows the work.

A loop is one run of a graph on a namespace of a thread: an invocation, or a subgraph inside a task. Its state at a
checkpoint has a turn; what a task of that step reads goes to a child turn of the task; the next checkpoint's turn has
absorbed the tasks of the step. So what a checkpoint is stamped with depends neither on timing nor on threads.
"""

import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar, copy_context
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from langgraph.config import get_config

import kedge
from kedge.integrations.langgraph.saver_rows import Kept

if TYPE_CHECKING:
    from kedge.integrations.langgraph.saver_inputs import Given

T = TypeVar("T")
_STEPS_MAX = 64  # steps whose late writes find their turn
_LOOPS_MAX = 32  # loops that one context knows: as many streams can be consumed there by turns
_numbers = count()
_SEPARATOR, _END = "|", ":"  # of the levels of a namespace, and of a node's name and its task
_PUSH = "__pregel_push"  # in a path, of tasks that nodes and other tasks send


class Step:
    """A step of a loop: the turn of the state that it began with, and its tasks."""

    def __init__(self, turn: kedge.Turn) -> None:
        self.turn = turn
        self.tasks: dict[str, Task] = {}

    def caller_of(self, path: str) -> "Task | None":
        """Return the task that called another one, given the path of the latter; None where no task did."""
        called = path.removeprefix(f"~{_PUSH}, ")
        if called == path or not called.startswith("~"):
            return None
        known = [task for task in tuple(self.tasks.values()) if task.path and called.startswith(f"{task.path}, ")]
        return max(known, key=lambda task: len(task.path), default=None)


class Task:
    """A task of a step: turns of its agents, turns that its code began itself, loops of its subgraphs, tasks it called.

    It may call tasks of the same step (the functional API), and graphs that save nothing.
    """

    lock: Any

    def __init__(self, loop: "Loop", step: Step, caller: "Task | None" = None) -> None:
        self.loop, self.step, self.caller = loop, step, caller
        self.path = ""
        self.active: kedge.Turn | None = None
        self.agents: dict[str, kedge.Turn] = {}
        self.joined: list[kedge.Turn] = []
        self.loops: list[Loop] = []
        self.called: dict[str, Task] = {}
        self.lock = threading.RLock() if caller is None else caller.lock  # each of them looks into the other

    def call(self, task: str) -> "Task":
        """Return a task that this one calls."""
        with self.lock:
            found = self.called.get(task)
            if found is None:
                found = self.called[task] = self.step.tasks[task] = Task(self.loop, self.step, self)
            return found

    def turn(self, agent: str) -> kedge.Turn:
        """Return the task's turn as this agent; it has read what the task, and what it has called, has read before."""
        with self.lock:
            known = self.agents.get(agent)
            others = [turn for turn in self.turns() if turn is not known]
            if known is None:
                known = begin(self.loop.k, agent, self.step.turn if self.caller is None else self.caller.writer())
            elif not known.is_open:
                known = begin(self.loop.k, agent, known)  # after a rollback, this raises
            for other in others:
                known.absorb(other)
            self.agents[agent] = self.active = known
            return known

    def turns(self) -> list[kedge.Turn]:
        """Return all turns that have worked for this task."""
        with self.lock:
            inside = [turn for loop in self.loops for turn in loop.turns()]
            called = [turn for task in self.called.values() for turn in task.turns()]
            return [*self.agents.values(), *self.joined, *inside, *called]

    def writer(self) -> kedge.Turn:
        """Return the turn of what the task writes: it has read what all its turns have read."""
        with self.lock:
            if self.active is not None or self.turns():
                return self.turn((self.active or self.step.turn).agent or "")
            return self.step.turn if self.caller is None else self.caller.writer()


class Loop:
    """One run of a graph on a namespace of a thread."""

    def __init__(self, k: kedge.Kedge, place: tuple[str, str], base: kedge.Turn, outer: kedge.Turn | None) -> None:
        self.k, self.base, self.outer = k, base, outer
        self.thread, self.ns = place
        self.run: object = None  # the id of its run; without one, a checkpoint was only looked at
        self.is_addressed = False
        self.number = next(_numbers)
        self.lock = threading.RLock()
        self.steps: dict[str | None, Step] = {}
        self.last = Step(base)
        self.given: Given | None = None  # the input, until it is recorded
        self.invocation: str | None = None
        self.bound: str | None = None  # in a replay, the place that its checkpoints come after
        self.clean: set[str] = set()  # tasks that others called when these had no turn: nothing had influenced them
        self.written: dict[str, set[str]] = {}  # by checkpoint: the names of the rows of its pending writes
        self.kept: dict[str, Kept] = {}
        self.in_memory = False  # derived writes were refused
        self._passed: set[kedge.Turn] = set()

    def is_followed_by(self, other: "Loop") -> bool:
        """Return whether the other is a look at a thread's head, by a run that begins at an older checkpoint."""
        mine, its = (self.k, self.thread, self.ns, self.run), (other.k, other.thread, other.ns, other.run)
        return self.is_addressed and not other.is_addressed and self.run is not None and mine == its

    @property
    def is_over(self) -> bool:
        """Whether its run has ended: what runs here now belongs to another graph, which may save elsewhere."""
        return self.run is not None and self.run not in RUNNING

    def knows(self, task: str | None) -> bool:
        """Return whether a task of this loop has a turn."""
        return task is not None and any(task in step.tasks for step in tuple(self.steps.values()))

    def start(self, ident: str | None) -> None:
        """Begin at a checkpoint that was read in the base turn; None: there is none."""
        self.steps[ident] = self.last

    def at(self, ident: str) -> Step:
        """Return the step that begins at a checkpoint: its turn has absorbed the step before.

        The host may save a checkpoint after later steps have begun. No task of its step has a turn then, so the state
        of the next known step is that of this one. Ids of checkpoints rise.
        """
        with self.lock:
            found = self.steps.get(ident)
            later = [each for each in self.steps if each is not None and each > ident] if found is None else ()
            if later:
                found = self.steps[ident] = Step(self.steps[min(later)].turn)
            elif found is None:
                found = self.steps[ident] = self.last = Step(self._absorbed(self.last))
                if len(self.steps) > _STEPS_MAX:
                    oldest = next(iter(self.steps))
                    del self.steps[oldest]
                    self.written.pop(oldest or "", None)
            return found

    def task(self, ident: str | None, task: str) -> Task:
        """Return a task of the step at a checkpoint; without one known, of the last step."""
        with self.lock:
            step = self.last if ident is None else self.at(ident)
            return step.tasks.setdefault(task, Task(self, step))

    def saving(self, ident: str, task: str, path: str) -> Task:
        """Return the task that pending writes are of; where it has no turn, the one that called it, if one did."""
        found = self.task(ident, task)
        return found if task in self.clean or found.turns() else found.step.caller_of(path) or found

    def turns(self) -> list[kedge.Turn]:
        """Return the turns of the last step, which have absorbed those before."""
        with self.lock:
            return [self.last.turn, *(turn for task in self.last.tasks.values() for turn in task.turns())]

    def _absorbed(self, step: Step) -> kedge.Turn:
        """Return the turn of the state after a step. Where its lineage grows, it is a new one: the step's stays."""
        turns = [turn for task in step.tasks.values() for turn in task.turns()]
        into = step.turn
        if any(not turn.lineage <= into.lineage for turn in turns):
            into = begin(self.k, into.agent or "", into)
        for turn in turns:
            into.absorb(turn)
        return into

    def commit(self, owner: Step | Task, call: Callable[[kedge.Turn], T]) -> T:
        """Call with the owner's turn; while another thread saves with it, with a child, which has read the same."""
        turn = owner.writer() if isinstance(owner, Task) else owner.turn
        try:
            done = call(turn)
        except kedge.BatchOpen:
            done = call(begin(self.k, turn.agent or "", turn))
        self._pass_on(turn)
        return done

    def commit_unless_refused(self, owner: Step | Task, call: Callable[[kedge.Turn], None]) -> bool:
        """Call as `commit` does, and return True; False where a level refuses derived writes, or has refused one.

        Each refusal leaves the input of the turn to be replayed, also where the write is not tried.
        """
        if self.in_memory:
            with suppress(kedge.NotPermitted):
                (owner.writer() if isinstance(owner, Task) else owner.turn).require("learn")
            return False
        try:
            self.commit(owner, call)
        except kedge.Frozen:
            return False
        return True

    def _pass_on(self, turn: kedge.Turn) -> None:
        """Let the user's turn around this invocation take on what has influenced its results."""
        if self.outer is not None and turn not in self._passed:
            self._passed.add(turn)
            self.outer.absorb(turn)


# ── where code runs ──

_loops: ContextVar[tuple[Loop, ...]] = ContextVar("kedge_langgraph_loops", default=())
RUNNING: set[object] = set()  # the ids of runs that have begun and not ended
_alive: dict[tuple[int, str, str], weakref.WeakSet[Loop]] = {}  # by database, thread and namespace
_registering = threading.Lock()
_is_own: ContextVar[bool] = ContextVar("kedge_langgraph_own", default=False)


def enter(loop: Loop) -> None:
    """Let this context, and the tasks that copy it, work in a loop."""
    known = _loops.get()
    ahead = known[:1] if known and known[0].is_followed_by(loop) else ()
    _loops.set((*ahead, loop, *known[len(ahead) :])[:_LOOPS_MAX])
    if loop.run is None:
        return
    place = (id(loop.k), loop.thread, loop.ns)
    with _registering:
        _alive.setdefault(place, weakref.WeakSet()).add(loop)
        weakref.finalize(loop, _forget, place)


def _forget(place: tuple[int, str, str]) -> None:
    if not _alive.get(place, True):
        _alive.pop(place, None)


def loops_here(k: kedge.Kedge, thread: str, ns: str) -> list[Loop]:
    """Return this context's loops on a namespace of a thread, the newest first."""
    return [loop for loop in _loops.get() if (loop.k, loop.thread, loop.ns) == (k, thread, ns)]


def loops_elsewhere(k: kedge.Kedge, thread: str, ns: str, task: str | None) -> list[Loop]:
    """Return the process's loops on a namespace of a thread: those that run, that of a task first, the newest first.

    The host saves what some tasks wrote from threads that have no context of the loop.
    """
    found = [loop for loop in tuple(_alive.get((id(k), thread, ns), ())) if loop.k is k]
    return sorted(found, key=lambda loop: (loop.run not in RUNNING, not loop.knows(task), -loop.number))


def begin(k: kedge.Kedge, agent: str, parent: kedge.Turn | None = None, **options: Any) -> kedge.Turn:
    """Begin a turn that does not become its caller's current one, and that a settle does not end."""

    def call() -> kedge.Turn:
        _is_own.set(True)
        return k.turn(agent=agent, parent=parent, on_settle="continue", **options)

    return copy_context().run(call)


def running_task() -> Task | None:
    """Return the task that this code runs in, or None outside of loops."""
    try:
        config = get_config()
    except RuntimeError:
        return None
    named = config.get("configurable", {})
    thread, ns = named.get("thread_id"), named.get("checkpoint_ns")
    loops = [loop for loop in _loops.get() if loop.thread == str(thread) and not loop.is_over] if ns else []
    called: list[str] = []  # tasks of graphs that save nothing, and of the functional API: the last one is this
    while ns and loops:
        level, _, last = ns.rpartition(_SEPARATOR)
        _, end, task = last.rpartition(_END)
        loop = next((each for each in loops if each.ns == level), None) if end else None
        if loop is not None:
            found = loop.task(named.get("checkpoint_map", {}).get(level), task)
            path = config.get("metadata", {}).get("langgraph_path", ())
            for _ in called:  # the path of a task that another one called holds that of its caller
                path = path[1] if len(path) > 1 and isinstance(path[1], tuple | list) else ()
            found.path = found.path or path_text(path)
            for each in reversed(called):
                found = found.call(each)
            return found
        called += [task] if end else []
        ns = level
    return None


def call_begins(metadata: Mapping[str, Any]) -> None:
    """Fix what a task that another one calls starts from: what has influenced its caller by now."""
    path, ns = metadata.get("langgraph_path", ()), metadata.get("langgraph_checkpoint_ns", "")
    if len(path) < 2 or not isinstance(path[1], tuple | list):  # noqa: PLR2004 - a path that holds the caller's
        return
    *levels, caller, task = [level.rpartition(_END)[2] for level in ns.split(_SEPARATOR)]
    around = ns.split(_SEPARATOR)[: len(levels)]
    loops = [loop for loop in _loops.get() if loop.thread == str(metadata.get("thread_id"))]
    places = [_SEPARATOR.join(around[:end]) for end in range(len(around), -1, -1)]
    loop = next((each for place in places for each in loops if each.ns == place), None)
    if loop is None:
        return
    steps = reversed(tuple(loop.steps.values()))
    known = next((found for step in steps if (found := step.tasks.get(caller)) is not None), None)
    if known is None or not known.turns():
        loop.clean.add(task)
    else:
        known.call(task).turn(known.step.turn.agent or "")


def path_text(path: object) -> str:
    """Return the path of a task as the host writes it to savers."""
    if isinstance(path, tuple | list):
        return f"~{', '.join(map(path_text, path))}" if path else ""
    return f"{path:010d}" if isinstance(path, int) else str(path)


class Turns:
    """The turns of graphs, as `kedge.current_turn()` finds them inside nodes."""

    def current(self, found: kedge.Turn | None) -> kedge.Turn | None:
        """Return the turn of the task that this code runs in, unless that code has begun its own."""
        place = None if _is_own.get() else running_task()
        if place is None:
            return found
        if found is not None and any(turn is found for turn in place.joined):
            return found
        return place.turn(kedge.current_agent() or place.step.turn.agent or "")

    def began(self, turn: kedge.Turn) -> None:
        """Join a turn that a node's code began to its task, both ways; not one of another database."""
        place = None if _is_own.get() else running_task()
        if place is None:
            return
        with suppress(kedge.InvalidValue):
            turn.absorb(place.writer())
            place.joined.append(turn)


kedge.add_turn_source(Turns())
