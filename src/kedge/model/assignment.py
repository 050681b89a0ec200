"""Assignment of sessions: which deployments a session sees, by the unit that it is drawn by."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from kedge.errors import InvalidValue
from kedge.model.checks import check_names
from kedge.model.control import ControlRecord, Revocable, Status
from kedge.model.draws import drawn
from kedge.model.transitions import illegal

UNITS_MAX = 10_000
Phase = Literal["canary", "holdback"]


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
    for deployment, is_free in _offered(record, unit, base, taken, lists):
        if is_free and joins_canary(deployment.name, unit, deployment.weight, lists.get(deployment.number, ANY)):
            base.add(deployment.number)
            taken |= set(deployment.artifacts)
    return frozenset(base)


def _offered(
    record: ControlRecord, unit: str, base: set[int], taken: set[str], lists: Lists
) -> Iterator[tuple[Revocable, bool]]:
    """Yield each canary, and whether a unit may join it, given what the caller has added until then."""
    canaries = [d for d in record.deployments if _is_canary(record, d)]
    canaries.sort(key=lambda d: unit not in lists.get(d.number, ANY).allow)  # those that allow it come first
    for deployment in canaries:
        yield deployment, taken.isdisjoint(deployment.artifacts) and base.issuperset(_bases(record, deployment))


def share_of(record: ControlRecord, number: int, unit: str, lists: Lists = NO_LISTS) -> tuple[Phase, float] | None:
    """Return by which chance a session that begins now sees a deployment, and in which phase the deployment is.

    It is the weight of a canary, or what the holdback of a live deployment leaves. None: chance does not decide, but a
    list, another canary that the session joins, or what the deployment rests on.
    """
    deployment, units = record.by_number.get(number), lists.get(number, ANY)
    if deployment is None or number in record.rolled_back or unit in units.allow or unit in units.deny:
        return None
    if deployment.status is Status.LIVE and deployment.holdback:
        others = (d for d in record.deployments if d.number != number)
        held = [d.number for d in others if is_held_back(d, unit, lists.get(d.number, ANY))]
        return ("holdback", 1.0 - deployment.holdback) if number in _without(record, held) else None
    base, taken = set(_shown(record, unit, lists)), set[str]()
    for other, is_free in _offered(record, unit, base, taken, lists):
        if other.number == number:
            return ("canary", deployment.weight) if is_free else None
        if is_free and joins_canary(other.name, unit, other.weight, lists.get(other.number, ANY)):
            base.add(other.number)
            taken |= set(other.artifacts)
    return None


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
