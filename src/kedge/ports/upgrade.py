"""Upgrade port: the schema of one database, and the end of its upgrade."""

from collections.abc import Callable
from typing import Protocol

from kedge.model.upgrade import SchemaState


class Upgrade(Protocol):
    """The schema of one database.

    Laws: opening for writing has expanded the schema, wholly or not at all. `finish` is idempotent, and resumes where
    it was stopped; once it returns, no process of an older writer version commits any write.
    """

    def state(self) -> SchemaState:
        """Return the schema and the fence; also of a database that is open read-only."""

    def finish(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Fill in what the new schema needs, then raise the fence; return how many rows were filled in."""
