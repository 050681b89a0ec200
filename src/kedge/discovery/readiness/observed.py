"""What traces say of readiness: who writes a store, whether deployments write apart, and how many writes a second."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from kedge.discovery.traces.model import Traffic
from kedge.support.display import Value


class Observed(Value, frozen=True):
    """By family of store: whether each deployment writes to places of its own, the writes a second of all, and who.

    `writers` has each family that was called; of one that was only read, no agent.
    """

    separate: dict[str, bool]
    writes_per_second: dict[str, float]
    writers: Mapping[str, tuple[str, ...]] = MappingProxyType({})


def observed(traffic: Iterable[Traffic]) -> Observed:
    """Return what was seen. A family that a single deployment wrote to says nothing of separation."""
    writers = defaultdict[str, dict[str, set[str]]](lambda: defaultdict(set))
    rates = defaultdict[str, float](float)
    agents = defaultdict[str, set[str]](set)
    for each in traffic:
        agents[each.store.family] |= {each.agent} if each.access == "write" else set()
        if each.access == "write":
            writers[each.store.family][str(each.store)].add(each.deployment)
            rates[each.store.family] += each.per_second or 0.0
    separate = {
        family: all(len(deployments) == 1 for deployments in places.values())
        for family, places in writers.items()
        if len(set[str]().union(*places.values()) - {""}) > 1
    }
    return Observed(separate, dict(rates), {family: tuple(sorted(names)) for family, names in sorted(agents.items())})


__all__ = ["Observed", "observed"]
