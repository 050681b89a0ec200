"""Migration ports: export and import of a database as portable rows."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from kedge.model.migration import Arriving, Identity, Marks, Record, Sealed, Table


class Exporter(Protocol):
    """The source of a migration: portable rows (`kedge.model.migration`), and a seal at the end.

    Laws: while `marks` do not change, writes up to `last_seq` never change, and none are added among them. `seal` is
    one transaction: either nothing happens, or the last entry of the control log says that the database was moved, and
    no process of any version can write any more. It does nothing where the marks have changed. All acknowledged writes
    are before that entry.
    """

    @property
    def url(self) -> str:
        """The address."""

    def identity(self) -> Identity:
        """Return the id and the keys of the database, which a migration keeps."""

    def marks(self) -> Marks:
        """Return how often rows were removed, or raise `IllegalTransition` during a purge."""

    def last_seq(self) -> int:
        """Return the last seq, once nothing before it is in flight."""

    def embeddings(self) -> list[Record]:
        """Return the embedding spaces."""

    def writes(self, after: int, upto: int, limit: int) -> list[Record]:
        """Return the next writes after a seq, in order, with their vectors."""

    def count_writes(self) -> int:
        """Return how many writes there are."""

    def rows(self, table: Table) -> Iterator[Record]:
        """Yield all rows of a table in order of its key, as one instant shows them."""

    def record(self) -> tuple[int, bytes]:
        """Return the control record with its epoch."""

    def sealed(self) -> Sealed | None:
        """Return where the database was moved to, or None."""

    def seal(self, to: str, by: str, marks: Marks) -> Sealed | None:
        """Refuse all further writes, or return None where the marks have changed."""

    def unseal(self, by: str) -> None:
        """Accept writes again."""

    def close(self) -> None:
        """Close the database."""


class Importer(Protocol):
    """The target of a migration. It cannot be opened before `finish`.

    Laws: each call is one transaction, durable when it returns, together with its result in `arriving`. After
    `abandon` every call raises `Conflict`: of `finish` and `abandon`, only the first succeeds.
    """

    @property
    def url(self) -> str:
        """The address."""

    def arriving(self) -> Arriving | None:
        """Return the unfinished migration, or None where nothing is there yet; raise `NotEmpty` for anything else."""

    def arrived(self) -> Sealed | None:
        """Return the seal of the source of a complete migration, or None."""

    def begin(self, arriving: Arriving) -> None:
        """Record that a migration has begun, in an empty database."""

    def abandon(self) -> None:
        """Record that the migration was given up; do nothing where none has begun."""

    def discard(self) -> None:
        """Delete all that has been imported, so that the migration can start over."""

    def last_write(self) -> tuple[int, bytes]:
        """Return the seq and the digest of the last imported write, or (0, b"")."""

    def count_writes(self) -> int:
        """Return how many writes have been imported."""

    def put_embeddings(self, embeddings: Sequence[Record]) -> None:
        """Import embedding spaces; those that exist already are skipped."""

    def put_writes(self, writes: Sequence[Record]) -> None:
        """Import the next writes with their vectors."""

    def put_table(self, table: Table, rows: Iterable[Record], arriving: Arriving) -> int:
        """Import a whole table, and record that it is done; return how many rows it has."""

    def finish(self, identity: Identity, record: tuple[int, bytes], sealed: Sealed) -> None:
        """Rebuild derived tables, and allow the database to be opened."""

    def close(self) -> None:
        """Close the database."""
