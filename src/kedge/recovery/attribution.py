"""Unattributed writes: derived writes by turns that saw a deployment and do not carry it, which a rollback leaves."""

from collections.abc import Collection

import msgspec

from kedge.model import control as rules
from kedge.model.attribution import OWN_AGENTS, owners_of, resembling
from kedge.model.control import ControlRecord
from kedge.support.display import Value
from kedge.turns.kernel import Kernel

AGENTS_MAX = 200
WRITES_MAX = 50_000  # examined, shared out among the agents
_WRITES_MIN = 500  # of each agent
TURNS_MAX = 100_000


class Unattributed(Value, frozen=True):
    """Derived writes of an agent to one store by turns that saw a deployment and do not carry it.

    `complete` is False where the agent has more writes than were examined: there are at least `writes`. `resembles` is
    an agent with artifacts that this one, which has none, may be a slip of.
    """

    agent: str
    store: str
    writes: int
    has_artifacts: bool
    complete: bool = True
    resembles: str | None = None


class Omissions(msgspec.Struct, frozen=True):
    """What a rollback leaves though its turns saw the deployment, by agent and store, and what is not known.

    `unknown_turns` are turns since the deployment was staged that an older Kedge did not record the view of, up to
    100,000. `complete`: whether all agents and all their writes were examined.
    """

    writes: tuple[Unattributed, ...] = ()
    unknown_turns: int = 0
    complete: bool = True


def omissions(kernel: Kernel, record: ControlRecord, number: int) -> Omissions:
    """Return the derived writes that stay, by turns that saw a deployment and do not carry it.

    What an earlier rollback hides, or a purge erased, does not stay.
    """
    deployment, port = record.by_number.get(number), kernel.backend.attribution
    if deployment is None or deployment.kind == rules.EXTERNAL:
        return Omissions()
    artifact = deployment.artifacts[0] if deployment.artifacts else ""
    unknown = port.unknown_turns(artifact, number, TURNS_MAX)
    seen = port.sets_with(number)
    if not seen:
        return Omissions(unknown_turns=unknown)
    agents, owners = port.agents(AGENTS_MAX + 1), owners_of(port.artifact_names())
    carried = kernel.backend.impact.lineages_with({number} | record.rolled_back | record.purged)
    limit = max(WRITES_MAX // len(agents), _WRITES_MIN) if agents else 0
    complete = len(agents) <= AGENTS_MAX
    late = _late_owners(kernel, record, number, owners)
    found: list[Unattributed] = []
    for agent in agents[:AGENTS_MAX]:
        aware = {ident for pinner in late.get(agent, ()) for ident in port.sets_with(pinner)}
        parts = {True: aware.intersection(seen), False: set(seen) - aware} if agent in late else {agent in owners: seen}
        for has, sets in parts.items():
            stores = port.writes_without(agent, sets, carried, limit) if sets else []
            whole = sum(store.examined for store in stores) < limit
            complete = complete and whole
            other = None if has else resembling(agent, owners)
            found += [Unattributed(agent, s.store, s.without, has, whole, other) for s in stores if s.without]
    return Omissions(tuple(sorted(found, key=lambda u: (u.has_artifacts, u.agent, u.store))), unknown, complete)


def slips(kernel: Kernel, record: ControlRecord) -> tuple[Unattributed, ...]:
    """Return what agents without artifacts wrote in turns that saw a revocable release of an agent of a similar name.

    `writes` is how many of the first writes of each were such ones. Up to 200 agents are examined.
    """
    pinned = {number: owners_of(found.artifacts) for number, found in record.by_number.items() if not found.revoked}
    port, owners = kernel.backend.attribution, set[str]().union(*pinned.values())
    if not owners:
        return ()
    named = {agent: resembling(agent, owners) for agent in port.agents(AGENTS_MAX) if agent not in owners}
    likely = {agent: other for agent, other in named.items() if other is not None and agent not in OWN_AGENTS}
    known = owners_of(port.artifact_names()) if likely else set()
    found: list[Unattributed] = []
    for agent, other in sorted(likely.items()):
        if agent in known:
            continue
        numbers = [number for number, pinning in pinned.items() if other in pinning]
        seen = {ident for number in numbers for ident in port.sets_with(number)}
        carried = kernel.backend.impact.lineages_with({*numbers} | record.rolled_back | record.purged)
        stores = port.writes_without(agent, seen, carried, _WRITES_MIN) if seen else []
        whole = sum(store.examined for store in stores) < _WRITES_MIN
        found += [Unattributed(agent, s.store, s.without, False, whole, other) for s in stores if s.without]  # noqa: FBT003
    return tuple(found)


def _late_owners(kernel: Kernel, record: ControlRecord, number: int, owners: Collection[str]) -> dict[str, set[int]]:
    """Return the agents whose first artifact came after a deployment, with all deployments that pin one.

    Their turns before that had no artifact: a pin under a name with a slip does not attribute what is written. What
    turns saw does not tell settled deployments, so an agent with a settled artifact counts as one with artifacts.
    """
    if all(known <= number for known in record.by_number):
        return {}
    pinners: dict[str, set[int]] = {}
    for recorded in kernel.backend.control.recorded():
        for agent in owners_of(recorded.release.artifacts):
            pinners.setdefault(agent, set()).add(recorded.release.number)
    return {
        agent: numbers
        for agent, numbers in pinners.items()
        if agent in owners and min(numbers) > number and numbers <= record.by_number.keys()
    }


def without_artifacts(found: Collection[Unattributed]) -> dict[str, tuple[int, bool, str | None]]:
    """Return the agents to warn about, those without any artifact: writes, whether that is all, and the likely name.

    Kedge's own loads and backfills have read what they are made of: they are no slip, and only counted.
    """
    agents: dict[str, tuple[int, bool, str | None]] = {}
    for one in found:
        if not one.has_artifacts and one.agent not in OWN_AGENTS:
            writes, _, _ = agents.get(one.agent, (0, True, None))
            agents[one.agent] = (writes + one.writes, one.complete, one.resembles)
    return agents
