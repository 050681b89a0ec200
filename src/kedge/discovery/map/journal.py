"""What Kedge's journal knows for a map: who wrote and read which space, who called whom, what deployments reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from kedge.deployments.lifecycle import list_all
from kedge.model.provenance import TurnRecord, Written
from kedge.model.reads import Reads
from kedge.turns.kernel import Kernel

TURNS_EXAMINED = 20_000
"""Of the newest turns, so many: the cost of a map does not grow with the journal."""

PEOPLE = "people"
NOBODY = "unnamed"
PREFIX = "kedge:"


class Flow(msgspec.Struct, frozen=True, order=True):
    """Writes or reads of one agent in one space of a store."""

    agent: str
    store: str
    access: Literal["read", "write"]
    records: int
    is_person: bool = False


class Called(msgspec.Struct, frozen=True, order=True):
    """Turns of an agent that another agent's turns called."""

    agent: str
    to: str
    times: int


class Space(msgspec.Struct, frozen=True, order=True):
    """A space of a store, with its writes that a deployment influenced."""

    store: str
    writes: int


class Ran(msgspec.Struct, frozen=True, order=True):
    """A deployment: its status, the agents that it influenced, and what it reached. Of all turns."""

    deployment: str
    status: str
    agents: tuple[str, ...]
    reached: tuple[Space, ...]


class Journaled(msgspec.Struct, frozen=True):
    """What the journal knows. `turns`: how many were examined; `all_turns`: whether these are all."""

    flows: tuple[Flow, ...]
    calls: tuple[Called, ...]
    ran: tuple[Ran, ...]
    turns: int
    all_turns: bool

    @property
    def agents(self) -> tuple[str, ...]:
        """All agents, without people."""
        named = {flow.agent for flow in self.flows if not flow.is_person}
        named |= {name for call in self.calls for name in (call.agent, call.to)}
        return tuple(sorted(named | {agent for each in self.ran for agent in each.agents}))


_SPACES_SHOWN = 20  # a store with more is one node: its spaces are sessions, or nothing to tell apart
_DEPLOYMENTS = 500  # the newest ones
_SPACES_MAX = 1_000  # of a deployment
_SEQS_AT_ONCE = 10_000
_CONTROL = ":"  # in the uid of the author of a control change
_ARTIFACTS = "artifacts"  # what deployments consist of: these are nodes


def read_journal(kernel: Kernel) -> Journaled:
    """Read what a database knows; of flows and calls, that of the newest turns. It writes nothing."""
    provenance = kernel.backend.provenance
    newest = provenance.newest_turns(TURNS_EXAMINED)
    first = newest[0].turn if newest else 0
    turns = [turn for turn in newest if _CONTROL not in turn.uid]
    written = provenance.written_since(first)
    counts: Counter[tuple[str, str, str, Literal["read", "write"], bool]] = Counter()
    for each in written:
        counts[_who(each), each.store, each.space, "write", each.by_person] += each.writes
    for turn, (store, space), number in _reads(kernel, turns):
        counts[_who_of(turn), store, space, "read", turn.person is not None] += number
    deployments = _deployments(kernel)
    spaces = {(store, space) for _, store, space, _, _ in counts} | {place for each in deployments for place in each[3]}
    label = _labels(spaces)
    flows: Counter[tuple[str, str, Literal["read", "write"], bool]] = Counter()
    for (who, store, space, access, is_person), number in counts.items():
        if store != _ARTIFACTS:
            flows[who, label[store, space], access, is_person] += number
    return Journaled(
        flows=tuple(sorted(Flow(*key[:3], number, key[3]) for key, number in flows.items())),
        calls=_calls(turns),
        ran=tuple(
            sorted(Ran(name, status, agents, _spaces(places, label)) for name, status, agents, places in deployments)
        ),
        turns=len(turns),
        all_turns=len(newest) < TURNS_EXAMINED,
    )


def _who(each: Written) -> str:
    return PEOPLE if each.by_person else each.agent or NOBODY


def _who_of(turn: TurnRecord) -> str:
    return PEOPLE if turn.person is not None else turn.agent or NOBODY


def _labels(spaces: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return the name of each space: "kedge:vectors/kb"; of a store with many spaces, and of memory, only the store."""
    known = sorted(set(spaces))
    number = Counter(store for store, _ in known)
    single = {store for store, spaces_there in number.items() if store == "memory" or spaces_there > _SPACES_SHOWN}
    return {
        (store, space): f"{PREFIX}{store}" if store in single or not space else f"{PREFIX}{store}/{space}"
        for store, space in known
    }


def _reads(kernel: Kernel, turns: list[TurnRecord]) -> Iterable[tuple[TurnRecord, tuple[str, str], int]]:
    """Yield the reads that turns recorded: the turn, the store and space, and how many."""
    provenance = kernel.backend.provenance
    logs: Mapping[int, list[Reads]] = provenance.reads_of([turn.turn for turn in turns])
    wanted = sorted({seq for reads in logs.values() for each in reads for seq in each.seqs})
    places: dict[int, tuple[str, str]] = {}
    for start in range(0, len(wanted), _SEQS_AT_ONCE):
        places |= provenance.spaces_of(wanted[start : start + _SEQS_AT_ONCE])
    for turn in turns:
        found: Counter[tuple[str, str]] = Counter()
        for each in logs.get(turn.turn, ()):
            found.update(places[seq] for seq in each.seqs if seq in places)
            found.update((read.store, read.space) for read in each.ranges)
        for place, number in found.items():
            yield turn, place, number


def _calls(turns: list[TurnRecord]) -> tuple[Called, ...]:
    known = {turn.uid: turn for turn in turns}
    counts: Counter[tuple[str, str]] = Counter()
    for turn in turns:
        caller = known.get(turn.parent or "")
        if caller is not None and _who_of(caller) != _who_of(turn):
            counts[_who_of(caller), _who_of(turn)] += 1
    return tuple(sorted(Called(*key, times) for key, times in counts.items()))


def _deployments(kernel: Kernel) -> list[tuple[str, str, tuple[str, ...], dict[tuple[str, str], int]]]:
    """Return name, status, agents and writes by space of the newest deployments."""
    found = []
    for each in list_all(kernel)[-_DEPLOYMENTS:]:
        lineages = kernel.backend.impact.lineages_with([each.number])
        counts = kernel.backend.impact.count_writes(lineages, _SPACES_MAX) if lineages else []
        agents = kernel.backend.provenance.reach(lineages).agents if lineages else ()
        places = {(count.store, count.space): count.total for count in counts if count.store != _ARTIFACTS}
        found.append((each.name, str(each.status), agents, places))
    return found


def _spaces(places: Mapping[tuple[str, str], int], label: Mapping[tuple[str, str], str]) -> tuple[Space, ...]:
    sums: Counter[str] = Counter()
    for place, writes in places.items():
        sums[label[place]] += writes
    return tuple(sorted(Space(store, writes) for store, writes in sums.items()))
