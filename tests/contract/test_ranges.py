"""Ranges and histories, read by states, equal the heads read name by name, in every view."""

import random
from collections.abc import Iterator

import msgspec
import pytest

import kedge
from kedge.model.lineage import Lineage
from kedge.model.ranges import Span
from kedge.model.visibility import View
from kedge.model.writes import Author, Batch, Head, Key, Pending, encode, memory_name
from kedge.ports.backend import Backend
from kedge.ports.journal import Range
from kedge.stores.memory import MemoryView
from kedge.turns.scope import scope_of

POSTGRES_ONE_IN = 6
NUMBERS = (1, 2, 3, 4)
NAMES = [f"{letter}{digit}" for letter in "ab" for digit in range(3)]
SESSION = "s"
SPACE = "space"  # of messages, which turns in and outside a deployment write


@pytest.fixture
def k(place: str) -> Iterator[kedge.Kedge]:
    with kedge.open(place, durability="normal") as opened:
        for number in NUMBERS:
            opened.deploy(f"v{number}", {f"a{number}/prompt": "…"})
        yield opened


def views(epoch: int) -> Iterator[View]:
    for bits in range(3 ** len(NUMBERS)):
        places = [bits // 3**position % 3 for position in range(len(NUMBERS))]
        seen = frozenset(n for n, place in zip(NUMBERS, places, strict=True) if place == 1)
        settled = frozenset(n for n, place in zip(NUMBERS, places, strict=True) if place == 2)
        yield View(epoch, seen, settled)


def write(backend: Backend, epoch: int, chance: random.Random, writes: int) -> None:
    """Put, delete and replay under random lineages: the names are few, so they meet."""
    last = 10
    for number in range(writes):
        lineage = frozenset(chance.sample(NUMBERS, chance.choice((0, 0, 1, 1, 2, 3))))
        space, store = ("", "context") if chance.random() < 0.6 else (SESSION, "memory")
        names = chance.sample(NAMES, chance.choice((1, 1, 3)))
        payload = None if chance.random() < 0.3 else b'j{"role":"r","content":1}'
        rank = chance.randint(1, last) if chance.random() < 0.2 else None
        pending = tuple(Pending(Key(store, space, name), payload) for name in names)
        batch = Batch(epoch, Author(f"t{number % 7}"), pending, lineage=lineage, rank=rank)
        last = backend.journal.append(batch).seqs[-1]


def one_by_one(backend: Backend, view: View, store: str, space: str, prefix: str) -> tuple[list[Head], set[Lineage]]:
    heads = [backend.journal.head(view, Key(store, space, name)) for name in NAMES if name.startswith(prefix)]
    found = [head for head in heads if head is not None]
    deleted = {head.lineage for head in found if head.deleted and not head.lineage <= view.settled}
    return [head for head in found if not head.deleted], deleted


def spans() -> list[Span]:
    bounds = [(low, high) for low in ("", "a1", "a2 ") for high in (None, "b", "b1")]
    return [Span(*bound, limit, reverse) for bound in bounds for limit in (1, 2, 4, None) for reverse in (False, True)]


def covered(backend: Backend, view: View, span: Span, store: str, space: str) -> tuple[list[Head], set[Lineage]]:
    """Return what a range must find, from the heads name by name: no delete beyond its limit."""
    heads, _ = one_by_one(backend, view, store, space, "")
    chosen = span.chosen(heads)
    read = span.covered([head.key.name for head in chosen])
    found = [backend.journal.head(view, Key(store, space, name)) for name in NAMES if read.holds(name)]
    deleted = (head for head in found if head is not None and head.deleted)
    return chosen, {head.lineage for head in deleted if not head.lineage <= view.settled}


def same(found: Range, heads: list[Head], tombstones: set[Lineage]) -> bool:
    return found.heads == heads and found.tombstones == tombstones


@pytest.mark.parametrize("seed", range(25))
def test_ranges_equal_their_heads(k: kedge.Kedge, seed: int) -> None:
    backend = scope_of(k.view()).backend
    write(backend, k.epoch, random.Random(seed), 60)
    for view in views(k.epoch):
        for store, space in (("context", ""), ("memory", SESSION)):
            for prefix in ("", "a", "b"):
                heads, tombstones = one_by_one(backend, view, store, space, prefix)
                assert same(backend.journal.range(view, store, space, prefix), heads, tombstones)
        heads, _ = one_by_one(backend, view, "memory", SESSION, "")
        for limit in (1, 3, 10):
            assert backend.journal.history(view, SESSION, limit).heads == heads[-limit:]
    assert k.fsck(full=True).findings == ()


@pytest.mark.parametrize("seed", range(4))
def test_limited_ranges_cover_the_first_heads_and_no_more(k: kedge.Kedge, seed: int) -> None:
    backend = scope_of(k.view()).backend
    chance = random.Random(seed)
    write(backend, k.epoch, chance, 60)
    last = k.seq
    for view in chance.sample(list(views(k.epoch)), 5):
        for at in (
            view,
            msgspec.structs.replace(view, upto=last * 2 // 3),
            msgspec.structs.replace(view, upto_rank=last // 2),
        ):
            for span in spans():
                found = backend.journal.range(at, "context", "", span)
                heads, deleted = covered(backend, at, span, "context", "")
                assert found.heads == heads
                assert {one for one in found.tombstones if not one <= at.settled} == deleted
                bare = backend.journal.range(at, "context", "", span, payloads=False).heads
                assert [head.seq for head in bare] == [head.seq for head in heads]


@pytest.mark.parametrize("seed", range(5))
def test_the_newest_messages_of_the_past_are_the_last_of_all_of_them(k: kedge.Kedge, seed: int) -> None:
    chance = random.Random(seed)
    k.deploy("release", {"other/prompt": "x"})
    for number in range(40):
        deployment = "release" if chance.random() < 0.5 else None
        with k.turn(agent="other", deployment=deployment) as turn:
            write = scope_of(turn).write
            (seq,) = write([Pending(Key("memory", SPACE, ""), encode({"role": "assistant", "content": number}))])
            if chance.random() < 0.3:
                write([Pending(Key("memory", SPACE, memory_name(seq, seq)), None)])
    for point in range(0, k.seq + 1, 7):
        for deployment in (None, "release") if point > 10 else (None,):
            then = MemoryView(scope_of(k.at(point, deployment=deployment)), space=SPACE)
            assert [then.history(n) for n in (1, 3, 20)] == [then.history()[-n:] for n in (1, 3, 20)]
