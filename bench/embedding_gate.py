"""False alarms and power of the embedding gate on 100 probes, in simulated embedding spaces."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bench.harness import Measured, Setting
from bench.launches import upper_bound
from kedge.guard.embedding_gate import (
    ALPHA,
    PROBES_LEAST,
    REPEATS,
    Matrix,
    Probes,
    distances,
    judge,
    neighbours,
    overlaps,
)

DIM, TOPICS = 64, 12
SWAPPED, COSINE = 0.05, 0.995
Rng = np.random.Generator
Noise = Callable[[Rng, int], Matrix]
Change = Callable[[Rng, Matrix], Matrix]


def embedding_gate(setting: Setting) -> Iterator[Measured]:
    """Measure false alarms for several kinds of noise, and the power for swapped documents and a rotation."""
    count = setting.sizes.launches
    for name, noise in NOISES.items():
        yield alarms(name, noise, count)
    for name, change in CHANGES.items():
        power = rate(even, change, count, seed=7)
        yield Measured(f"power: {name}", 100 * power, "%", f"{count:,} simulations", at_least=95)


def alarms(name: str, noise: Noise, count: int) -> Measured:
    """Return the upper 95% bound of the rate of false alarms; the rate that was measured is in the detail."""
    found = rate(noise, unchanged, count, seed=3)
    upper = upper_bound(round(found * count), count)
    slack = 4 * math.sqrt(ALPHA * (1 - ALPHA) / count)  # of the simulation, and of the bound
    detail = f"{100 * found:.2f}% of {count:,} simulations"
    return Measured(f"false alarms at most: {name}", 100 * upper, "%", detail, at_most=100 * (ALPHA + slack))


def rate(noise: Noise, change: Change, count: int, seed: int) -> float:
    """Return the share of simulations in which the gate does not pass."""
    rng = np.random.default_rng(seed)
    return sum(not passes(rng, noise, change) for _ in range(count)) / count


def passes(rng: Rng, noise: Noise, change: Change) -> bool:
    """Freeze probes with a noise, embed them again after a change, and return whether the gate passes."""
    true = space(rng)
    runs = [noisy(true, noise(rng, len(true))) for _ in range(REPEATS + 1)]
    largest = max(float(distances(runs[0], run).max()) for run in runs[1:])
    near = neighbours(runs[0])
    steadiness = min(float(overlaps(near, neighbours(run)).mean()) for run in runs[1:])
    ids = tuple(map(str, range(len(true))))
    probes = Probes(ids, ids, runs[0], largest, REPEATS, steadiness=steadiness)
    return judge(probes, change(rng, noisy(true, noise(rng, len(true))))).passed


def space(rng: Rng) -> Matrix:
    """Return unit vectors of texts on some topics: texts of one topic are near each other."""
    topics = rng.standard_normal((TOPICS, DIM))
    rows = topics[rng.integers(0, TOPICS, PROBES_LEAST)] + 0.8 * rng.standard_normal((PROBES_LEAST, DIM))
    return unit(rows)


def unit(rows: np.ndarray[tuple[int, ...], np.dtype[Any]]) -> Matrix:
    """Return the rows with norm 1."""
    found: Matrix = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return found


def noisy(true: Matrix, noise: Matrix) -> Matrix:
    """Return the vectors of one run."""
    return unit(true + noise)


# ── noise of an embedder, as a difference of vectors ──


def even(rng: Rng, count: int) -> Matrix:
    """Return the same noise for all texts, as half precision makes it: 1 - cos of about 1e-4."""
    return _drawn(rng, count, np.full(count, 0.01))


def uneven(rng: Rng, count: int) -> Matrix:
    """Return noise that is a hundred times as large for some texts as for others."""
    return _drawn(rng, count, np.geomspace(3e-4, 3e-2, count))


def heavy(rng: Rng, count: int) -> Matrix:
    """Return noise with rare large values: Student's t with 2 degrees of freedom."""
    return _drawn(rng, count, np.minimum(0.003 * np.abs(rng.standard_t(2, count)), 0.5))


def two(rng: Rng, count: int) -> Matrix:
    """Return noise in two texts only: as uneven as it can be."""
    scale = np.zeros(count)
    scale[:2] = 0.02
    return _drawn(rng, count, scale)


def none(_: Rng, count: int) -> Matrix:
    """Return no noise."""
    return np.zeros((count, DIM), np.float32)


def _drawn(rng: Rng, count: int, scale: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Matrix:
    directions = rng.standard_normal((count, DIM)) / math.sqrt(DIM)
    found: Matrix = (directions * scale[:, None]).astype(np.float32)
    return found


NOISES: dict[str, Noise] = {
    "noise alike": even,
    "noise differs by text": uneven,
    "noise with a heavy tail": heavy,
    "noise in two texts only": two,
    "no noise": none,
}


# ── changes ──


def unchanged(_: Rng, rows: Matrix) -> Matrix:
    """Return the vectors as they are."""
    return rows


def swapped(rng: Rng, rows: Matrix) -> Matrix:
    """Exchange each vector with probability 5% for that of another document, which is no probe."""
    found = rows.copy()
    chosen = rng.random(len(rows)) < SWAPPED
    found[chosen] = space(rng)[chosen]
    return found


def five(rng: Rng, rows: Matrix) -> Matrix:
    """Exchange exactly 5% of the vectors among each other."""
    found = rows.copy()
    chosen = rng.choice(len(rows), round(SWAPPED * len(rows)), replace=False)
    found[chosen] = rows[np.roll(chosen, 1)]
    return found


def rotated(rng: Rng, rows: Matrix) -> Matrix:
    """Turn the whole space, so that each vector has a mean cosine of 0.995 with itself: neighbours stay the same."""
    basis = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0]
    angle = math.acos(COSINE)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    blocks = np.kron(np.eye(DIM // 2), turn)
    found: Matrix = (rows @ (basis @ blocks @ basis.T).astype(np.float32)).astype(np.float32)
    return found


CHANGES: dict[str, Change] = {
    "each document swapped with probability 5%": swapped,
    "5 of 100 documents swapped": five,
    "rotation of cosine 0.995": rotated,
}
