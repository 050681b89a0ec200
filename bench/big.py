"""Two databases that differ only in size: a live base, and a release that is rolled back."""

import time
from pathlib import Path

import msgspec
import numpy as np

import kedge

DIM = 64
BAD = "v2"
TEXT = "Where is my order? It was to arrive on Friday, and the tracking page has not changed since. "


class BigDatabases(msgspec.Struct, frozen=True):
    """The folders of both, and the rate at which the big one was loaded."""

    big: Path
    small: Path
    writes: int
    few_writes: int
    writes_per_second: float


def build(folder: Path, writes: int, few_writes: int, batch: int, vectors_per_cent: int) -> BigDatabases:
    """Fill both through public calls, at full durability."""
    big, small = folder / "big", folder / "small"
    began = time.perf_counter()
    fill(big, writes, batch, vectors_per_cent)
    seconds = time.perf_counter() - began
    fill(small, few_writes, min(batch, few_writes // 10), vectors_per_cent)
    return BigDatabases(big, small, writes, few_writes, writes / seconds)


def fill(place: str | Path, writes: int, batch: int, vectors_per_cent: int) -> None:
    """Write every tenth batch as the bad release; the others are vectors, or messages of many sessions."""
    random = np.random.default_rng(1)
    messages = [("user" if i % 2 else "assistant", f"{TEXT}{i}") for i in range(batch)]
    with kedge.open(place) as k:
        k.collection("kb", dim=DIM)
        k.deploy("v1", {"support/prompt": "one", "shared/embedder": {"name": "e1", "dim": DIM}})
        k.promote("v1")
        k.deploy(BAD, {"support/prompt": "two"})
        for number in range(writes // batch):
            bad = number % 10 == 9
            replaces = number % 20 == 19  # the bad release also overwrites vectors
            with k.turn(f"session-{number}", "support", deployment=BAD if bad else None) as turn:
                if replaces or (not bad and number * vectors_per_cent % 100 < vectors_per_cent):
                    ids = [f"row-{0 if replaces else number}-{i}" for i in range(batch)]
                    turn.vectors("kb").upsert(ids, random.standard_normal((batch, DIM), np.float32))
                else:
                    turn.memory.extend(messages)
