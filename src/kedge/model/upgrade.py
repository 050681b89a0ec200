"""Schema version of a database, and the fence that refuses older writers.

A database is upgraded in two steps. Opening it for writing expands its schema in place: every migration only adds
tables, and columns that older processes may leave out. `kedge upgrade` then fills in what the new columns need, and
raises the fence: the least writer version that the database accepts, in its table `meta`.
"""

from kedge.errors import NewerSchema
from kedge.support.display import Report, Value, count

WRITER = 5
"""The writer version of this package. A change of the schema that older writers must not ignore raises it by one."""
FEATURES_SINCE = 4
"""The first writer version that knows settings of sessions, lists, holdbacks, stores of users, aliases of session
names, pruned turns and sessions, and the table of unfinished operations."""
GUARD_SINCE = 5
"""The first writer version that knows level entries, rights, two persons, verdicts of sessions, and launches."""
CONTESTED_SINCE = 3  # the first writer version that understands the contested state of `model.states`
UNFENCED = 1  # what a database without a fence accepts: the version of packages that knew none
MIN_WRITER = "min_writer"  # the fence's name in `meta`


class SchemaState(Value, frozen=True):
    """The schema and the fence of a database, beside those of this package."""

    schema: int
    latest: int
    min_writer: int
    writer: int

    @property
    def is_current(self) -> bool:
        """Whether nothing is left to upgrade."""
        return self.schema >= self.latest and self.min_writer >= self.writer


class UpgradeReport(Report, frozen=True):
    """The result of an upgrade: the state before and after, and how many rows it filled in."""

    before: SchemaState
    after: SchemaState
    rows: int

    def __str__(self) -> str:
        """Return the verdict."""
        return f"schema {self.before.schema} upgraded to {self.after.schema}; {count(self.rows, 'row')} filled in"


def check_writer(where: str, min_writer: int) -> None:
    """Raise `NewerSchema` where the fence refuses this package."""
    if min_writer > WRITER:
        raise writer_refused(where, min_writer)


def writer_refused(where: str, min_writer: int) -> NewerSchema:
    """Return the error for a writer that the fence refuses."""
    return NewerSchema(
        f"{where} was upgraded by a newer Kedge and accepts writers from version {min_writer} on; this process has "
        f"version {WRITER}; nothing was written: restart it with the newer Kedge"
    )


def newer_schema(where: str, found: int, latest: int) -> NewerSchema:
    """Return the error for a schema that this package does not know."""
    return NewerSchema(
        f"{where} has schema {found}, newer than this Kedge's {latest}; upgrade Kedge and restart this process"
    )
