"""Checkpointer of LangGraph over Kedge: a rollback takes back what the bad version saved, and nothing else.

A thread is a session. An invocation has a turn, and each task that reads through Kedge a child turn.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextvars import Context
from functools import partial
from random import random
from typing import Any

from langgraph.checkpoint import base
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.serde.types import INTERRUPT
from langgraph.types import Command

import kedge
from kedge.integrations.langgraph import saver_inputs as inputs
from kedge.integrations.langgraph import saver_rows as rows
from kedge.integrations.langgraph import saver_turns as turns
from kedge.integrations.langgraph import saver_values as values
from kedge.integrations.langgraph.saver_configs import OpenedAsync, config_of, place_of, twin
from kedge.integrations.langgraph.saver_memory import ThreadsInMemory
from kedge.integrations.langgraph.saver_reading import Checkpoints, stored_row
from kedge.integrations.langgraph.saver_rows import Brought, Kept, Row, Stored, TaskWrites
from kedge.integrations.langgraph.saver_threads import Threads
from kedge.integrations.langgraph.saver_turns import Loop, Step
from kedge.integrations.turns import sync_of

STORE = "langgraph"


class KedgeSaver(base.BaseCheckpointSaver):  # type: ignore[misc]  # its package need not be installed
    """Checkpoints, channel values and pending writes of threads, in the session of each thread. Sync and async.

    `k` is an open database, of `kedge` or of `kedge.aio`. `agent` is whose artifacts the graph reads where no node says
    `kedge.agent(…)`. `refresh` is the setting of new sessions: by default, a thread adopts what became live since its
    last invocation, and never enters or leaves a canary. `unit` returns the unit (a user, a tenant) that canaries draw
    by, from the configuration of an invocation. With `record_input=False`, what users send is not recorded: the
    application does so itself.
    """

    def __init__(
        self,
        k: kedge.Kedge | OpenedAsync,
        *,
        agent: str,
        store: str = STORE,
        refresh: Any = "promoted",
        unit: Callable[[Mapping[str, Any]], str | None] | None = None,
        record_input: bool = True,
        serde: Any = None,
    ) -> None:
        super().__init__(serde=serde)
        self.k = sync_of(k)
        self.agent, self.store = agent, store
        self._refresh, self._unit, self._record_input = refresh, unit, record_input
        self._memory = ThreadsInMemory()
        self._threads = Threads(self.k, store, agent)

    def get_next_version(self, current: Any, channel: None = None) -> str:  # noqa: ARG002 - the host's signature
        """Return a version greater than `current`, and different from those of other branches of the thread."""
        number = int(str(current).split(".")[0]) if current is not None else 0
        return f"{number + 1:032}.{random():016}"  # noqa: S311 - it tells branches apart, and is no secret

    # ── reading ──

    def get_tuple(self, config: Any) -> Any:
        """Return a checkpoint, or the newest one of its thread and namespace, as the thread's view sees it."""
        loop, found = self._open(config, inputs.take(config))
        turns.enter(loop)
        return found

    async def aget_tuple(self, config: Any) -> Any:
        """Return a checkpoint; as `get_tuple`."""
        loop, found = await asyncio.to_thread(self._open, config, inputs.take(config))
        turns.enter(loop)  # in the caller's own context, which its tasks copy
        return found

    def _open(self, config: Any, given: inputs.Given | None) -> tuple[Loop, Any]:
        """Begin a loop where a graph does: read its checkpoint in the turn that its steps descend from."""
        thread, ns, ident = place_of(config)
        loop = self._loop(config, thread, ns)
        loop.run, loop.is_addressed = inputs.run_here(), ident is not None
        found = loop.commit(loop.last, lambda turn: self._read(loop, self._space(turn, thread), ident))
        row, result = (None, None) if found is None else found
        loop.start(None if result is None else place_of(result.config)[2])
        if given is not None and not ns and turns.running_task() is None and inputs.replaying() is None:
            if isinstance(given.value, Command) and given.value.resume is not None:
                writes = () if result is None else result.pending_writes
                asked = frozenset(each.id for _, channel, found in writes if channel == INTERRUPT for each in found)
                invocation, resume = None if row is None else row.invocation, given.value.resume
                session = kedge.escape_name(thread)
                inputs.check_resume(self.k, session, resume, pending=asked, invocation=invocation)
            loop.given = given if self._record_input else None
        return loop, result

    def _loop(self, config: Any, thread: str, ns: str) -> Loop:
        session, task = kedge.escape_name(thread), turns.running_task()
        around = kedge.current_turn(ended=True)
        agent = kedge.current_agent() or (self.agent if task is None else task.step.turn.agent) or self.agent
        if around is not None and around.session == session:
            try:
                first = turns.begin(self.k, agent, around)
            except kedge.InvalidValue:  # a turn of another database
                first, around = self._root(config, session, agent), None
        else:
            first = self._root(config, session, agent)
            if around is not None:
                try:
                    first.absorb(around)
                except kedge.InvalidValue:
                    around = None
        loop = Loop(self.k, (thread, ns), first, around if task is None else None)
        if task is not None:
            task.loops.append(loop)
            loop.invocation = task.loop.invocation
        return loop

    def _root(self, config: Any, session: str, agent: str) -> kedge.Turn:
        unit = None if self._unit is None else self._unit(config)
        try:
            return turns.begin(self.k, agent, session=session, refresh=self._refresh, unit_id=unit)
        except kedge.SessionBegun:  # it began with other settings, and keeps them
            return turns.begin(self.k, agent, session=session)

    def _space(self, turn: Any, thread: str) -> Any:
        return turn.store(self.store).space(kedge.escape_name(thread))

    @property
    def _checkpoints(self) -> Checkpoints:
        return Checkpoints(self.serde.loads_typed)  # the host may give a copy of this saver another serializer

    def _read(self, loop: Loop, space: Any, ident: str | None) -> tuple[Row | None, Any] | None:
        """Return the checkpoint that a loop begins with: one of this process, or one that is stored."""
        kept = self._memory.newest(loop, ident)
        return (None, kept) if kept is not None else self._checkpoints.begin(loop, space, ident)

    def get_delta_channel_history(self, *, config: Any, channels: Sequence[str]) -> Mapping[str, Any]:
        """Return what was written to these channels before a checkpoint, since their last whole value, and that one."""
        thread, ns, ident = place_of(config)
        loop = self._loop_of(config, ident)

        def read(turn: kedge.Turn) -> Mapping[str, Any]:
            space = self._space(turn, thread)
            row = stored_row(space, ns, ident)
            parent = partial(stored_row, space, ns)
            return values.history(space, row, parent, channels, self.serde.loads_typed)

        return loop.commit(loop.last, read)

    async def aget_delta_channel_history(self, *, config: Any, channels: Sequence[str]) -> Mapping[str, Any]:
        """Return what was written to these channels; as `get_delta_channel_history`."""
        return await asyncio.to_thread(self.get_delta_channel_history, config=config, channels=channels)

    # ── writing ──

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:  # noqa: ARG002 - of the host
        """Save a checkpoint. Raise `RolledBack` where its parent is not visible: the thread went back since."""
        thread, ns, parent = place_of(config)
        loop = self._loop_of(config, parent)
        ident = checkpoint["id"]
        self._record(loop, ident)  # first: what follows may have been rolled back
        step = loop.at(ident)
        stored, brought = self._stored(loop, checkpoint)
        rest = {**checkpoint, "channel_values": None}
        head = self.serde.dumps_typed([rest, base.get_checkpoint_metadata(config, metadata)])
        row = Row(ident, ns, parent, head, stored, loop.invocation or ident)
        place = self._place(loop, row)
        added: dict[str, bytes | str] = {rows.checkpoint(ns, place): rows.pack(row)}
        if brought:
            added[rows.values_of(ns, ident)] = rows.pack(brought)
        if place != ident:
            added[rows.replayed(ns, ident)] = place

        def save(turn: kedge.Turn) -> None:
            self._space(turn, thread).put_many(added)

        loop.written[ident] = set()
        if not loop.commit_unless_refused(step, save):
            self._memory.put(loop, step.turn, config, checkpoint, metadata)
        return config_of(thread, ns, ident)

    def put_writes(self, config: Any, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        """Save the pending writes of a task, in one row."""
        thread, ns, ident = place_of(config)
        if ident is None:
            raise kedge.InvalidValue("the configuration names no checkpoint_id: pending writes belong to a checkpoint")
        loop = self._loop_of(config, ident, task_id)
        numbered = [
            (base.WRITES_IDX_MAP.get(c, place), c, self.serde.dumps_typed(v)) for place, (c, v) in enumerate(writes)
        ]
        new = TaskWrites(task_id, task_path, tuple(numbered))
        name = f"{rows.writes_of(ns, ident)}{rows.part(task_id)}"
        asked = [v for c, v in writes if c == INTERRUPT] if not ns else []
        question = inputs.question_of(self.k, kedge.escape_name(thread), asked) if asked else None
        self._record(loop, str(uuid6()))  # after that checkpoint, and before those of this invocation
        task = loop.saving(ident, task_id, task_path)

        def save(turn: kedge.Turn) -> None:
            space = self._space(turn, thread)
            written = loop.written.get(ident)  # in this loop; unknown where another one made the checkpoint
            known = space.get(name) if written is None or name in written else None
            before = None if known is None else rows.unpack_writes(known)
            packed = rows.pack(rows.merged(before, new))
            if question is None or (before is not None and rows.repeats(before, new, INTERRUPT)):
                space.put(name, packed)
                return
            with turn.batch():
                space.put(name, packed)
                turn.memory.append(question)

        if loop.commit_unless_refused(task, save):
            loop.written.get(ident, set()).add(name)
        else:
            self._memory.put_writes(loop, task.step.turn, config, writes, task_id, task_path)

    def _loop_of(self, config: Any, ident: str | None, task: str | None = None) -> Loop:
        """Return the loop that saves something after (or at) a checkpoint; a new one where this context has none."""
        thread, ns, _ = place_of(config)
        own, others = turns.loops_here(self.k, thread, ns), partial(turns.loops_elsewhere, self.k, thread, ns, task)
        found = next((loop for loop in own if ident in loop.steps), None)
        found = found or next((loop for loop in others() if ident in loop.steps), None)
        if found is not None:
            return found
        loop = self._loop(config, thread, ns)
        row = loop.commit(loop.last, lambda turn: stored_row(self._space(turn, thread), ns, ident)) if ident else None
        if row is None and ident is not None:
            if task is None:
                raise kedge.RolledBack(
                    f"checkpoint {ident!r} of thread {thread!r}, the parent of a new one, is not visible: it was "
                    "rolled back, or deleted; read the thread's state and invoke the graph again"
                )
            if known := [*own, *others()]:  # the host saves this checkpoint at this moment
                return known[0]
        loop.start(ident)
        return loop

    def _stored(self, loop: Loop, checkpoint: Any) -> tuple[dict[str, Stored], Brought]:
        """Return where the channel values of a checkpoint lie, and what it brings itself.

        The host leaves out a value of `DeltaChannel` that no task has changed; its version says that it is still there.
        """
        versions, ident = checkpoint["channel_versions"], checkpoint["id"]
        brought: Brought = {}
        kept: dict[str, Kept] = {}
        for channel, value in checkpoint["channel_values"].items():
            version, known = versions.get(channel), loop.kept.get(channel)
            if known is None or version is None or known.version != version:
                known, added = rows.store_value(value, known, ident, self.serde.dumps_typed)
                known = known._replace(version=version)
                if added is not None:
                    brought[channel] = added
            kept[channel] = known
        loop.kept = {**loop.kept, **kept}
        there = {c: known.stored for c, known in loop.kept.items() if c in kept or known.version == versions.get(c, "")}
        return there, brought

    def _place(self, loop: Loop, row: Row) -> str:
        """Return the place of a checkpoint among those of its namespace: its id, which says when it was made.

        What a replay makes comes after what is left of the invocation that it repeats, and before later ones.
        """
        if loop.invocation is None:
            loop.invocation = row.ident
        replay = inputs.replaying()
        if replay is None or replay.invocation is None or row.invocation != replay.invocation:
            return row.ident
        if loop.bound is None:
            loop.bound = self._threads.bound(loop.thread, loop.ns, replay.invocation)
        return f"{loop.bound}~{row.ident}"

    def _record(self, loop: Loop, ident: str) -> None:
        """Record the input of a loop's invocation as its user's words, once, before anything that follows from it."""
        with loop.lock:
            given, loop.given = loop.given, None
            replay = inputs.replaying()
            if loop.invocation is None:
                loop.invocation = ident if replay is None or replay.invocation is None else replay.invocation
        if given is None:
            return
        message, large = inputs.message_of(given, loop.invocation or ident, self.serde)

        def save(turn: kedge.Turn) -> None:
            with turn.batch():
                turn.memory.append(message)
                if large is not None:
                    self._space(turn, loop.thread).put(
                        rows.large_input(loop.invocation or ident), large, origin="source"
                    )

        loop.commit(Step(loop.base), save)

    def large_input(self, session: str, ident: str) -> bytes:
        """Return the bytes of an input that were too many for its message."""

        def read() -> bytes:
            found: bytes = self.k.view(session=session).store(self.store).space(session).get(rows.large_input(ident))
            return found

        return Context().run(read)

    # ── threads ──

    def list(
        self,
        config: Any,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - the host's name
        before: Any = None,
        limit: int | None = None,
    ) -> Iterator[Any]:
        """Return the checkpoints that match, the newest first, as the threads' views see them."""
        named = {} if config is None else config["configurable"]
        ident, wanted = named.get("checkpoint_id"), (filter or {}).items()

        def matches(found: Any) -> bool:
            metadata, own = found.metadata, place_of(found.config)[2]
            return ident in {None, own} and all(metadata.get(field) == value for field, value in wanted)

        for thread in [str(named["thread_id"])] if named else self._threads.names():
            found = self._threads.listed(
                thread,
                named.get("checkpoint_ns"),
                partial(self._checkpoints.page, thread),
                matches=matches,
                before=None if before is None else before["configurable"].get("checkpoint_id"),
                limit=limit,
            )
            yield from found
            limit = None if limit is None else limit - len(found)

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread with what its users said: no rollback or reinstatement brings anything of it back."""
        self._memory.forget(str(thread_id))
        self._threads.delete(str(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of these runs."""
        for run in run_ids:
            found: dict[str, list[tuple[str, str]]] = {}
            for each in self.list(None, filter={"run_id": run}):
                thread, ns, ident = place_of(each.config)
                found.setdefault(thread, []).append((ns, ident or ""))
            for thread, chosen in found.items():
                self._threads.delete_runs(thread, chosen)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread, with what its users said: a rollback hides from the copy what it hides from the source."""
        self.k.fork_session(kedge.escape_name(str(source_thread_id)), kedge.escape_name(str(target_thread_id)))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete all checkpoints of these threads but the newest of each namespace, or, with "delete", the threads."""
        if strategy not in {"keep_latest", "delete"}:
            raise kedge.InvalidValue(f"invalid strategy {strategy!r}: must be 'keep_latest' or 'delete'")
        for thread in thread_ids:
            if strategy == "delete":
                self.delete_thread(thread)
            else:
                self._threads.prune(str(thread), lambda row: self.serde.loads_typed(row.head)[1])

    async def alist(self, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        """Return the checkpoints that match; as `list`."""
        for found in await asyncio.to_thread(lambda: [*self.list(*arguments, **options)]):
            yield found

    aput, aput_writes = twin(put), twin(put_writes)
    adelete_thread, adelete_for_runs = twin(delete_thread), twin(delete_for_runs)
    acopy_thread, aprune = twin(copy_thread), twin(prune)


AsyncKedgeSaver = KedgeSaver  # one class for both
