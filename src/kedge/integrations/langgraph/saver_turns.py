"""Turns of graphs: which turn a node, a checkpoint and a task's writes belong to, so that lineage follows the work.

A loop is one run of a graph on a namespace of a thread: an invocation, or a subgraph inside a task. Its state at a
checkpoint has a turn; what a task of that step reads goes to a child turn of the task; the next checkpoint's turn has
absorbed the tasks of the step. So what a checkpoint is stamped with depends neither on timing nor on threads.
"""

import threading
import weakref
from collections.abc import Callable, Iterator
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
_RENEWALS = 16
_numbers = count()
_SEPARATOR, _END = "|", ":"  # of the levels of a namespace, and of a node's name and its task


class Step:
    """A step of a loop: the turn of the state that it began with, and its tasks."""

    def __init__(self, turn: kedge.Turn) -> None:
        self.turn = turn
        self.tasks: dict[str, Task] = {}


class Task:
    """A task of a step: the turns of its agents, turns that its code began itself, and loops of its subgraphs."""

    def __init__(self, loop: "Loop", step: Step) -> None:
        self.loop, self.step = loop, step
        self.active: kedge.Turn | None = None
        self.agents: dict[str, kedge.Turn] = {}
        self.joined: list[kedge.Turn] = []
        self.loops: list[Loop] = []
        self.lock = threading.RLock()

    def turn(self, agent: str) -> kedge.Turn:
        """Return the task's turn as this agent; it has read what the task has read before."""
        with self.lock:
            known, last = self.agents.get(agent), self.active
            if known is None:
                known = begin(self.loop.k, agent, self.step.turn if last is None else last)
            elif not known.is_open:
                known = begin(self.loop.k, agent, known)  # after a settle; after a rollback, this raises
            elif last is not None and last is not known:
                known.absorb(last)
            self.agents[agent] = self.active = known
            return known

    def turns(self) -> Iterator[kedge.Turn]:
        """Return all turns that have worked for this task."""
        with self.lock:
            yield from self.agents.values()
            yield from self.joined
            for loop in self.loops:
                yield from loop.turns()

    def writer(self) -> kedge.Turn:
        """Return the turn of what the task writes: it has read what all its turns have read."""
        with self.lock:
            others = [turn for turn in self.turns() if turn is not self.active]
            if self.active is None and not others:
                return self.step.turn
            turn = self.turn(self.step.turn.agent or "") if self.active is None else self.active
            if not turn.is_open:
                turn = begin(self.loop.k, turn.agent or "", turn)
            for other in others:
                turn.absorb(other)
            self.agents[turn.agent or ""] = self.active = turn
            return turn


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
        self.written: dict[str, set[str]] = {}  # by checkpoint: the names of the rows of its pending writes
        self.kept: dict[str, Kept] = {}
        self.in_memory = False  # derived writes were refused
        self._passed: set[kedge.Turn] = set()

    def is_followed_by(self, other: "Loop") -> bool:
        """Return whether the other is a look at a thread's head, by a run that begins at an older checkpoint."""
        mine, its = (self.k, self.thread, self.ns, self.run), (other.k, other.thread, other.ns, other.run)
        return self.is_addressed and not other.is_addressed and self.run is not None and mine == its

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

    def turns(self) -> Iterator[kedge.Turn]:
        """Return the turns of the last step, which have absorbed those before."""
        with self.lock:
            yield self.last.turn
            for task in self.last.tasks.values():
                yield from task.turns()

    def _absorbed(self, step: Step) -> kedge.Turn:
        """Return the turn of the state after a step. Where its lineage grows, it is a new one: the step's stays."""
        turns = [turn for task in step.tasks.values() for turn in task.turns()]
        into = step.turn
        if turns and (not into.is_open or any(not turn.lineage <= into.lineage for turn in turns)):
            into = begin(self.k, into.agent or "", into)
        for turn in turns:
            into.absorb(turn)
        return into

    def commit(self, owner: Step | Task, call: Callable[[kedge.Turn], T]) -> T:
        """Call with the owner's turn; where a settle has ended it, with a child, which sees what was settled."""
        for _ in range(_RENEWALS):
            try:
                done = call(owner.writer() if isinstance(owner, Task) else owner.turn)
            except kedge.SettledMeanwhile:
                step = owner if isinstance(owner, Step) else owner.step
                with self.lock:
                    step.turn = begin(self.k, step.turn.agent or "", step.turn)
            else:
                self._pass_on(owner.writer() if isinstance(owner, Task) else owner.turn)
                return done
        raise kedge.SettledMeanwhile("deployments are settled faster than this checkpoint is written; invoke again")

    def commit_unless_refused(self, owner: Step | Task, call: Callable[[kedge.Turn], None]) -> bool:
        """Call as `commit` does, and return True; False where a level refuses derived writes, or has refused one."""
        if self.in_memory:
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
            with suppress(kedge.SettledMeanwhile):
                self.outer.absorb(turn)


# ── where code runs ──

_loops: ContextVar[tuple[Loop, ...]] = ContextVar("kedge_langgraph_loops", default=())
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
    """Return the process's loops on a namespace of a thread: that of a task first, then the newest first.

    The host saves what some tasks wrote from threads that have no context of the loop.
    """
    found = [loop for loop in tuple(_alive.get((id(k), thread, ns), ())) if loop.k is k]
    return sorted(found, key=lambda loop: (not loop.knows(task), -loop.number))


def begin(k: kedge.Kedge, agent: str, parent: kedge.Turn | None = None, **options: Any) -> kedge.Turn:
    """Begin a turn that does not become its caller's current one."""

    def call() -> kedge.Turn:
        _is_own.set(True)
        return k.turn(agent=agent, parent=parent, **options)

    return copy_context().run(call)


def running_task() -> Task | None:
    """Return the task that this code runs in, or None outside of loops."""
    try:
        config = get_config()
    except RuntimeError:
        return None
    named = config.get("configurable", {})
    thread, ns = named.get("thread_id"), named.get("checkpoint_ns")
    loops = [loop for loop in _loops.get() if loop.thread == str(thread)] if ns else []
    while ns and loops:  # a subgraph that saves nothing has no loop: what it reads, the task around it has read
        level, _, last = ns.rpartition(_SEPARATOR)
        _, end, task = last.rpartition(_END)
        loop = next((each for each in loops if each.ns == level), None) if end else None
        if loop is not None:
            return loop.task(named.get("checkpoint_map", {}).get(level), task)
        ns = level
    return None


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
