"""Migration of a database to another backend or place. No acknowledged write is lost or duplicated.

Writes are copied in rounds while the source stays in use. When little is left, one transaction seals the source: no
process of any version can write to it afterwards. Then the rest of the journal and all other tables are copied, and one
transaction opens the target for use. After a stop at any point, the same call resumes.
"""

import time
from collections.abc import Callable

import msgspec

from kedge.errors import Conflict, Corruption, IllegalTransition, InvalidValue, Moved
from kedge.model.migration import TABLES, WRITES, Arriving, Sealed, arriving_record, chunk_rows
from kedge.ports.migration import Exporter, Importer
from kedge.support.display import Report, count
from kedge.support.failpoints import reach

Progress = Callable[[int, int], None]
Say = Callable[[str], object]

_DIGEST = WRITES.at("digest")
_FEW_WRITES = 2_000  # copied while the source is sealed
_ROUNDS_MAX = 10
_REPORTED_ROWS = 100_000
_RESTARTS_MAX = 5


class MoveReport(Report, frozen=True):
    """Result of a move: its target, the last seq of the source, and for how long it could not be written to."""

    source: str
    target: str
    last_seq: int
    copied_writes: int
    closed_seconds: float
    already_done: bool = False

    def __str__(self) -> str:
        """Return the verdict."""
        done = "had moved before" if self.already_done else f"moved, {count(self.copied_writes, 'write')} copied"
        return f"{self.source}: {done}, to {self.target} at seq {self.last_seq}"


def move(
    source: Exporter, target: Importer, *, by: str, progress: Progress | None = None, say: Say | None = None
) -> MoveReport:
    """Move a database, or resume a move that was stopped."""
    tell = say or (lambda _: None)
    sealed = source.sealed()
    done = _if_done(source, target, sealed)
    if done is not None:
        return done
    if sealed is not None and sealed.to != target.url:
        raise Moved(f"{source.url} was already moved to {sealed.to} by {sealed.by}; open or move that database")
    copied = 0
    for _ in range(_RESTARTS_MAX):
        copy = _Copy(source, target, _begin_or_resume(source, target, sealed, tell), progress, tell)
        if sealed is None:
            copied += copy.keep_up()
            sealed = source.seal(target.url, by, copy.arriving.marks)
        if sealed is not None:
            began = time.monotonic()
            copied += copy.finish(sealed)
            return MoveReport(source.url, target.url, sealed.seq, copied, time.monotonic() - began)
        tell("restarting: the source was purged or compacted during the copy")
        target.discard()
    raise Conflict(
        f"{source.url} was purged or compacted {_RESTARTS_MAX} times during the copy; move it when that has ended"
    )


def abandon(source: Exporter, target: Importer | None, *, by: str) -> None:
    """Abandon a move, and open the source for writing again; `target` is None if it no longer exists."""
    sealed = source.sealed()
    if sealed is None:
        raise IllegalTransition(f"{source.url} is not being moved; there is nothing to abandon")
    if target is not None and sealed.to != target.url:
        raise InvalidValue(f"{source.url} was moved to {sealed.to}, not to {target.url}; name {sealed.to}")
    if target is not None and target.arrived() is not None:
        raise IllegalTransition(
            f"cannot abandon: {target.url} is complete and may have been written to since, so {source.url} stays "
            "closed; to go back, move the new database to a new place"
        )
    if target is not None:
        target.abandon()  # first: another process must not complete the move once the source is open
    source.unseal(by)


def _if_done(source: Exporter, target: Importer, sealed: Sealed | None) -> MoveReport | None:
    arrived = target.arrived()
    if arrived is None or arrived != sealed:
        return None
    return MoveReport(source.url, target.url, arrived.seq, 0, 0.0, already_done=True)


def _begin_or_resume(source: Exporter, target: Importer, sealed: Sealed | None, tell: Say) -> Arriving:
    """Return the state of the move, begun now if it was not; raise if the target belongs to another move."""
    source.record()
    marks = source.marks()
    found = target.arriving()
    database_id = source.identity().database_id.decode()
    if found is None:
        begun = Arriving(source.url, database_id, marks)
        target.begin(begun)
        return begun
    seq, digest = target.last_write()
    is_same = found.database_id == database_id and found.sealed in {None, None if sealed is None else sealed.seq}
    if is_same and seq:
        there = source.writes(seq - 1, seq, 1)
        is_same = bool(there) and there[0][_DIGEST] == digest
    if found.abandoned or not is_same:
        raise Conflict(
            f"{target.url} holds an unfinished move of another database, or of another state of this one (from "
            f"{found.source}); choose an empty target"
        )
    if found.marks != marks and sealed is None:
        tell("restarting: the source was purged or compacted since the last attempt")
        target.discard()
        return _begin_or_resume(source, target, sealed, tell)
    tell(f"resuming after seq {seq:,}")
    return found


class _Copy:
    """One attempt at a move."""

    def __init__(
        self, source: Exporter, target: Importer, arriving: Arriving, progress: Progress | None, tell: Say
    ) -> None:
        self._source = source
        self._target = target
        self._progress = progress
        self._tell = tell
        self.arriving = arriving

    def keep_up(self) -> int:
        """Copy writes until few are left; return how many were copied."""
        copied = 0
        for _ in range(_ROUNDS_MAX):
            now = self._copy_writes(self._source.last_seq())
            copied += now
            if now <= _FEW_WRITES:
                break
        return copied

    def _copy_writes(self, upto: int) -> int:
        embeddings = self._source.embeddings()
        self._target.put_embeddings(embeddings)
        limit = chunk_rows(dim for _, _, _, dim in embeddings)
        after, copied = self._target.last_write()[0], 0
        while writes := self._source.writes(after, upto, limit):
            self._target.put_writes(writes)
            reach("move:writes")
            after = writes[-1][0]
            copied += len(writes)
            if self._progress is not None:
                self._progress(after, upto)
        return copied

    def finish(self, sealed: Sealed) -> int:
        """Copy the rest of a sealed source, and open the target; return how many writes were copied."""
        reach("move:sealed")
        self._tell(f"{self._source.url} is closed to writes at seq {sealed.seq:,}; copying the rest")
        copied = self._copy_writes(sealed.seq)
        for table in TABLES.values():
            if table.name not in self.arriving.done:
                done = (*self.arriving.done, table.name)
                noted = msgspec.structs.replace(self.arriving, sealed=sealed.seq, done=done)
                count = self._target.put_table(table, self._source.rows(table), noted)
                if count >= _REPORTED_ROWS:
                    self._tell(f"copied {count:,} rows of {table.name}")
                self.arriving = noted
                reach("move:table")
        self._check_writes()
        self._target.finish(self._source.identity(), arriving_record(*self._source.record()), sealed)
        reach("move:finished")
        return copied

    def _check_writes(self) -> None:
        """Check that all writes arrived, before the target is opened."""
        here, there = self._source.count_writes(), self._target.count_writes()
        if here != there:
            raise Corruption(
                f"{self._target.url} has {there:,} writes, {self._source.url} {here:,}; the target was not opened; "
                "inspect both, or abandon the move (`kedge migrate-store … --abandon`)"
            )
