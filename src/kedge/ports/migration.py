"""Moving a database: one end gives portable rows, the other takes them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from kedge.model.migration import Arriving, Identity, Marks, Record, Sealed, Table


class Exporter(Protocol):
    """A database to be read as portable rows (`kedge.model.migration`), and in the end to be closed for good.

    Laws: writes up to `last_seq` never change and no more appear among them, while `marks` stay as they are. `seal` is
    one transaction: either nothing has happened, or a control entry says that the database was moved, it is the last
    entry, and no process of any version can write to the database any more. It does nothing where the marks have
    moved. What was acknowledged before is before that entry.
    """

    @property
    def url(self) -> str:
        """Where it is."""

    def identity(self) -> Identity:
        """Return what makes it the database that it is."""

    def marks(self) -> Marks:
        """Return how often something was taken out of it, or raise `IllegalTransition` during a purge."""

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
        """Close the database for good, or return None where the marks are others by now."""

    def unseal(self, by: str) -> None:
        """Open a database again that was closed."""

    def close(self) -> None:
        """Let go of it."""


class Importer(Protocol):
    """A database that is being filled with portable rows. Nobody can open it before `finish`.

    Laws: each call is one transaction, durable when it returns, together with what `arriving` then says of it. After
    `abandon` every one raises `Conflict`: so of `finish` and `abandon`, only the one that comes first takes place.
    """

    @property
    def url(self) -> str:
        """Where it is."""

    def arriving(self) -> Arriving | None:
        """Return the move that has begun, or None where nothing is there yet; raise `NotEmpty` for anything else."""

    def arrived(self) -> Sealed | None:
        """Return the seal of the source of a move that is complete, or None where there is no such."""

    def begin(self, arriving: Arriving) -> None:
        """Take note that a move has begun, in a database that is empty."""

    def abandon(self) -> None:
        """Take note that the move was given up; nothing where none has begun."""

    def discard(self) -> None:
        """Take away all that has come, so that the move can begin anew."""

    def last_write(self) -> tuple[int, bytes]:
        """Return the seq and the digest of the last write that is there; (0, b"") where there is none."""

    def count_writes(self) -> int:
        """Return how many writes are there."""

    def put_embeddings(self, embeddings: Sequence[Record]) -> None:
        """Take embedding spaces, those that are there already among them."""

    def put_writes(self, writes: Sequence[Record]) -> None:
        """Take the next writes with their vectors."""

    def put_table(self, table: Table, rows: Iterable[Record], arriving: Arriving) -> int:
        """Take a whole table, and note what is done; return how many rows it has."""

    def finish(self, identity: Identity, record: tuple[int, bytes], sealed: Sealed) -> None:
        """Make what is rebuilt from the rest, and let the database be opened."""

    def close(self) -> None:
        """Let go of it."""
