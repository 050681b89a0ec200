"""Compaction of pgvector collections: deletes the vector rows that no view can need any more."""

from collections.abc import Callable, Iterator

from kedge.backends.postgres.control import PostgresControl
from kedge.backends.postgres.database import Database, again
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.reclamation import PostgresReclamation
from kedge.backends.postgres.row_locks import ALL
from kedge.backends.postgres.sql import queries
from kedge.model import control_log
from kedge.model.control import ControlRecord
from kedge.model.retention import Pinned, kept_seconds, reclaimable, with_content
from kedge.model.upgrade import FEATURES_SINCE
from kedge.ports.clock import Clock
from kedge.ports.control import EpochMoved
from kedge.ports.vectors import Collection, Reclaimed
from kedge.support.failpoints import reach

_SQL = queries("compaction")
_ROWS_DELETE = queries("vectors")["rows_delete"]
_PART_SEQS = 20_000
_DELETED_AT_ONCE = 2_000  # writers wait for no more
_FLOAT_BYTES = 4

Progress = Callable[[int, int], None]


class PostgresCompactor:
    """The `VectorCompactor` of PostgreSQL. Its vacuum frees the space of what is deleted."""

    def __init__(
        self, database: Database, control: PostgresControl, reclamation: PostgresReclamation, clock: Clock
    ) -> None:
        self._database = database
        self._control = control
        self._reclamation = reclamation
        self._clock = clock

    def compact(self, collection: Collection, progress: Progress | None = None, *, logged: bool = True) -> Reclaimed:
        """Delete the rows of a collection that no view can need any more."""
        rows = bytes_ = 0
        while True:
            try:
                for part in self._parts(collection, progress):
                    rows, bytes_ = rows + part.rows, bytes_ + part.bytes
            except EpochMoved:
                continue
            break
        if rows:
            self._database.vacuum("vector_rows", "row_states")
            if logged:
                detail = {"collection": collection.name, "rows": rows, "bytes": bytes_}
                operation = f"compaction:{collection.name}:{self._control.position().seq}"
                self._control.step(operation, "compaction", by="compaction", detail=detail)
        return Reclaimed(rows, bytes_)

    def reclaimed(self, collection: str) -> int:
        """Return the seq before which a collection is readable at snapshots only."""
        return int(self._database.ask(_SQL["reclaimed"], collection)[0][0])

    def _parts(self, collection: Collection, progress: Progress | None) -> Iterator[Reclaimed]:
        """Yield what each part deleted. Raise `EpochMoved` after a control change."""
        record = self._control.load()
        for (embedding,) in self._database.ask(_SQL["embeddings"], collection.name):
            asked = (embedding, sorted(record.purged), _DELETED_AT_ONCE)
            while seqs := [seq for (seq,) in self._database.ask(_SQL["rows_of_purged"], *asked)]:
                part = self._delete(record, seqs, collection.name)
                yield part
                if not part.rows:
                    break  # rows without a state: `kedge fsck` reports them
        horizon = record.retention_seconds
        seconds = kept_seconds(record.policies, "vectors", collection.name, horizon, unset=horizon)
        space = next((s.id for s in self._reclamation.spaces(["vectors"]) if s.space == collection.name), None)
        if seconds is None or space is None:
            return
        readable = self._control.readable(seconds, self._clock.now())
        last = readable.horizon.seq
        for first in range(1, last + 1, _PART_SEQS):
            upto = min(first + _PART_SEQS - 1, last)
            found = self._reclamation.versions(first, upto, last, [space])
            doomed = [
                seq
                for versions in found.keys
                for seq in reclaimable(with_content(versions), found.members, readable, Pinned(), record.purged)
            ]
            if record.rolled_back:
                sources = {row[0] for row in self._database.ask(_SQL["sources"], doomed)}
                doomed = [seq for seq in doomed if seq not in sources]
            for start in range(0, len(doomed), _DELETED_AT_ONCE):
                yield self._delete(record, doomed[start : start + _DELETED_AT_ONCE], collection.name, last)
            if progress is not None:
                progress(upto, last)

    def _delete(self, record: ControlRecord, seqs: list[int], collection: str, horizon: int = 0) -> Reclaimed:
        """Delete rows, and mark those that were superseded as gone from before the horizon."""

        def act(link: Link) -> Reclaimed:
            control_log.check_epoch(link.one(_SQL["epoch"])[0], record.epoch)
            dims = [row[0] for row in link.rows(_ROWS_DELETE, seqs, ALL[0])]
            if dims and min(seqs) < horizon:
                link.send(_SQL["mark"], str(horizon).encode(), collection, FEATURES_SINCE)
            reach("compaction:swapped")
            return Reclaimed(len(dims), sum(dims) * _FLOAT_BYTES)

        return self._database.write("compact", act, lanes=ALL, find=again)
