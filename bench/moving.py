"""Migration to PostgreSQL: its rate, and the share of time without writes."""

import time
from collections.abc import Iterator

import numpy as np

import kedge
from bench.harness import Measured, Setting


def moving(setting: Setting, url: str) -> Iterator[Measured]:
    """Fill a SQLite database by batches, half of it vectors, and move it to an empty database of a server."""
    here, sizes = setting.fresh("moving"), setting.sizes
    began = time.perf_counter()
    written = _fill(here, sizes.few_writes, sizes.batch, sizes.dim)
    wrote_seconds = time.perf_counter() - began
    began = time.perf_counter()
    report = kedge.migrate_store(here, url)
    moved_seconds = time.perf_counter() - began
    if report is None:
        raise RuntimeError("nothing was moved")
    told = f"{written / moved_seconds:,.0f}/s vs {written / wrote_seconds:,.0f}/s by batches into SQLite"
    yield Measured("migration to PostgreSQL: rate vs writing the data", wrote_seconds / moved_seconds, "×", told)
    told = f"{report.closed_seconds:.2f} s of {moved_seconds:.2f} s, {written:,} writes"
    yield Measured("migration: share of its time without writes", report.closed_seconds / moved_seconds, "", told)


def _fill(folder: object, writes: int, batch: int, dim: int) -> int:
    rng, written = np.random.default_rng(1), 0
    with kedge.open(str(folder)) as k:
        k.collection("kb", dim=dim)
        while written < writes:
            with k.turn(session=f"s-{written}", agent="support") as turn:
                names = [f"d{written + n}" for n in range(batch)]
                turn.vectors("kb").upsert(names, rng.standard_normal((batch, dim)).astype(np.float32))
                turn.documents("kb").put_many(dict.fromkeys(names, "a text of the usual length for a passage"))
            written += 2 * batch
    return written
