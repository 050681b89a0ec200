"""Opening a large collection: time to the first answer of a search, and memory."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import kedge
from bench.harness import Measured, Setting, median, timed

ROOT = Path(__file__).parents[1]
BATCH = 10_000
ROUNDS = 5
MILLION = 1_000_000


def opening(setting: Setting) -> Iterator[Measured]:
    """Open a collection in new processes: with its row cache, without it, and while it is indexed."""
    sizes = setting.sizes
    for rows in (sizes.rows, sizes.many_rows):
        folder = setting.fresh(f"open-{rows}")
        setting.say(f"writing and indexing {rows:,} vectors of {sizes.dim} dimensions")
        _fill(folder, rows, sizes.dim)
        built = _child(folder, sizes.dim, "optimize")
        setting.say(f"opening {rows:,} vectors")
        opened, slow = [], []
        raw: list[float] = []
        for _ in range(min(ROUNDS, sizes.rounds)):
            opened.append(_child(folder, sizes.dim))
            with timed(raw):
                kept = [path for path in folder.rglob("*.rows") if path.read_bytes()]  # few rows have no cache
            for path in kept:
                path.unlink()  # the next process writes it
            slow.append(_child(folder, sizes.dim))
        seconds, slowly = (median([found["seconds"] for found in several]) for several in (opened, slow))
        how = "exactly" if opened[0]["exact"] else "by the index"
        yield Measured(
            f"open {rows:,} × {sizes.dim}, first answer {how}", seconds * 1e3, "ms",
            f"without the row cache {slowly * 1e3:,.0f} ms; read of that file alone {median(raw) * 1e3:.1f} ms",
            at_most=300,
        )  # fmt: skip
        for what, held in (
            ("after a search", max(found["after"] - found["before"] for found in opened)),
            ("peak while it is indexed", built["most"] - built["before"]),
        ):
            yield Measured(
                f"memory for {rows:,} × {sizes.dim} beyond mapped files, {what}",
                held / rows, "bytes/row", f"{held / 1e6:,.0f} MB", at_most=600 if rows >= MILLION else None,
            )  # fmt: skip


def _fill(folder: Path, rows: int, dim: int) -> None:
    random = np.random.default_rng(7)
    with kedge.open(folder, durability="normal") as k, k.turn(agent="clerk") as turn:
        k.collection("kb", dim=dim)
        for first in range(0, rows, BATCH):
            count = min(BATCH, rows - first)
            matrix = random.standard_normal((count, dim), np.float32)
            turn.vectors("kb").upsert([f"row-{first + n}" for n in range(count)], matrix)


def _child(folder: Path, dim: int, *arguments: str) -> Any:
    command = [sys.executable, "-m", "bench.opened", str(folder), str(dim), *arguments]
    answer = subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    return json.loads(answer.stdout)
