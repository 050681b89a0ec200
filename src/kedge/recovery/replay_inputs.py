"""Source inputs of turns: which inputs must be processed again when the turns' results are hidden."""

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from kedge.model.input_graph import Node
from kedge.model.provenance import Source, TurnRecord
from kedge.model.stores import is_keyed_store
from kedge.ports.provenance import Provenance

T = TypeVar("T")
TURNS_AT_ONCE = 1_000
SEQS_AT_ONCE = 10_000
Direct = Mapping[int, tuple[int, ...] | None]


class InputFinder:
    """Loads the part of the graph of turns that leads from some of them to their inputs.

    A turn's inputs are its own source writes; else the input that it replays; else its caller's inputs; else the newest
    messages that it read; else the sources that it read; else the inputs of hidden writes that it read. `influenced`
    are the turns whose derived writes are hidden, `inside` their source writes.

    The number of queries grows with turns / 1,000, whatever the depth of the graph. Nothing recurses.
    """

    def __init__(self, provenance: Provenance, influenced: Iterable[TurnRecord], inside: Iterable[Source]) -> None:
        self._provenance = provenance
        self._turns = {turn.turn: turn for turn in influenced}
        self._influenced = frozenset(self._turns)
        self.sources: dict[int, Source] = {}  # those that the nodes name, by seq
        self._own: dict[int, list[int]] = {}
        self._add_own(inside)

    def nodes(self, turns: Iterable[int]) -> dict[int, Node]:
        """Return the nodes that these influenced turns lead to, themselves included."""
        self._add_callers()
        by_uid = {turn.uid: ident for ident, turn in self._turns.items()}
        callers = {ident: by_uid.get(turn.parent or "") for ident, turn in self._turns.items()}
        direct = self._direct()
        answered = _answered(direct, callers)
        order = sorted(i for i, own in direct.items() if own is None and not self._turns[i].embeds)
        found: dict[int, Node] = {}
        read: dict[int, Node] = {}
        stack, entered = list(turns), set(turns)
        waiting: list[int] = []  # a heap of turns whose reads decide, the last first
        ahead = 1
        while stack or waiting:
            if not stack:
                stack = [-heapq.heappop(waiting) for _ in range(min(TURNS_AT_ONCE, len(waiting)))]
                window = [ident for ident in stack if ident not in read]
                if window and len(window) < ahead:  # a chain: what comes next is not known before this is loaded
                    window += _below(order, window[-1], ahead, without=(found, read))
                ahead = min(2 * ahead, TURNS_AT_ONCE)
                read |= self._read(window, callers) if window else {}
            ident = stack.pop()
            own, caller = direct[ident], callers[ident]
            if own is None and caller not in answered and ident not in read:
                heapq.heappush(waiting, -ident)
                continue
            node = found[ident] = (
                Node(own, final=True)
                if own is not None
                else Node(caller=caller)
                if caller in answered
                else read.pop(ident)
            )
            targets = node.writers if node.caller is None else (*node.writers, node.caller)
            stack += (fresh := [target for target in targets if target not in entered])
            entered.update(fresh)
        return found

    # ── what is known without the reads of turns ──

    def _add_own(self, sources: Iterable[Source]) -> None:
        for source in sources:
            if is_keyed_store(source.key.store):  # state that a turn keeps, no input
                continue
            self.sources[source.seq] = source
            self._own.setdefault(source.turn, []).append(source.seq)

    def _add_callers(self) -> None:
        """Add the callers of the influenced turns, and theirs, with their source writes."""
        known = {turn.uid for turn in self._turns.values()}
        unknown = {turn.parent for turn in self._turns.values() if turn.parent is not None} - known
        callers = self._provenance.callers(unknown) if unknown else []
        added = [turn for turn in callers if turn.uid not in known]
        self._turns |= {turn.turn: turn for turn in added}
        for some in _chunks([turn.turn for turn in added], TURNS_AT_ONCE):
            self._add_own(self._provenance.sources_of_turns(some))

    def _direct(self) -> Direct:
        """Return the inputs of turns that have their own, or replay one; None where others decide."""
        replays = [turn.replays for turn in self._turns.values() if turn.replays is not None]
        there = self._sources_at(replays).keys()
        return {
            ident: tuple(self._own[ident])
            if ident in self._own
            else None
            if turn.replays is None
            else (turn.replays,) * (turn.replays in there)
            for ident, turn in self._turns.items()
        }

    # ── the reads of turns ──

    def _read(self, window: Sequence[int], callers: Mapping[int, int | None]) -> dict[int, Node]:
        reads = self._provenance.reads_of(window)
        histories = {
            ident: {(r.space, r.at_seq) for log in reads.get(ident, ()) for r in log.ranges if r.store == "memory"}
            for ident in window
        }
        messages = self._provenance.newest_messages(set().union(*histories.values()))
        self.sources |= {message.seq: message for message in messages.values()}
        read: dict[int, tuple[int, ...]] = {}
        for ident, asked in histories.items():
            read[ident] = tuple(sorted({messages[where].seq for where in asked if where in messages}))
        seqs = {ident: [seq for log in reads.get(ident, ()) for seq in log.seqs] for ident in window if not read[ident]}
        sources = self._sources_at(seq for asked in seqs.values() for seq in asked)
        for ident, asked_seqs in seqs.items():
            read[ident] = tuple(s for s in asked_seqs if s in sources and _is_input(sources[s]))
        writers = self._writers(seq for ident, asked in seqs.items() if not read[ident] for seq in asked)
        return {
            ident: Node(
                caller=callers[ident],
                read=read[ident],
                writers=tuple(sorted({w for seq in seqs.get(ident, ()) if (w := writers.get(seq, ident)) < ident})),
            )
            for ident in window
        }

    def _sources_at(self, seqs: Iterable[int]) -> dict[int, Source]:
        found = {
            source.seq: source
            for some in _chunks(list(set(seqs)), SEQS_AT_ONCE)
            for source in self._provenance.sources_at(some)
        }
        self.sources |= found
        return found

    def _writers(self, seqs: Iterable[int]) -> dict[int, int]:
        """Return the influenced turn that wrote each seq. Other writes that a turn read need no replay."""
        return {
            seq: writer.turn
            for some in _chunks(list(set(seqs)), SEQS_AT_ONCE)
            for seq, writer in self._provenance.writers_of(some).items()
            if writer.turn in self._influenced
        }


def _is_input(source: Source) -> bool:
    return source.key.store != "artifacts" and not is_keyed_store(source.key.store)


def _answered(direct: Direct, callers: Mapping[int, int | None]) -> set[int]:
    """Return the turns that have inputs of their own, or by their callers."""
    found = {ident for ident, own in direct.items() if own}
    for ident in sorted(direct):  # a caller comes before those that it calls
        if direct[ident] is None and callers[ident] in found:
            found.add(ident)
    return found


def _below(order: Sequence[int], ident: int, count: int, without: tuple[Mapping[int, Node], ...]) -> list[int]:
    """Return up to `count` turns before one, in falling order."""
    places = range(bisect_left(order, ident) - 1, -1, -1)
    left: Iterator[int] = (order[place] for place in places if not any(order[place] in known for known in without))
    return [turn for turn, _ in zip(left, range(count), strict=False)]


def _chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))
