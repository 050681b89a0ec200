"""Checkpoints in process memory: of invocations whose derived writes a level refuses."""

import threading
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.memory import InMemorySaver

import kedge
from kedge.integrations.langgraph import saver_turns as turns

if TYPE_CHECKING:
    from kedge.integrations.langgraph.saver_turns import Loop

LEARNING = {"full", "supervised"}  # levels that permit derived writes
LEVEL = "kedge_level"  # of the metadata of a checkpoint that is in process memory only


class ThreadsInMemory:
    """The newest checkpoints of threads whose level refuses derived writes, until it permits them again."""

    def __init__(self) -> None:
        self._saver = InMemorySaver()
        self._turns: dict[str, kedge.Turn] = {}  # by thread: what has influenced its checkpoints here
        self._lock = threading.RLock()

    def newest(self, loop: "Loop", ident: str | None) -> Any:
        """Return the checkpoint that a loop begins with, if it is here; the loop's turn takes on what influenced it."""
        with self._lock:
            turn = self._turns.get(loop.thread)
            if turn is None:
                return None
            if str(loop.base.level) in LEARNING or _is_rolled_back(turn):
                self.forget(loop.thread)
                return None
            config = {"configurable": {"thread_id": loop.thread, "checkpoint_ns": loop.ns, "checkpoint_id": ident}}
            found = self._saver.get_tuple(config)
            if found is not None:
                loop.base.absorb(turn)
                loop.in_memory = True
            return found

    def put(self, loop: "Loop", turn: kedge.Turn, config: Any, checkpoint: Any, metadata: Any) -> None:
        """Keep a checkpoint, with all its values."""
        self._keep(loop, turn)
        named = {"configurable": {**config["configurable"], "checkpoint_ns": loop.ns, "thread_id": loop.thread}}
        self._saver.put(named, checkpoint, {**metadata, LEVEL: str(turn.level)}, checkpoint["channel_versions"])

    def put_writes(self, loop: "Loop", turn: kedge.Turn, config: Any, writes: Any, task: str, path: str) -> None:
        """Keep the pending writes of a task."""
        self._keep(loop, turn)
        named = {"configurable": {**config["configurable"], "checkpoint_ns": loop.ns, "thread_id": loop.thread}}
        self._saver.put_writes(named, writes, task, path)

    def forget(self, thread: str) -> None:
        """Drop the checkpoints of a thread."""
        with self._lock:
            self._turns.pop(thread, None)
            self._saver.delete_thread(thread)

    def _keep(self, loop: "Loop", turn: kedge.Turn) -> None:
        with self._lock:
            loop.in_memory = True
            known = self._turns.get(loop.thread)
            if known is None or known is turn:
                self._turns[loop.thread] = turn
                return
            joint = turns.begin(loop.k, turn.agent or "", turn)
            joint.absorb(known)
            self._turns[loop.thread] = joint


def _is_rolled_back(turn: kedge.Turn) -> bool:
    """Return whether a deployment that influenced a turn was rolled back."""
    try:
        turn.context.get("-")  # any read brings it up to date
    except kedge.RolledBack:
        return True
    except kedge.KedgeError:  # a settle ended it, which takes nothing back
        return False
    return False
