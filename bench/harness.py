"""Measurement: interleaved rounds in one run, compared by medians, so that noise affects both sides alike."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import msgspec

from bench.big import BigDatabases, build

Action = Callable[[], object]


class Sizes(msgspec.Struct, frozen=True):
    """Sizes of a run. Targets are for `FULL`."""

    writes: int = 1_000_000
    few_writes: int = 10_000
    load_batch: int = 10_000
    vectors_per_cent: int = 20
    hidden: int = 100_000
    rows: int = 100_000
    many_rows: int = 1_000_000
    dim: int = 384
    batch: int = 1_000
    rounds: int = 25
    puts: int = 40
    reads: int = 2_000
    gets: int = 200
    ranges: int = 10
    flips: int = 25
    write_seconds: float = 3.0
    members: int = 1_000
    processes: int = 10
    releases: int = 36_500  # a hundred a day for a year
    cycles: int = 10_000
    turns: int = 4_000
    lineages: int = 200
    sessions: int = 100_000
    launches: int = 2_000  # simulated, of each kind


FULL = Sizes()
QUICK = Sizes(
    writes=100_000,
    hidden=10_000,
    rows=20_000,
    many_rows=100_000,
    dim=128,
    rounds=9,
    puts=30,
    reads=1_000,
    flips=9,
    members=200,
    releases=5_000,
    cycles=500,
    turns=800,
    lineages=50,
    sessions=5_000,
    launches=200,
)


class Measured(msgspec.Struct, frozen=True):
    """One row of the table. `at_most` and `at_least` are targets; without one the row is for information."""

    name: str
    value: float
    unit: str
    detail: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.at_most is not None:
            return self.value <= self.at_most
        if self.at_least is not None:
            return self.value >= self.at_least
        return None


class Setting:
    """Context of one run: sizes, a temporary folder, and a function that shows progress."""

    def __init__(self, sizes: Sizes, folder: Path, say: Callable[[str], None]) -> None:
        self.sizes = sizes
        self.folder = folder
        self.say = say

    def fresh(self, name: str) -> Path:
        """Return a new folder for a database."""
        return self.folder / name

    @cached_property
    def big(self) -> BigDatabases:
        """The two databases that differ only in size, built on first use."""
        sizes = self.sizes
        self.say(f"building a database of {sizes.writes:,} writes, and one of {sizes.few_writes:,}")
        return build(self.folder, sizes.writes, sizes.few_writes, sizes.load_batch, sizes.vectors_per_cent)


Group = Callable[[Setting], Iterator[Measured]]


def interleave(rounds: int, *actions: Action, warm_up: int = 2, prepare: Action = lambda: None) -> list[list[float]]:
    """Run each action once a round, A B A B, after `prepare`; return the seconds of each, round by round."""
    seconds: list[list[float]] = [[] for _ in actions]
    for number in range(-warm_up, rounds):
        prepare()
        for action, taken in zip(actions, seconds, strict=True):
            with timed(taken if number >= 0 else []):
                action()
    return seconds


def ratio(taken: list[float], reference: list[float]) -> float:
    """Return the median over the rounds of the ratio of both times."""
    return statistics.median(a / b for a, b in zip(taken, reference, strict=True))


def median(seconds: list[float]) -> float:
    """Return the median."""
    return statistics.median(seconds)


def micro(seconds: list[float], calls: int = 1) -> str:
    """Return the time of one call in the median round, as text."""
    each = median(seconds) / calls
    return f"{each * 1e6:,.1f} µs" if each < 1e-3 else f"{each * 1e3:,.2f} ms"


def commit_time(rollback: Callable[..., object]) -> float:
    """Return the seconds until a rollback was committed: readers no longer see what it hides.

    Its report comes later: it counts what the deployment's sessions wrote without carrying it, up to a limit.
    """
    committed: list[float] = []

    def note(step: str) -> None:
        if step.startswith("committed"):
            committed.append(time.perf_counter())

    began = time.perf_counter()
    rollback(on_step=note)
    return committed[0] - began


@contextmanager
def timed(into: list[float]) -> Iterator[None]:
    """Add the seconds that a block takes."""
    began = time.perf_counter()
    yield
    into.append(time.perf_counter() - began)
