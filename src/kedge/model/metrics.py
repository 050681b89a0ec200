"""Metric samples and their tallies."""

import json
from typing import Any

import msgspec

from kedge.model.control_log import decode_numbers
from kedge.model.lineage import EMPTY, Lineage
from kedge.support.display import Value

OWN = "kedge:"  # prefix of Kedge's own metrics


class Sample(msgspec.Struct, frozen=True):
    """One observation of a metric: a JSON scalar, with the deployments that its session sees."""

    metric: str
    value: Any
    at: float
    session: str | None = None
    agent: str | None = None
    lineage: Lineage = EMPTY
    seen: frozenset[int] = EMPTY

    @property
    def is_purged_with(self) -> Lineage:
        """The deployments whose purge erases this sample."""
        return EMPTY if self.metric.startswith(OWN) else self.lineage


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


def decode_tally(row: tuple[Any, ...]) -> Tally:
    """Return a tally from its row: metric, agent, value, count, last_at."""
    metric, agent, value, count, at = row
    return Tally(metric, agent, json.loads(value), count, at)
