"""Compaction: its rate, the size that it leaves, and how long a concurrent writer waits."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import kedge
from bench.harness import Measured, Setting
from bench.searching import BATCH, Floats

WRITES_ALONE = 20


def compaction(setting: Setting) -> Iterator[Measured]:
    """Overwrite every other row, then compact while a writer upserts single rows."""
    sizes, folder = setting.sizes, setting.fresh("compacted")
    setting.say(f"writing {sizes.rows:,} vectors of {sizes.dim} dimensions, and every other once more")
    rows = np.random.default_rng(9).standard_normal((sizes.rows, sizes.dim), np.float32)
    with kedge.open(folder) as k:
        k.collection("kb", dim=sizes.dim)
        _upsert(k, rows, 1)
        _upsert(k, rows, 2)
        k.set_retention(0)
        before = _bytes(folder)
        waits = _Waits(k, rows[:1])
        alone = [waits.one() for _ in range(WRITES_ALONE)]
        with waits:
            began = time.perf_counter()
            done = k.optimize("kb")["kb"]
            seconds = time.perf_counter() - began
        live = k.view().vectors("kb").count() * sizes.dim * 4
    yield Measured(
        f"segment files after a compaction of {sizes.rows:,} × {sizes.dim}, half overwritten: size vs live rows",
        _bytes(folder) / live, "×", f"{before / live:.2f}× before", at_most=1.5,
    )  # fmt: skip
    yield Measured("compaction", done.reclaimed_rows / seconds, "rows/s", f"rows reclaimed, {seconds:.1f} s")
    yield Measured(
        "longest wait of a single upsert during compaction, as a share of the compaction's time",
        max(waits.seen) / seconds, "×",
        f"{max(waits.seen) * 1e3:.0f} ms; median {np.median(waits.seen) * 1e3:.1f}, alone {np.median(alone) * 1e3:.1f}",
    )  # fmt: skip


class _Waits:
    """A thread that writes single rows, and the time of each. A context manager."""

    def __init__(self, k: kedge.Kedge, row: Floats) -> None:
        self._k, self._row = k, row
        self.seen: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def one(self) -> float:
        began = time.perf_counter()
        with self._k.turn(agent="clerk") as turn:
            turn.vectors("kb").upsert([f"beside-{began}"], self._row)
        return time.perf_counter() - began

    def _write(self) -> None:
        while not self.seen or not self._over.is_set():
            self.seen.append(self.one())

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _upsert(k: kedge.Kedge, rows: Floats, step: int) -> None:
    numbers = list(range(0, len(rows), step))
    for start in range(0, len(numbers), BATCH):
        chosen = numbers[start : start + BATCH]
        with k.turn(agent="clerk") as turn:
            turn.vectors("kb").upsert([f"row-{number}" for number in chosen], rows[chosen])


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "kedge.db-vectors").glob("*.f32"))
