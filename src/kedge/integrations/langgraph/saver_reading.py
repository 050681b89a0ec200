"""Checkpoints as the host reads them, from the rows of a thread."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from langgraph.checkpoint import base

from kedge.integrations.langgraph import saver_rows as rows
from kedge.integrations.langgraph import saver_values as values
from kedge.integrations.langgraph.saver_configs import config_of
from kedge.integrations.langgraph.saver_rows import Brought, Kept, Row
from kedge.integrations.langgraph.saver_threads import Listed
from kedge.integrations.langgraph.saver_turns import Loop


class Checkpoints(NamedTuple):
    """Reader of checkpoints; `load` is the host's deserializer."""

    load: Callable[[Any], Any]

    def begin(self, loop: Loop, space: Any, ident: str | None) -> tuple[Row, Any] | None:
        """Return the stored checkpoint that a loop begins with; the loop learns what is known of its values."""
        row = stored_row(space, loop.ns, ident)
        if row is None:
            return None
        found = space.get_many([*rows.needed([row]), rows.DELETED])
        if row.ident <= found.pop(rows.DELETED, ""):
            return None
        brought = {name: rows.unpack_brought(packed) for name, packed in found.items()}
        pending = space.items(rows.writes_of(row.ns, row.ident))
        loop.written[row.ident] = set(pending)
        result = self.result(loop.thread, row, brought, pending.values())
        versions = result.checkpoint["channel_versions"]
        for channel, stored in row.values.items():
            typed = rows.typed_of(row, channel, brought) if stored.is_list else None
            loop.kept[channel] = Kept(versions.get(channel), stored, typed)
        return row, result

    def result(self, thread: str, row: Row, brought: Mapping[str, Brought], pending: Any) -> Any:
        """Return a checkpoint as the host reads it, with its values and pending writes."""
        load = self.load
        checkpoint, metadata = load(row.head)
        checkpoint["channel_values"] = {channel: values.value_of(row, channel, brought, load) for channel in row.values}
        before = config_of(thread, row.ns, row.parent) if row.parent else None
        writes = values.writes_in(pending, load)
        return base.CheckpointTuple(config_of(thread, row.ns, row.ident), checkpoint, metadata, before, writes)

    def page(self, thread: str, space: Any, page: Sequence[Row], is_first: bool) -> Listed:  # noqa: FBT001
        """Return checkpoints with their values and pending writes. The first page's are one read a namespace."""
        found = space.get_many(rows.needed(page))
        brought = {name: rows.unpack_brought(packed) for name, packed in found.items()}
        pending: dict[str, Any] = {}
        for ns in {row.ns for row in page} if is_first else ():
            least = min(row.ident for row in page if row.ns == ns)
            pending |= space.items(rows.writes_of(ns), after=rows.writes_of(ns, least)[:-1])
        result = []
        for row in page:
            prefix = rows.writes_of(row.ns, row.ident)
            if is_first:
                own = [packed for name, packed in pending.items() if name.startswith(prefix)]
            else:
                own = [*space.items(prefix).values()]
            result.append(self.result(thread, row, brought, own))
        return result


def stored_row(space: Any, ns: str, ident: str | None) -> Row | None:
    """Return a visible checkpoint of a namespace, by default its head."""
    if ident is None:
        found = list(space.items(rows.checkpoints(ns), limit=1, reverse=True).values())
    else:
        found = list(space.get_many([rows.checkpoint(ns, ident)]).values())
        if not found and (place := space.get(rows.replayed(ns, ident))) is not None:
            found = list(space.get_many([rows.checkpoint(ns, place)]).values())
    return rows.unpack_row(found[0]) if found else None
