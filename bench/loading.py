"""Bulk load of vectors against the same bytes without Kedge; single upserts against context writes."""

import itertools
import os
from collections.abc import Iterator

import numpy as np

import kedge
from bench.harness import Measured, Setting, interleave, median, micro, ratio
from bench.raw import RawWriter
from kedge.model.writes import encode

BATCH = 10_000


def loads(setting: Setting) -> Iterator[Measured]:
    """Compare durable batches of vectors with a synced file and executemany, and one upsert with one context write."""
    dim = setting.sizes.dim
    rows = np.random.default_rng(3).standard_normal((BATCH, dim), np.float32)
    payloads = [{"lang": "en", "n": n} for n in range(BATCH)]
    encoded = [encode(payload) for payload in payloads]
    batches, numbers = itertools.count(), itertools.count()
    raw = RawWriter(setting.fresh("load-raw"))
    with (
        kedge.open(setting.fresh("load")) as k,
        setting.fresh("load-raw.f32").open("wb") as file,
        k.turn(agent="a") as turn,
    ):
        k.collection("kb", dim=dim)
        vectors = turn.vectors("kb")

        def ours() -> None:
            batch = next(batches)
            vectors.upsert([f"row-{batch}-{n}" for n in range(BATCH)], rows, payloads)

        def theirs() -> None:
            file.write(rows.data)
            file.flush()
            os.fsync(file.fileno())
            raw.write_all()

        bulk = interleave(min(10, setting.sizes.rounds), ours, theirs, prepare=lambda: raw.prepare(encoded, "row-"))

        def upserts() -> None:
            for _ in range(setting.sizes.puts):
                vectors.upsert([f"one-{next(numbers)}"], rows[:1], payloads[:1])

        def puts() -> None:
            for _ in range(setting.sizes.puts):
                turn.context.put(f"case/{next(numbers)}", payloads[0])

        single = interleave(setting.sizes.rounds, upserts, puts)
    raw.close()
    rate = BATCH / median(bulk[0])
    yield Measured(
        f"durable batches of {BATCH:,} × {dim}", rate, "rows/s", "full durability, payloads of two fields",
        at_least=50_000,
    )  # fmt: skip
    yield Measured(
        "durable batches: time vs a synced file and executemany into the tables of a write",
        ratio(*bulk), "×", f"{micro(bulk[0])} vs {micro(bulk[1])}",
    )  # fmt: skip
    yield Measured(
        "one durable upsert: time vs one durable context write",
        ratio(*single), "×", f"{micro(single[0], setting.sizes.puts)} vs {micro(single[1], setting.sizes.puts)}",
        at_most=3,
    )  # fmt: skip
