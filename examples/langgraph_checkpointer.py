"""A LangGraph checkpointer that keeps its threads in Kedge: a rollback takes back what the bad version saved.

A thread is a session. Run a graph inside a turn of its thread, and what its nodes read decides which rollback takes
its checkpoints back: `with k.turn(session="t-1", agent="support"): graph.invoke(…)`. Else each call opens a turn.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import Any

from langgraph.checkpoint import base

import kedge


def key(*parts: object) -> str:
    """Return the key of these parts, of any text."""
    return "/".join(kedge.escape_name(str(part).replace("%", "%25").replace("/", "%2F")) for part in parts)


def place_of(config: Any) -> tuple[str, str, str | None]:
    """Return the thread, the namespace and the checkpoint that a configuration names."""
    named = config["configurable"]
    return named["thread_id"], named.get("checkpoint_ns", ""), named.get("checkpoint_id")


def config_of(thread: str, ns: str, ident: str) -> Any:
    """Return the configuration that names a checkpoint."""
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": ident}}


def twin(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return the async twin of a call, which does not block the event loop."""
    return lambda *arguments, **options: asyncio.to_thread(call, *arguments, **options)


class KedgeSaver(base.BaseCheckpointSaver):  # type: ignore[misc]  # its package need not be installed
    """Checkpoints, channel values and pending writes of a thread lie in the space of its session."""

    def __init__(self, k: kedge.Kedge, *, agent: str, store: str = "langgraph", serde: Any = None) -> None:
        super().__init__(serde=serde)
        self.k, self.agent, self.store = k, agent, store

    @contextmanager
    def _saved(self, thread: str) -> Iterator[tuple[kedge.Turn, Any]]:
        session, turn = kedge.escape_name(thread), kedge.current_turn()
        if turn is not None and turn.session != session:
            raise ValueError(f"the current turn is of session {turn.session!r}, not of thread {thread!r}")
        with nullcontext(turn) if turn else self.k.turn(session=session, agent=self.agent) as turn:
            yield turn, turn.store(self.store).space(session)

    def _pack(self, value: Any) -> bytes:
        kind, content = self.serde.dumps_typed(value)
        return bytes(kind.encode() + b"\0" + content)

    def _unpack(self, packed: bytes) -> Any:
        kind, _, content = packed.partition(b"\0")
        return self.serde.loads_typed((kind.decode(), content))

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        thread, ns, parent = place_of(config)
        rest, values = {**checkpoint, "channel_values": None}, checkpoint["channel_values"]
        saved = self._pack([rest, base.get_checkpoint_metadata(config, metadata), ns, parent])
        added = {key("checkpoint", ns, checkpoint["id"]): saved}
        added |= {key("value", ns, c, v): self._pack(values[c]) for c, v in new_versions.items() if c in values}
        with self._saved(thread) as (_, space):
            space.put_many(added)
        return config_of(thread, ns, checkpoint["id"])

    def put_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        thread, ns, ident = place_of(config)
        with self._saved(thread) as (_, space):
            added, there = {}, space.keys(key("write", ns, ident, task_id) + "/")
            for position, (channel, value) in enumerate(writes):
                number = base.WRITES_IDX_MAP.get(channel, position)
                name = key("write", ns, ident, task_id, number)
                if number < 0 or name not in there:  # special writes replace; others come once
                    added[name] = self._pack([task_path, task_id, number, channel, value])
            space.put_many(added)

    def get_tuple(self, config: Any) -> Any:
        thread, ns, ident = place_of(config)
        with self._saved(thread) as (_, space):
            prefix = key("checkpoint", ns) + "/"
            names = [prefix + key(ident)] if ident else space.keys(prefix, limit=1, reverse=True)
            found = [self._unpack(packed) for packed in space.get_many(names).values()]
            return self._tuple(space, thread, found[0]) if found else None

    def _tuple(self, space: Any, thread: str, saved: Any) -> Any:
        checkpoint, metadata, ns, parent = saved
        names = {c: key("value", ns, c, v) for c, v in checkpoint["channel_versions"].items()}
        found = space.get_many(names.values())
        checkpoint["channel_values"] = {c: self._unpack(found[name]) for c, name in names.items() if name in found}
        writes = map(self._unpack, space.items(key("write", ns, checkpoint["id"]) + "/").values())
        pending = [(task, c, v) for _, task, _, c, v in sorted(writes, key=lambda w: base.writes_sort_key(*w[:3]))]
        before = config_of(thread, ns, parent) if parent else None
        return base.CheckpointTuple(config_of(thread, ns, checkpoint["id"]), checkpoint, metadata, before, pending)

    def list(self, config: Any, *, filter: Any = None, before: Any = None, limit: int | None = None) -> Iterator[Any]:  # noqa: A002
        named = {} if config is None else config["configurable"]
        ident, bound = named.get("checkpoint_id"), before and place_of(before)[2]
        prefix = key("checkpoint", named["checkpoint_ns"]) + "/" if "checkpoint_ns" in named else "checkpoint/"
        for thread in [named["thread_id"]] if named else self._threads():
            with self._saved(thread) as (_, space):
                found = (self._unpack(space.get(name)) for name in space.keys(prefix, reverse=True))
                found = (s for s in found if ident in {None, s[0]["id"]} and (not bound or s[0]["id"] < bound))
                found = (s for s in found if all(s[1].get(field) == value for field, value in (filter or {}).items()))
                chosen = [self._tuple(space, thread, saved) for saved in islice(found, limit)]
            yield from chosen  # no turn is open here
            limit = None if limit is None else limit - len(chosen)

    def _threads(self) -> Iterator[str]:
        page = self.k.sessions()
        while page:
            yield from (kedge.unescape_name(each.session) for each in page)
            page = self.k.sessions(after=page[-1].session)

    def delete_thread(self, thread_id: str) -> None:
        self.prune([thread_id], strategy="delete")

    def delete_for_runs(self, run_ids: Any) -> None:
        for found in (each for run in run_ids for each in self.list(None, filter={"run_id": run})):
            thread, ns, ident = place_of(found.config)
            with self._saved(thread) as (turn, space), turn.batch():
                space.delete(key("checkpoint", ns, ident))
                space.delete_prefix(key("write", ns, ident) + "/")

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        self.k.fork_session(kedge.escape_name(source_thread_id), kedge.escape_name(target_thread_id))

    def prune(self, thread_ids: Any, *, strategy: str = "keep_latest") -> None:
        for thread in thread_ids:  # a channel of the kind DeltaChannel would need the ancestors, too
            with self._saved(thread) as (_, space):
                names = space.keys()
                latest = {n.split("/")[1]: n for n in names if n.startswith("checkpoint/") and strategy != "delete"}
                kept = set(latest.values())
                for checkpoint, _, ns, _ in map(self._unpack, space.get_many(kept).values()):
                    kept |= {key("value", ns, c, v) for c, v in checkpoint["channel_versions"].items()}
                    kept |= {n for n in names if n.startswith(key("write", ns, checkpoint["id"]) + "/")}
                space.delete_many([name for name in names if name not in kept])

    async def alist(self, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        for found in await asyncio.to_thread(lambda: [*self.list(*arguments, **options)]):
            yield found

    aput, aput_writes, aget_tuple, aprune = twin(put), twin(put_writes), twin(get_tuple), twin(prune)
    adelete_thread, adelete_for_runs, acopy_thread = twin(delete_thread), twin(delete_for_runs), twin(copy_thread)
