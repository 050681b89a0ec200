"""Puts into the result cache: a large cache beside a small one, on both backends."""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec

import kedge
from bench.harness import Measured, Setting, interleave, micro, ratio
from kedge.testing import postgres

FEW, MANY = 500, 10_000


def caching(setting: Setting) -> Iterator[Measured]:
    """Compare a put into a cache of 10,000 entries with one of 500."""
    yield _measured(setting, "SQLite", [str(setting.fresh(f"cache-{n}")) for n in (FEW, MANY)])
    if find_spec(postgres.PACKAGE) is None or find_spec("psycopg") is None:
        return
    with postgres.running() as few, postgres.running() as many:
        yield _measured(setting, "PostgreSQL", [few.url(), many.url()])


def _measured(setting: Setting, backend: str, places: list[str]) -> Measured:
    puts, numbers = setting.sizes.puts, itertools.count()
    with ExitStack() as stack:
        turns = []
        for place, entries in zip(places, (FEW, MANY), strict=True):
            k = stack.enter_context(kedge.open(place, durability="normal"))
            turns.append(stack.enter_context(k.turn(agent="a")))
            for _ in range(entries):
                turns[-1].cache.get_or_compute(f"key-{next(numbers)}", lambda: "x" * 1_000, ttl=3_600.0)

        def put(turn: kedge.Turn) -> None:
            for _ in range(puts):
                turn.cache.get_or_compute(f"key-{next(numbers)}", lambda: "x" * 1_000, ttl=3_600.0)

        few, many = interleave(setting.sizes.rounds, lambda: put(turns[0]), lambda: put(turns[1]))
    return Measured(
        f"{backend}: a put into a cache of {MANY:,} entries, beside one of {FEW}",
        ratio(many, few), "×", f"{micro(many, puts)} vs {micro(few, puts)}", at_most=1.5,
    )  # fmt: skip
