"""Graph of turns and the source inputs behind them: which inputs a set of turns worked on."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

_BITS = 512  # inputs whose first turn is found in one pass


class Node(msgspec.Struct, frozen=True, gc=False):
    """One turn. Its inputs are `direct` if it is `final`; else its caller's; else `read`; else those of `writers`.

    `direct` and `read` are seqs of source writes. `caller` and `writers` are turns.
    """

    direct: tuple[int, ...] = ()
    final: bool = False
    caller: int | None = None
    read: tuple[int, ...] = ()
    writers: tuple[int, ...] = ()


class Span(msgspec.Struct, frozen=True):
    """The first and the last turn that worked on an input."""

    first: int
    last: int


def spans(nodes: Mapping[int, Node], turns: Iterable[int], replayed: Mapping[int, int]) -> dict[int, Span]:
    """Return the inputs of these turns, by seq. A turn counts for an input only if it is after `replayed[seq]`.

    The time is linear in nodes and edges, save for inputs that were replayed and are used again.
    """
    graph = _Graph(nodes)
    asked = sorted(set(turns))
    last = graph.first_to_reach(reversed(asked))
    first = graph.first_to_reach(asked)
    wanted = {seq: end for seq, end in last.items() if end > replayed.get(seq, 0)}
    between = sorted((replayed[seq], seq) for seq in wanted if first[seq] <= replayed.get(seq, 0))
    for start in range(0, len(between), _BITS):
        first |= graph.first_after(asked, between[start : start + _BITS])
    return {seq: Span(first[seq], end) for seq, end in wanted.items()}


def inputs_of(nodes: Mapping[int, Node], turns: Iterable[int]) -> frozenset[int]:
    """Return the seqs of all inputs of these turns."""
    return frozenset(_Graph(nodes).first_to_reach(turns))


class _Graph:
    """The edges that count: those to the first kind of input that a turn has."""

    def __init__(self, nodes: Mapping[int, Node]) -> None:
        self._nodes = nodes
        self._with_inputs = _with_inputs(nodes)

    def _sources(self, turn: int) -> tuple[int, ...]:
        node = self._nodes[turn]
        return node.direct if node.final else () if node.caller in self._with_inputs else node.read

    def _turns(self, turn: int) -> tuple[int, ...]:
        node = self._nodes[turn]
        if node.final:
            return ()
        if node.caller is not None and node.caller in self._with_inputs:
            return (node.caller,)
        return () if node.read else tuple(writer for writer in node.writers if writer in self._with_inputs)

    def first_to_reach(self, turns: Iterable[int]) -> dict[int, int]:
        """Return, by input, the first of these turns that leads to it. Each node and edge is visited once."""
        found: dict[int, int] = {}
        visited: set[int] = set()
        for asked in turns:
            left = [asked]
            while left:
                turn = left.pop()
                if turn in visited:
                    continue
                visited.add(turn)
                for seq in self._sources(turn):
                    found.setdefault(seq, asked)
                left.extend(self._turns(turn))
        return found

    def first_after(self, turns: list[int], inputs: list[tuple[int, int]]) -> dict[int, int]:
        """Return, by input, the first turn after its bound that leads to it; `inputs` are sorted pairs (bound, seq)."""
        bits = {seq: 1 << place for place, (_, seq) in enumerate(inputs)}
        masks: dict[int, int] = {}
        for turn in self._targets_first(turns):
            mask = 0
            for seq in self._sources(turn):
                mask |= bits.get(seq, 0)
            for target in self._turns(turn):
                mask |= masks.get(target, 0)
            masks[turn] = mask
        found: dict[int, int] = {}
        past = open_bits = 0
        for turn in turns:
            while past < len(inputs) and inputs[past][0] < turn:
                open_bits |= 1 << past
                past += 1
            hit = masks[turn] & open_bits
            open_bits &= ~hit
            while hit:
                lowest = hit & -hit
                found[inputs[lowest.bit_length() - 1][1]] = turn
                hit ^= lowest
        return found

    def _targets_first(self, turns: Iterable[int]) -> Iterator[int]:
        """Return all turns reached, each after those that its edges lead to."""
        entered: set[int] = set()
        for asked in turns:
            left = [(asked, False)]
            while left:
                turn, finished = left.pop()
                if finished:
                    yield turn
                elif turn not in entered:
                    entered.add(turn)
                    left.append((turn, True))
                    left.extend((target, False) for target in self._turns(turn))


def _with_inputs(nodes: Mapping[int, Node]) -> set[int]:
    """Return the turns that have any input, directly or through others."""
    users: dict[int, list[int]] = {}
    found: set[int] = set()
    for turn, node in nodes.items():
        if node.direct if node.final else node.read:
            found.add(turn)
        elif not node.final:
            for target in (*node.writers, *(() if node.caller is None else (node.caller,))):
                users.setdefault(target, []).append(turn)
    left = list(found)
    while left:
        for user in users.get(left.pop(), ()):
            if user not in found:
                found.add(user)
                left.append(user)
    return found


__all__ = ["Node", "Span", "inputs_of", "spans"]
