"""Reconciliation rules: artifacts that external systems follow, what a change moves, and retries."""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from kedge.model.control import ControlRecord
from kedge.support.display import Value

DETAIL = "reconciles"  # of a control entry: {reconciler: [artifact keys]}, what it moved
RECONCILED = ":reconciled"
NOT_RECONCILED = ":not-reconciled"
PAUSE_SECONDS = 0.1
PAUSE_SECONDS_MAX = 10.0


class Reconciled(Value, frozen=True):
    """The state of one artifact in an external system: the `wanted` version and the `actual` one.

    `changed`: it was converged, and had not been there before. `why` says what is wrong where it is not `ok`.
    """

    name: str
    key: str
    ok: bool
    changed: bool
    wanted: str | None
    actual: str | None
    attempts: int
    seconds: float
    why: str = ""


def follows(pattern: str, key: str) -> bool:
    """Return whether a pattern matches an artifact key."""
    return fnmatchcase(key, pattern)


def match(reconcilers: Mapping[str, str], keys: Iterable[str]) -> dict[str, list[str]]:
    """Return the keys that each reconciler follows; reconcilers without keys are left out."""
    known = sorted(set(keys))
    found = {name: [key for key in known if follows(reconcilers[name], key)] for name in sorted(reconcilers)}
    return {name: matched for name, matched in found.items() if matched}


def moved(before: ControlRecord, after: ControlRecord) -> dict[str, list[str]]:
    """Return the artifacts to reconcile after a change: those that new sessions begin or cease to see."""
    if not after.reconcilers:
        return {}
    numbers = (before.live | before.settled) ^ (after.live | after.settled)
    known = after.by_number | before.by_number
    return match(after.reconcilers, (key for number in numbers if number in known for key in known[number].artifacts))


def pauses(chance: Iterator[float]) -> Iterator[float]:
    """Yield the seconds before each retry: exponential up to a bound, with up to half taken off at random."""
    pause = PAUSE_SECONDS
    for draw in chance:
        yield pause * (0.5 + draw / 2)
        pause = min(2 * pause, PAUSE_SECONDS_MAX)


def troubles(outcomes: Iterable[Reconciled]) -> str:
    """Return what is not reconciled, with reasons; empty where all is."""
    return "; ".join(f"{outcome.name} of {outcome.key} ({outcome.why})" for outcome in outcomes if not outcome.ok)
