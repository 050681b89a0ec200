"""Limited ranges of a large space, and batches of a turn, as ratios within one run."""

from collections.abc import Iterator

import numpy as np

import kedge
from bench.harness import Measured, Setting, interleave, micro, ratio

PAGE = 20
CALLS = 20


def ranges(setting: Setting) -> Iterator[Measured]:
    """Compare a page of a large space with one of a small space, and with what a hidden release wrote between."""
    sizes = setting.sizes
    count = sizes.rows
    setting.say(f"writing {count:,} values")
    with kedge.open(setting.fresh("ranges"), durability="normal") as k:
        k.deploy("v2", {"late/prompt": "…"})
        k.promote("v2")
        with k.turn(agent="clerk") as turn:
            for space, names in (("large", count), ("small", PAGE), ("mixed", PAGE)):
                _fill(turn, space, range(0, names * 10, 10), count)
        with k.turn(agent="late") as turn:
            _fill(turn, "mixed", range(1, count), count)
        with k.turn(agent="clerk") as turn:
            turn.store("own").space("mixed").put("x", 1)
        k.rollback("v2", verify=False)
        view = k.view().store("own")
        middle = f"{count * 5:012}"

        def page(space: str, after: str | None = None, *, reverse: bool = False) -> None:
            assert len(view.space(space).keys(after=after, limit=PAGE, reverse=reverse)) == PAGE

        def whole() -> None:
            assert len(view.space("large").keys()) == count

        small, first, within, last, mixed = interleave(
            sizes.rounds,
            lambda: page("small"),
            lambda: page("large"),
            lambda: page("large", middle),
            lambda: page("large", reverse=True),
            lambda: page("mixed"),
            warm_up=1,
        )
        everything, some = interleave(min(5, sizes.rounds), whole, lambda: page("large"), warm_up=1)
    for what, seconds in (
        (f"{PAGE} names of {count:,}, the first", first),
        (f"{PAGE} names of {count:,}, from the middle", within),
        (f"{PAGE} names of {count:,}, the last", last),
        (f"{PAGE} names among {count:,} that a rollback hid", mixed),
    ):
        yield Measured(
            f"{what}: time vs a space of {PAGE}", ratio(seconds, small), "×", f"{micro(seconds)} vs {micro(small)}",
            at_most=3,
        )  # fmt: skip
    yield Measured(
        f"all {count:,} names: time vs {PAGE} of them", ratio(everything, some), "×",
        f"{micro(everything)} vs {micro(some)}",
    )  # fmt: skip


def _fill(turn: kedge.Turn, space: str, numbers: range, at_once: int) -> None:
    kept = turn.store("own").space(space)
    for first in range(0, len(numbers), min(at_once, 5_000)):
        kept.put_many({f"{number:012}": number for number in numbers[first : first + 5_000]})


def turn_batches(setting: Setting) -> Iterator[Measured]:
    """Compare documents with their vectors in one batch with the same calls one by one."""
    sizes = setting.sizes
    rows = np.random.default_rng(9).standard_normal((CALLS, sizes.dim), np.float32)

    def write(turn: kedge.Turn) -> None:
        for number in range(CALLS):
            turn.documents("kb").put(f"doc-{number}", "the text of a document")
            turn.vectors("kb").upsert([f"doc-{number}"], rows[number : number + 1])

    with kedge.open(setting.fresh("turn-batches")) as k, k.turn(agent="clerk") as turn:
        k.collection("kb", dim=sizes.dim)

        def batched() -> None:
            with turn.batch():
                write(turn)

        together, single = interleave(min(20, sizes.rounds), batched, lambda: write(turn), warm_up=1)
    yield Measured(
        f"{CALLS} documents and their vectors in one batch: time vs {2 * CALLS} calls",
        ratio(together, single), "×", f"{micro(together, CALLS)} vs {micro(single, CALLS)} each", at_most=0.5,
    )  # fmt: skip
