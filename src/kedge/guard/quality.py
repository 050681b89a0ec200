"""Quality of the data of a launch: values that were refused at the door, beside those that were stored."""

import math
from collections.abc import Iterable

from kedge.guard.metrics import Metric
from kedge.turns.kernel import Kernel
from kedge.turns.observing import QUALITY

LEAST = 20  # refusals, before their share says anything
COUNTED_MAX = 10_000


def findings(kernel: Kernel, metrics: Iterable[Metric], *, since: float) -> tuple[str, ...]:
    """Return what is wrong with the values of these metrics that were observed since a moment: why a launch must hold.

    The cost is bounded: no more values are counted than are needed to tell.
    """
    port = kernel.backend.metrics
    found: list[str] = []
    for metric in metrics:
        refused = port.count(f"{QUALITY}{metric.name}", since, COUNTED_MAX)
        if refused < LEAST:
            continue
        enough = enough_stored(refused, metric.max_missing)
        stored = port.count(metric.name, since, enough) if enough else 0
        if not enough or stored < enough:
            found.append(
                f"{refused:,} of {refused + stored:,} values of {metric.name} were refused at the door, and "
                f"{metric.max_missing:.4g} of them may be; `kedge metrics` says why"
            )
    return tuple(found)


def enough_stored(refused: int, max_missing: float) -> int:
    """Return how many stored values keep the share of those refused within a limit; 0 where none do."""
    return math.ceil(refused * (1 - max_missing) / max_missing) if max_missing else 0
