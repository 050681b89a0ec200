"""Turns and source writes as the journal keeps them, decoded from rows."""

from collections.abc import Iterable
from typing import Any

import msgspec

from kedge.model import reads as read_logs
from kedge.model.reads import Reads
from kedge.model.writes import Key


class TurnRecord(msgspec.Struct, frozen=True):
    """A turn that has written; turns are numbered in the order of their first write.

    The flags are set by `influenced_turns` only: the turn made derived writes of the lineages asked for (`derived`),
    made source writes (`sources`), and derived nothing but vectors of same-named documents (`embeds`).
    """

    turn: int
    uid: str
    agent: str | None
    session: str | None
    parent: str | None
    replays: int | None
    derived: bool = False
    sources: bool = False
    embeds: bool = False
    person: str | None = None


class Source(msgspec.Struct, frozen=True):
    """A source write and the turn that made it; the payload is None unless it was asked for."""

    key: Key
    seq: int
    rank: int
    at: float
    agent: str | None
    person: str | None
    session: str | None
    turn: int = 0
    payload: bytes | None = None


class Reach(msgspec.Struct, frozen=True):
    """How many turns and sessions a set of lineages has, and which agents."""

    turns: int
    sessions: int
    agents: tuple[str, ...]


class Written(msgspec.Struct, frozen=True, order=True):
    """How many writes an agent's turns made in one space of a store; those of persons together, without their names."""

    agent: str
    by_person: bool
    store: str
    space: str
    writes: int


def turn_of(row: Iterable[Any]) -> TurnRecord:
    """Return the turn of a row (turn, uid, agent, person, session, parent, replays[, derived, sources, embeds])."""
    turn, uid, agent, person, session, parent, replays, *flags = row
    derived, sources, embeds = map(bool, flags or (False, False, False))
    return TurnRecord(turn, uid, agent, session, parent, replays, derived, sources, embeds, person)


def source_of(row: Iterable[Any]) -> Source:
    """Return the source write of a row (store, space, name, then the fields of `Source` from `seq` on)."""
    store, space, name, *rest = row
    return Source(Key(store, space, name), *rest)


def reads_by_turn(rows: Iterable[tuple[int, bytes]]) -> dict[int, list[Reads]]:
    """Return the unpacked read logs of each turn, in the order of the rows (turn, packed reads)."""
    found: dict[int, list[Reads]] = {}
    for turn, packed in rows:
        found.setdefault(turn, []).append(read_logs.unpack(packed))
    return found
