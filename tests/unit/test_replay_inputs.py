"""Inputs of turns: equal to the recursive definition on small graphs, linear on large ones."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kedge.model.input_graph import Span, spans
from kedge.model.provenance import Source, TurnRecord
from kedge.model.reads import RangeRead, Reads
from kedge.model.writes import Key
from kedge.recovery.replay_inputs import SEQS_AT_ONCE, TURNS_AT_ONCE, InputFinder


class Made(msgspec.Struct):
    """A turn as a test makes it. Seqs of sources are below 1,000,000; the derived write of turn n is 1,000,000 + n."""

    own: list[int] = []
    parent: int | None = None
    replays: int | None = None
    heard: list[int] = []
    read: list[int] = []
    influenced: bool = True


def written(turn: int) -> int:
    return 1_000_000 + turn


class Graph:
    """The `Provenance` port over turns numbered from 1 on. It counts questions, and what they ask for."""

    def __init__(self, made: list[Made]) -> None:
        self.made = dict(enumerate(made, start=1))
        self.questions = self.asked = 0
        owner = {seq: turn for turn, one in self.made.items() for seq in one.own}
        named = {seq for one in made for seq in (*one.own, *one.heard, *one.read) if seq < 1_000_000}
        self._sources = {
            seq: Source(Key("memory", "s", str(seq)), seq, seq, 0.0, None, None, "s", owner.get(seq, 0))
            for seq in named
        }

    def record(self, turn: int) -> TurnRecord:
        made = self.made[turn]
        parent = None if made.parent is None else str(made.parent)
        return TurnRecord(turn, str(turn), f"agent {turn}", "s", parent, made.replays, derived=made.influenced)

    def influenced(self) -> list[TurnRecord]:
        return [self.record(turn) for turn, made in self.made.items() if made.influenced]

    def inside(self) -> list[Source]:
        return [source for seq, source in self._sources.items() if source.turn and self.made[source.turn].influenced]

    def _count(self, asked: Iterable[object]) -> None:
        self.questions += 1
        self.asked += len(list(asked))

    def callers(self, uids: Iterable[str]) -> list[TurnRecord]:
        self._count(asked := list(uids))
        found: dict[int, TurnRecord] = {}
        left = [int(uid) for uid in asked]
        while left:
            turn = left.pop()
            if turn not in found:
                found[turn] = self.record(turn)
                left += [] if (parent := self.made[turn].parent) is None else [parent]
        return list(found.values())

    def sources_of_turns(self, turns: Iterable[int]) -> list[Source]:
        self._count(asked := set(turns))
        assert len(asked) <= TURNS_AT_ONCE
        return [self._sources[seq] for turn in asked for seq in self.made[turn].own]

    def sources_at(self, seqs: Iterable[int]) -> list[Source]:
        self._count(asked := set(seqs))
        assert len(asked) <= SEQS_AT_ONCE
        return [self._sources[seq] for seq in asked if seq in self._sources]

    def reads_of(self, turns: Iterable[int]) -> dict[int, list[Reads]]:
        self._count(asked := set(turns))
        assert len(asked) <= 2 * TURNS_AT_ONCE
        return {
            turn: [Reads(made.read, [RangeRead("memory", "s", "", seq) for seq in made.heard])]
            for turn in asked
            if (made := self.made[turn]).read or made.heard
        }

    def newest_messages(self, asked: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Source]:
        self._count(places := list(asked))
        return {place: self._sources[place[1]] for place in places}

    def writers_of(self, seqs: Iterable[int]) -> dict[int, TurnRecord]:
        self._count(asked := list(seqs))
        return {seq: self.record(seq - 1_000_000) for seq in asked if seq > 1_000_000}


def found(graph: Graph, replayed: dict[int, int] | None = None) -> dict[int, Span]:
    finder = InputFinder(graph, graph.influenced(), graph.inside())  # type: ignore[arg-type]
    asked = [turn.turn for turn in graph.influenced()]
    return spans(finder.nodes(asked), asked, replayed or {})


def defined(graph: Graph, replayed: dict[int, int]) -> dict[int, Span]:
    """Return the same by the definition, walked turn by turn."""

    @cache
    def inputs(turn: int) -> tuple[int, ...]:
        made = graph.made[turn]
        if made.own:
            return tuple(made.own)
        if made.replays is not None:
            return (made.replays,) if graph.sources_at([made.replays]) else ()
        if made.parent is not None and (called := inputs(made.parent)):
            return called
        if made.heard:
            return tuple(made.heard)
        if sources := tuple(seq for seq in made.read if seq < 1_000_000):
            return sources
        writers = {seq - 1_000_000 for seq in made.read}
        hidden = [writer for writer in writers if graph.made[writer].influenced and writer < turn]
        return tuple({seq for writer in hidden for seq in inputs(writer)})

    result: dict[int, Span] = {}
    for turn, made in graph.made.items():
        for seq in inputs(turn) if made.influenced else ():
            if turn > replayed.get(seq, 0):
                result[seq] = Span(result[seq].first if seq in result else turn, turn)
    return result


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Made], dict[int, int]]:
    count = draw(st.integers(1, 14))
    seqs = st.lists(st.integers(1, 12), max_size=2)
    made = []
    for turn in range(1, count + 1):
        before = st.integers(1, max(1, turn - 1))
        rare = draw(st.integers(0, 5))
        made.append(
            Made(
                own=[turn] if rare == 0 else [],
                parent=draw(st.none() | before) if turn > 1 else None,
                replays=draw(st.integers(1, 12)) if rare == 1 else None,
                heard=draw(seqs) if rare == 2 else [],
                read=(draw(seqs) if rare == 3 else []) + [written(t) for t in draw(st.lists(before, max_size=3))],
                influenced=draw(st.integers(0, 4)) > 0,
            )
        )
    replayed = draw(st.dictionaries(st.integers(1, 12), st.integers(1, 14), max_size=6))
    return made, replayed


@given(graphs())
def test_small_graphs_have_the_inputs_of_the_definition(drawn: tuple[list[Made], dict[int, int]]) -> None:
    made, replayed = drawn
    assert found(Graph(made), replayed) == defined(Graph(made), replayed)


def calls(count: int, *, influenced: bool = True) -> list[Made]:
    """Return a user's turn, then calls one inside the other; each callee reads what the one before it wrote."""
    chain = [
        Made(parent=n, read=[written(n), written(n - 1)] if n > 1 else [], influenced=influenced)
        for n in range(1, count)
    ]
    return [Made(own=[1], influenced=influenced), *chain, Made(parent=count)]


def test_a_chain_of_ten_thousand_calls_takes_few_questions() -> None:
    for influenced in (True, False):
        graph = Graph(calls(10_000, influenced=influenced))
        assert found(graph)[1].last == 10_001
        assert graph.questions <= 20
        assert graph.asked <= 3 * 10_001


def test_a_chain_of_ten_thousand_reads_takes_few_questions() -> None:
    made = [Made(read=[7])] + [Made(read=[written(n), written(max(1, n - 1))]) for n in range(1, 10_000)]
    graph = Graph(made)
    assert found(graph) == {7: Span(1, 10_000)}
    assert graph.questions <= 120, "in the number of turns / 1,000, and in its logarithm"
    assert graph.asked <= 12 * 10_000


def test_calls_without_an_input_are_not_walked_again_and_again() -> None:
    made = []
    for n in range(1, 400, 2):  # a caller reads what the callee before it wrote; so does its callee
        made += [Made(read=[written(n - 1)] if n > 1 else []), Made(parent=n, read=[written(n - 1)] if n > 1 else [])]
    graph = Graph(made)
    assert found(graph) == {}
    assert graph.asked <= 12 * len(made)


def test_a_graph_of_a_hundred_thousand_turns() -> None:
    made = [
        Made(own=[n]) if n <= 100 else Made(parent=n - 50 if n % 3 else None, read=[written(n - 100), written(n - 99)])
        for n in range(1, 100_001)
    ]
    graph = Graph(made)
    assert len(found(graph, dict.fromkeys(range(1, 50), 50_000))) > 0
    assert graph.questions <= 5 * 100_000 // TURNS_AT_ONCE + 50
    assert graph.asked <= 8 * 100_000
