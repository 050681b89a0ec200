"""Effect of a changed control record on an open turn."""

from collections.abc import Callable, Iterable

from kedge.errors import NotSeen, RolledBack, SettledMeanwhile
from kedge.model.control import ControlRecord
from kedge.model.lineage import Lineage
from kedge.model.visibility import View


def check_seen(
    lineage: Lineage,
    base: frozenset[int],
    record: ControlRecord,
    names: Callable[[Iterable[int]], frozenset[str]],
) -> None:
    """Raise `NotSeen` for the lineage of a caller or callee that a turn fixed to `base` does not see.

    Nobody in its session would see what the turn writes under it. What is rolled back or purged is left to `move`.
    """
    unseen = lineage - base - record.settled - record.rolled_back - record.purged
    if unseen:
        missing = tuple(sorted(names(unseen)))
        raise NotSeen(
            f"what arrived is influenced by {', '.join(map(repr, missing))}, which this turn does not see; do not use "
            "it, and call again with parent=turn.headers(), so that the callee sees what this turn sees",
            missing,
        )


def move(
    view: View,
    base: frozenset[int],
    influences: Lineage,
    record: ControlRecord,
    names: Callable[[Iterable[int]], frozenset[str]],
) -> View:
    """Return a turn's view at the record's epoch; raise where the turn must end.

    `base` has the deployments that its view is fixed to, `influences` those that it has read from, as numbers.
    """
    hidden = influences & (record.rolled_back | record.purged)
    if hidden:
        gone = tuple(sorted(names(hidden)))
        raise RolledBack(
            f"{', '.join(map(repr, gone))} was rolled back and has influenced this turn; "
            "drop its results and begin a new turn",
            gone,
        )
    unseen = record.settled - view.settled - base
    if unseen:
        settled = ", ".join(map(repr, sorted(names(unseen))))
        raise SettledMeanwhile(f"{settled}, which this turn did not see, was settled meanwhile; begin a new turn")
    return View(record.epoch, record.seen_by(base), record.settled, upto_rank=view.upto_rank)
