"""Metric samples and their tallies."""

import json
from enum import StrEnum
from typing import Any

import msgspec

from kedge.model.control_log import decode_numbers
from kedge.model.declared_metrics import OWN
from kedge.model.lineage import EMPTY, Lineage
from kedge.support.display import Value


class Sample(msgspec.Struct, frozen=True):
    """One observation of a metric: a JSON scalar, or two numbers of a ratio, with the deployments that it rests on.

    `at` is when it was observed, `recorded_at` when it arrived (None: at once). Of an `idempotency` key one is stored.
    """

    metric: str
    value: Any
    at: float
    session: str | None = None
    agent: str | None = None
    lineage: Lineage = EMPTY
    seen: frozenset[int] = EMPTY
    recorded_at: float | None = None
    idempotency: str | None = None
    number: int = 0  # its place among the stored ones

    @property
    def arrived(self) -> float:
        """When it arrived."""
        return self.at if self.recorded_at is None else self.recorded_at

    @property
    def is_purged_with(self) -> Lineage:
        """The deployments whose purge erases this sample."""
        return EMPTY if self.metric.startswith(OWN) else self.lineage


class Stored(StrEnum):
    """What became of a sample that was to be stored."""

    STORED = "stored"
    REPEATED = "repeated"  # its idempotency key has stored the same before
    MISMATCH = "mismatch"  # its idempotency key has stored something else
    PURGED = "purged"  # a deployment that it rests on was purged


class Tally(Value, frozen=True):
    """How often an agent's turns observed one value of a metric, and when last."""

    metric: str
    agent: str | None
    value: Any
    count: int
    last_at: float


def decode_sample(metric: str, row: tuple[Any, ...]) -> Sample:
    """Return a sample from its row: at, session, agent, value, seen."""
    at, session, agent, value, seen = row
    return Sample(metric, json.loads(value), at, session, agent, seen=decode_numbers(seen))


def encode_sample(sample: Sample, session: str | None, lineage: int) -> tuple[Any, ...]:
    """Return the row of a sample, save what it has seen: its stored session and the id of its lineage are given."""
    value = json.dumps(sample.value)
    return sample.at, session, sample.agent, sample.metric, value, lineage, sample.recorded_at, sample.idempotency


def decode_arrived(row: tuple[Any, ...]) -> Sample:
    """Return a sample from its row: id, metric, at, session, agent, value, seen, recorded_at."""
    number, metric, *row_of_sample, recorded_at = row
    sample = decode_sample(metric, tuple(row_of_sample))
    return msgspec.structs.replace(sample, number=number, recorded_at=recorded_at)


def outcome(sample: Sample, session: str | None, earlier: tuple[Any, ...] | None) -> Stored:
    """Return what became of a sample whose key is taken, given its stored session and what the key has stored."""
    is_same = earlier is not None and tuple(earlier) == (session, sample.metric, json.dumps(sample.value))
    return Stored.REPEATED if is_same else Stored.MISMATCH


def decode_tally(row: tuple[Any, ...]) -> Tally:
    """Return a tally from its row: metric, agent, value, count, last_at."""
    metric, agent, value, count, at = row
    return Tally(metric, agent, json.loads(value), count, at)
