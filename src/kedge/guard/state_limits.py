"""Limits of the canary's state beside the live one: divergence of heads, overlap of searches."""

from collections.abc import Mapping
from typing import Any

from kedge.errors import InvalidValue, nearest
from kedge.guard.drift import state_shares
from kedge.guard.mirror import below_floor, mirrored
from kedge.guard.settings import within
from kedge.support.display import brief
from kedge.turns.kernel import Kernel

DIVERGENCES = ("context.divergence", "sessions.divergence")  # a launch holds above the limit
OVERLAP = "overlap@10."  # of a collection: it holds where the mean overlap is shown to be below the limit
_KEYS = (*DIVERGENCES, f"{OVERLAP}COLLECTION")


def parse_limits(table: Mapping[str, Any]) -> dict[str, float]:
    """Return the limits of `[drift]`, each above 0 and below 1; raise `InvalidValue` for each slip."""
    for name in table:
        if name not in DIVERGENCES and not (name.startswith(OVERLAP) and len(name) > len(OVERLAP)):
            raise InvalidValue(
                f"unknown limit {brief(name)} in [drift]{nearest(name, _KEYS)}; keys: {', '.join(_KEYS)}"
            )
    return {name: within(f"{name} in [drift]", given, 0.0, 1.0) for name, given in table.items()}


def beyond(kernel: Kernel, deployment: str, limits: Mapping[str, float], *, hold: float) -> tuple[str, ...]:
    """Return what is beyond its limit now, from bounded samples of the state; nothing where there are no limits.

    A divergence is beyond its limit where the share is above it: the share of a sample, not a test. An overlap is
    where the e-value of one look against "the mean is at least the limit" has reached `hold`. Nothing to compare holds.
    """
    divergences = [name for name in DIVERGENCES if name in limits]
    shares = state_shares(kernel, deployment) if divergences else {}
    found = [
        f"context drift: {name} is {shares[name]:.3g}, limit {limits[name]:.3g}"
        for name in divergences
        if shares.get(name, 0.0) > limits[name]
    ]
    for name in sorted(limits.keys() - set(divergences)):
        scores = mirrored(kernel, deployment, name.removeprefix(OVERLAP))
        if not scores:
            found.append(f"context drift: {name} has no rows to compare in both views")
        elif (e := below_floor(scores, limits[name])) >= hold:
            found.append(
                f"context drift: {name} is {sum(scores) / len(scores):.3g}, limit {limits[name]:.3g} "
                f"(e = {e:.3g}, limit {hold:.3g})"
            )
    return tuple(found)
