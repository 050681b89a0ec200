"""Caches of the control record: the newest that this process has loaded or committed, and the last decoded."""

from kedge.model.control import ControlRecord
from kedge.model.record_format import decode_record
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
        with self._lock.here:
            if self.record is None or record.epoch > self.record.epoch:
                self.record = record
        return record


class DecodedRecord:
    """The control record that was decoded last, by its bytes: a transaction may see one that never commits."""

    def __init__(self) -> None:
        self._last: tuple[bytes, ControlRecord] | None = None

    def of(self, encoded: bytes) -> ControlRecord:
        """Return a stored record."""
        last = self._last
        if last is not None and last[0] == encoded:
            return last[1]
        record = decode_record(encoded)
        if last is not None:
            record.follow(last[1])
        self._last = encoded, record
        return record
