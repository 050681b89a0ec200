"""Effect of a changed control record on an open turn."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from kedge.errors import KedgeError, NotSeen, RolledBack, SettledMeanwhile
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
            "it, and call again with parent=turn or parent=turn.headers(), so that the callee sees what this turn sees",
            missing,
        )


class Ends(NamedTuple):
    """Why a turn must end: the deployments that were rolled back under it, or settled without being seen."""

    hidden: Lineage
    unseen: Lineage

    def error(self, names: Callable[[Iterable[int]], frozenset[str]]) -> KedgeError:
        """Return the error that says so."""
        if self.hidden:
            gone = tuple(sorted(names(self.hidden)))
            return RolledBack(
                f"{', '.join(map(repr, gone))} was rolled back and has influenced this turn; "
                "drop its results and begin a new turn",
                gone,
            )
        settled = ", ".join(map(repr, sorted(names(self.unseen))))
        return SettledMeanwhile(f"{settled}, which this turn did not see, was settled meanwhile; begin a new turn")


def move(
    view: View,
    base: frozenset[int],
    influences: Lineage,
    record: ControlRecord,
    names: Callable[[Iterable[int]], frozenset[str]],
) -> View:
    """Return a turn's view at the record's epoch; raise where the turn must end."""
    found = moved(view, base, influences, record)
    if isinstance(found, Ends):
        raise found.error(names)
    return found


def moved(
    view: View, base: frozenset[int], influences: Lineage, record: ControlRecord, *, continues: bool = False
) -> View | Ends:
    """Return a turn's view at the record's epoch, or why the turn must end.

    `base` has the deployments that its view is fixed to, `influences` those that it has read from, as numbers. A turn
    that `continues` sees what was settled without having been seen.
    """
    hidden = influences & (record.rolled_back | record.purged)
    unseen = record.settled - view.settled - base
    if hidden or (unseen and not continues):
        return Ends(hidden, unseen)
    return View(record.epoch, record.seen_by(base), record.settled, upto_rank=view.upto_rank)
