"""Moving a database from one backend to another, or to another place: nothing acknowledged is lost, nothing is twice.

Writes are copied in rounds while the source goes on. When a round has left little to do, the source is sealed: one
transaction after which nobody can write to it, in whatever process and version. The rest of the journal and all other
tables are copied then, and the target is opened for use in one transaction. Stopped anywhere, the same call goes on.
"""

import time
from collections.abc import Callable

import msgspec

from kedge.errors import Conflict, Corruption, IllegalTransition, InvalidValue, Moved
from kedge.model.migration import TABLES, WRITES, Arriving, Sealed, chunk_rows
from kedge.ports.migration import Exporter, Importer
from kedge.support.failpoints import reach

Progress = Callable[[int, int], None]
Say = Callable[[str], object]

_DIGEST = WRITES.at("digest")
_FEW_WRITES = 2_000  # that the source can wait for
_ROUNDS_MAX = 10
_WORTH_TELLING_ROWS = 100_000
_RESTARTS_MAX = 5


class MoveReport(msgspec.Struct, frozen=True):
    """What came of a move: where to, the last seq of the source, and for how long nobody could write."""

    source: str
    target: str
    last_seq: int
    copied_writes: int
    closed_seconds: float
    already_done: bool = False


def move(
    source: Exporter, target: Importer, *, by: str, progress: Progress | None = None, say: Say | None = None
) -> MoveReport:
    """Move a database, or go on with a move that was stopped."""
    tell = say or (lambda _: None)
    sealed = source.sealed()
    done = _if_done(source, target, sealed)
    if done is not None:
        return done
    if sealed is not None and sealed.to != target.url:
        raise Moved(f"{source.url} was moved to {sealed.to} by {sealed.by}; move that on, or open it")
    copied = 0
    for _ in range(_RESTARTS_MAX):
        copy = _Copy(source, target, _begun(source, target, sealed, tell), progress, tell)
        if sealed is None:
            copied += copy.keep_up()
            sealed = source.seal(target.url, by, copy.arriving.marks)
        if sealed is not None:
            began = time.monotonic()
            copied += copy.finish(sealed)
            return MoveReport(source.url, target.url, sealed.seq, copied, time.monotonic() - began)
        tell("the source was purged or compacted meanwhile: beginning anew")
        target.discard()
    raise Conflict(
        f"{source.url} was purged or compacted {_RESTARTS_MAX} times while it was copied; move it when that is over"
    )


def abandon(source: Exporter, target: Importer | None, *, by: str) -> None:
    """Give a move up, and open the source for writing again; `target` is None where it is not there any more."""
    sealed = source.sealed()
    if sealed is None:
        raise IllegalTransition(f"{source.url} was not moved; there is nothing to give up")
    if target is not None and sealed.to != target.url:
        raise InvalidValue(f"{source.url} was moved to {sealed.to}, not to {target.url}; name that")
    if target is not None and target.arrived() is not None:
        raise IllegalTransition(
            f"{target.url} is complete and may have been written to since, so that {source.url} stays closed; to go "
            "back, move the new database to a new place"
        )
    if target is not None:
        target.abandon()  # first: a process that is still at it must not complete it once the source is open
    source.unseal(by)


def _if_done(source: Exporter, target: Importer, sealed: Sealed | None) -> MoveReport | None:
    arrived = target.arrived()
    if arrived is None or arrived != sealed:
        return None
    return MoveReport(source.url, target.url, arrived.seq, 0, 0.0, already_done=True)


def _begun(source: Exporter, target: Importer, sealed: Sealed | None, tell: Say) -> Arriving:
    """Return the move as far as it has come, begun now where it had not, or raise for one that is another's."""
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
            f"{found.source}); give this move an empty place"
        )
    if found.marks != marks and sealed is None:
        tell("the source was purged or compacted since the last try: beginning anew")
        target.discard()
        return _begun(source, target, sealed, tell)
    tell(f"going on after seq {seq:,}")
    return found


class _Copy:
    """One try at a move."""

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
        """Copy what is left of a source that is sealed, and open the target; return how many writes were copied."""
        reach("move:sealed")
        self._tell(f"{self._source.url} is closed at seq {sealed.seq:,}; copying the rest")
        copied = self._copy_writes(sealed.seq)
        for table in TABLES.values():
            if table.name not in self.arriving.done:
                done = (*self.arriving.done, table.name)
                noted = msgspec.structs.replace(self.arriving, sealed=sealed.seq, done=done)
                count = self._target.put_table(table, self._source.rows(table), noted)
                if count >= _WORTH_TELLING_ROWS:
                    self._tell(f"{count:,} rows of {table.name}")
                self.arriving = noted
                reach("move:table")
        self._check_writes()
        self._target.finish(self._source.identity(), self._source.record(), sealed)
        reach("move:finished")
        return copied

    def _check_writes(self) -> None:
        """Check that all writes have come, before anybody works with them."""
        here, there = self._source.count_writes(), self._target.count_writes()
        if here != there:
            raise Corruption(
                f"{self._target.url} has {there:,} writes, {self._source.url} {here:,}; nothing was opened; look at "
                "both, or give the move up (`kedge migrate-store … --abandon`)"
            )
