"""Assignment of sessions: which deployments a session sees, by the unit that it is drawn by."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from kedge.errors import InvalidValue
from kedge.model.checks import check_names
from kedge.model.control import ControlRecord, Revocable, Status
from kedge.model.draws import drawn
from kedge.model.transitions import illegal

UNITS_MAX = 10_000


class Units(msgspec.Struct, frozen=True):
    """The units that a deployment is shown to, and those that it is not shown to, whatever its weight."""

    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()


ANY = Units()
Lists = Mapping[int, Units]  # by deployment; those without lists are left out
NO_LISTS: Lists = {}


SETTING_LISTS = ("stage", "canary")  # the changes that may set lists


def units_of(detail: Mapping[str, Any]) -> Units:
    """Return the lists that a change has set, from what the log keeps of it."""
    return Units(frozenset(detail.get("allow", ())), frozenset(detail.get("deny", ())))


def detail_of(units: Units) -> dict[str, list[str]]:
    """Return what the log keeps of a change that sets lists."""
    return {"allow": sorted(units.allow), "deny": sorted(units.deny)}


def check_units(name: str, allow: object, deny: object) -> Units:
    """Return the lists of a deployment, or raise `InvalidValue`."""
    allowed, denied = frozenset(check_names("allow", allow)), frozenset(check_names("deny", deny))
    if len(allowed) + len(denied) > UNITS_MAX:
        raise InvalidValue(
            f"the lists of {name!r} name {len(allowed) + len(denied):,} units, more than {UNITS_MAX:,}; draw by a "
            "coarser unit_id, such as the tenant"
        )
    if both := sorted(allowed & denied):
        raise InvalidValue(f"{both[0]!r} is in both allow and deny of {name!r}; keep it in one of them")
    return Units(allowed, denied)


def joins_canary(deployment: str, unit: str, weight: float, units: Units = ANY) -> bool:
    """Return whether a unit is in a canary: by the lists, else whether its draw is below the weight."""
    if unit in units.deny:
        return False
    return unit in units.allow or drawn(deployment, unit) < weight


def is_held_back(deployment: Revocable, unit: str, units: Units = ANY) -> bool:
    """Return whether a live deployment is not shown to a unit: those with the greatest draws, who join it last."""
    if not deployment.holdback or unit in units.allow:
        return False
    return unit in units.deny or drawn(deployment.name, unit) >= 1 - deployment.holdback


def assign(record: ControlRecord, unit: str, opened_with: str | None = None, lists: Lists = NO_LISTS) -> frozenset[int]:
    """Return the deployments that a session that begins now is fixed to. Every view sees peers: they are left out.

    `unit` is what the session is drawn by: its `unit_id`, or its name.
    """
    base = set(_shown(record, unit, lists))
    taken: set[str] = set()
    if opened_with is not None:
        number = open_in(record, opened_with)
        base |= record.closure({number})
        taken |= set(record.by_number[number].artifacts)
    canaries = [d for d in record.deployments if _is_canary(record, d)]
    canaries.sort(key=lambda d: unit not in lists.get(d.number, ANY).allow)  # those that allow it come first
    for deployment in canaries:
        units = lists.get(deployment.number, ANY)
        is_free = taken.isdisjoint(deployment.artifacts) and base.issuperset(_bases(record, deployment))
        if is_free and joins_canary(deployment.name, unit, deployment.weight, units):
            base.add(deployment.number)
            taken |= set(deployment.artifacts)
    return frozenset(base)


def adopt(record: ControlRecord, base: frozenset[int], unit: str, lists: Lists = NO_LISTS) -> frozenset[int]:
    """Return what a session with `refresh="promoted"` is fixed to now, given what it was fixed to.

    It adopts what is live, except what shares an artifact with a canary that it sees, what it is held back from, and
    what rests on these. It neither enters nor leaves a canary.
    """
    kept = {number for number in base if number in record.by_number and number in record.revocable}
    own = [d for d in map(record.by_number.__getitem__, kept) if d.status is not Status.LIVE]
    taken = {key for deployment in own for key in deployment.artifacts}
    found = set(base)
    for number in sorted(record.live - record.externals - base):
        deployment = record.by_number[number]
        is_free = taken.isdisjoint(deployment.artifacts) and found.issuperset(_bases(record, deployment))
        if is_free and not is_held_back(deployment, unit, lists.get(number, ANY)):
            found.add(number)
    return frozenset(found)


def assign_any(record: ControlRecord) -> frozenset[int]:
    """Return the deployments that every session that begins now is fixed to: canaries of all sessions included."""
    held = {d.number for d in record.deployments if d.holdback}
    base, taken = _without(record, held), set[str]()
    for deployment in record.deployments:
        whole = _is_canary(record, deployment) and deployment.weight >= 1
        if whole and taken.isdisjoint(deployment.artifacts):
            base |= record.closure({deployment.number})
            taken |= set(deployment.artifacts)
    return frozenset(base)


def open_in(record: ControlRecord, name: str) -> int:
    """Return the number of a deployment that a turn may be opened in, or raise."""
    deployment = record.find(name)
    if deployment.number in record.rolled_back:
        raise illegal(name, Status.ROLLED_BACK, "open a turn in")
    return deployment.number


def _bases(record: ControlRecord, deployment: Revocable) -> frozenset[int]:
    """Return what a deployment rests on, without peers, which every view sees."""
    return record.closure(deployment.bases) - record.externals


def _is_canary(record: ControlRecord, deployment: Revocable) -> bool:
    return deployment.status is Status.CANARY and deployment.number not in record.rolled_back


def _shown(record: ControlRecord, unit: str, lists: Lists) -> frozenset[int]:
    """Return the live deployments that a unit is not held back from."""
    held = [d.number for d in record.deployments if is_held_back(d, unit, lists.get(d.number, ANY))]
    return frozenset(_without(record, held)) if held else record.live - record.externals


def _without(record: ControlRecord, held: Iterable[int]) -> set[int]:
    """Return what is live, without these deployments and what rests on them."""
    gone = set(held).union(*map(record.dependants, held))
    return set(record.live - record.externals - gone)
