"""Cache of the newest control record that this process has loaded or committed."""

from kedge.model.control import ControlRecord
from kedge.support.fork_lock import ForkSafeLock


class RecordCache:
    """The newest control record that was loaded or committed here. A slow thread cannot put an older one back."""

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
