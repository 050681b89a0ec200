"""What turns pin as they begin, as far as this process may keep it: the control record, and agents' own artifacts."""

import msgspec

from kedge.forks import ForkSafeLock
from kedge.model.control import ControlRecord
from kedge.model.lineage import Lineage
from kedge.model.reads import RangeRead
from kedge.model.visibility import View
from kedge.model.writes import Head

_KEPT_MAX = 256


class Known:
    """The newest control record that was loaded or committed here. Of two threads, the slow one brings none back."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self.record: ControlRecord | None = None

    def at(self, epoch: int) -> ControlRecord | None:
        """Return the record if it is that of this epoch."""
        record = self.record
        return record if record is not None and record.epoch == epoch else None

    def learn(self, record: ControlRecord) -> ControlRecord:
        """Keep a record that is known to be committed, unless a newer one is kept; return it."""
        with self._lock:
            if self.record is None or record.epoch > self.record.epoch:
                self.record = record
        return record


class Own(msgspec.Struct, frozen=True):
    """An agent's own artifacts: their heads, the range that they were read by, and all lineages in it."""

    heads: list[Head]
    read: RangeRead
    lineages: frozenset[Lineage]


NOTHING = Own([], RangeRead("artifacts", "", "", 0), frozenset())


class Pins:
    """Agents' own artifacts by what a view sees.

    Artifacts are written by changes of the control record alone, so at one epoch they stay what they are. Shared by
    threads without a lock: what one of them loses is read again.
    """

    def __init__(self) -> None:
        self._kept: tuple[int, dict[tuple[str, frozenset[int]], Own]] = (-1, {})

    def of(self, view: View, agent: str) -> Own | None:
        """Return what lies under an agent's name in a view of the present, if it is known."""
        epoch, kept = self._kept
        return kept.get((agent, view.seen)) if epoch == view.epoch else None

    def keep(self, view: View, agent: str, own: Own) -> None:
        """Remember what was read in this view."""
        epoch, kept = self._kept
        if epoch != view.epoch or len(kept) >= _KEPT_MAX:
            self._kept = (view.epoch, {(agent, view.seen): own})
        else:
            kept[agent, view.seen] = own
