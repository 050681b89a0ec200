"""Channel values and pending writes of checkpoints, as the host wants them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kedge.integrations.langgraph import saver_rows as rows
from kedge.integrations.langgraph.saver_rows import Brought, Row, Typed

Load = Callable[[Typed], Any]
Write = tuple[str, str, Any]  # the id of its task, the channel, the value


def value_of(row: Row, channel: str, brought: Mapping[str, Brought], load: Load) -> Any:
    """Return the value of a channel at a checkpoint."""
    stored = row.values[channel]
    if stored.inline is not None:
        return load(stored.inline)
    found = [load(typed) for typed in rows.typed_of(row, channel, brought)]
    return [each for part in found for each in part] if stored.is_list else found[0]


def writes_in(
    pending: Iterable[bytes], load: Load, channels: Iterable[str] | None = None
) -> list[tuple[str, str, Any]]:
    """Return pending writes (of some channels, if given) as (task, channel, value), in the host's order."""
    found = [
        ((of.path, of.task, number), of.task, channel, typed)
        for of in map(rows.unpack_writes, pending)
        for number, channel, typed in of.writes
        if channels is None or channel in channels
    ]
    found.sort(key=lambda write: write[0])
    return [(task, channel, load(typed)) for _, task, channel, typed in found]


def history(
    space: Any, row: Row | None, at: Callable[[str], Row | None], channels: Sequence[str], load: Load
) -> dict[str, Any]:
    """Return, by channel, its last whole value before a checkpoint and what was written since, the oldest first.

    `at` returns a checkpoint that is visible, by its id.
    """
    written: dict[str, list[Any]] = {channel: [] for channel in channels}
    seeds: dict[str, Any] = {}
    while row is not None and row.parent and (missing := written.keys() - seeds.keys()):
        row = at(row.parent)
        if row is None:
            break
        pending = space.items(rows.writes_of(row.ns, row.ident))
        for write in reversed(writes_in(pending.values(), load, missing)):
            written[write[1]].append(write)
        if there := missing & row.values.keys():
            some = Row(row.ident, row.ns, None, row.head, {c: row.values[c] for c in there}, row.invocation)
            packed = space.get_many(rows.needed([some]))
            brought = {name: rows.unpack_brought(each) for name, each in packed.items()}
            seeds |= {channel: value_of(row, channel, brought, load) for channel in there}
    return {
        channel: {"writes": writes[::-1]} | ({"seed": seeds[channel]} if channel in seeds else {})
        for channel, writes in written.items()
    }
