"""Which artifacts external systems follow, what a change of the record moves for them, and when to try again."""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

import msgspec

from kedge.model.control import ControlRecord

DETAIL = "reconciles"  # of a control entry: {reconciler: [artifact keys]}, what it moved
RECONCILED = ":reconciled"
NOT_RECONCILED = ":not-reconciled"
PAUSE_SECONDS = 0.1
PAUSE_SECONDS_MAX = 10.0


class Reconciled(msgspec.Struct, frozen=True):
    """How an external system stands to the pin of one artifact: what is `wanted` there, and its `actual` version.

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
    """Say whether a pattern means this artifact."""
    return fnmatchcase(key, pattern)


def match(reconcilers: Mapping[str, str], keys: Iterable[str]) -> dict[str, list[str]]:
    """Return the keys that each reconciler follows, those without any left out."""
    known = sorted(set(keys))
    found = {name: [key for key in known if follows(reconcilers[name], key)] for name in sorted(reconcilers)}
    return {name: matched for name, matched in found.items() if matched}


def moved(before: ControlRecord, after: ControlRecord) -> dict[str, list[str]]:
    """Return what external systems must look at after a change: what new sessions began, or ceased, to see."""
    if not after.reconcilers:
        return {}
    numbers = (before.live | before.settled) ^ (after.live | after.settled)
    known = after.by_number | before.by_number
    return match(after.reconcilers, (key for number in numbers if number in known for key in known[number].artifacts))


def pauses(chance: Iterator[float]) -> Iterator[float]:
    """Return how long to wait before each retry: twice as long each time up to a bound, less by half at a chance."""
    pause = PAUSE_SECONDS
    for draw in chance:
        yield pause * (0.5 + draw / 2)
        pause = min(2 * pause, PAUSE_SECONDS_MAX)


def troubles(outcomes: Iterable[Reconciled]) -> str:
    """Return in half a sentence what is not reconciled, and why; empty where all is."""
    return "; ".join(f"{outcome.name} of {outcome.key} ({outcome.why})" for outcome in outcomes if not outcome.ok)
