"""Every error that Kedge raises, grouped by what the handler does.

KedgeError
├── Retryable               try again, in a new turn where it says so
│   ├── Busy                another writer held the database, or others every connection, for too long
│   ├── Unreachable         the database server cannot be reached, or went away; nothing was done
│   ├── StorageFull         the disk is full; nothing was written
│   ├── Arriving            a database is being moved to here, and is not complete
│   ├── SyncNeeded          a message was sent under what has been rolled back since: it must be sent afresh
│   ├── LeaseExpired        this member could not refresh its lease: it serves nothing until it has caught up
│   └── SettledMeanwhile    a deployment that this turn did not see was settled
├── Conflict                someone or something else holds another value: resolve it
│   ├── ExpectationFailed   a compare-and-set found another head
│   ├── IdempotencyMismatch the same idempotency key came with another payload
│   ├── DuplicateName       the name is taken
│   ├── IllegalTransition   the deployment's status does not allow this
│   ├── NotEmpty            something else lies where a database shall be moved to
│   ├── SessionBegun        what the session sees was fixed at its first turn
│   ├── SchemaRefused       a message cannot be taken in the version in which it came
│   ├── OtherCode           this process runs other code than the turn's view pins
│   ├── ArtifactChanged     the same version label came with another digest
│   └── SnapshotInTheWay    a named snapshot can still reach what a purge would remove
├── OutcomeUnknown          the answer was lost: find out whether it was done before you do it again
├── RolledBack              stop: the ground has moved
│   └── Frozen              the feature's level does not allow derived writes
├── Misuse                  fix the call
│   ├── UnknownName         nothing has this name
│   ├── InvalidValue        the value has the wrong type, form or range
│   ├── InvalidVector       a vector has the wrong dimension, a NaN, or no direction
│   ├── TurnClosed          the turn has ended
│   ├── Moved               the database lies elsewhere now
│   ├── PastUnreadable      the point lies before the horizon, or saw something since purged
│   ├── ReadOnly            this database, or this view, takes no writes
│   └── ConfirmationNeeded  what cannot be undone asks to be confirmed by name
└── Corruption              stop and look: what is on disk is not what was written
    ├── NotAKedgeDatabase   the file is something else
    ├── NewerSchema         a newer Kedge wrote this database
    └── DamagedSegment      a vector segment file is shorter than committed, or altered

A message says what was wrong, with the offending value, and what to do.
"""

import difflib
from collections.abc import Iterable


class KedgeError(Exception):
    """The root: catches whatever Kedge itself raises."""


class Retryable(KedgeError):
    """Nothing was done, and the same call may succeed later; where the message says so, in a new turn."""


class Busy(Retryable):
    """Another writer held the database, or others every connection of a pool, for longer than the time-out."""


class Unreachable(Retryable):
    """The database server cannot be reached, or went away before anything was done."""


class StorageFull(Retryable):
    """The disk is full. Nothing of the call was written; make room and try again."""


class Arriving(Retryable):
    """A database is being moved to here, and is not complete: finish the move."""


class LeaseExpired(Retryable):
    """This member could not refresh its lease, and serves nothing until it has caught up. Nothing was done."""


class SyncNeeded(Retryable):
    """A message was sent under what has been rolled back since: its sender must begin a new turn, and send again."""


class SettledMeanwhile(Retryable):
    """A deployment that this turn did not see was settled, so its view no longer holds: begin a new turn."""


class Conflict(KedgeError):
    """Something else already holds: look at it, decide, and call again with what you decided."""


class ExpectationFailed(Conflict):
    """A compare-and-set found another head than the expected one.

    `seq` is the seq of the head that it found, 0 where the key is absent: what to read before deciding anew.
    """

    def __init__(self, message: str, seq: int = 0) -> None:
        super().__init__(message)
        self.seq = seq


class IdempotencyMismatch(Conflict):
    """The same idempotency key came before, with another payload."""


class DuplicateName(Conflict):
    """The name is taken, and names are for ever."""


class IllegalTransition(Conflict):
    """The deployment's status does not allow this change; the message says what is legal now."""


class NotEmpty(Conflict):
    """Something else lies where a database shall be moved to: give it a place of its own."""


class SessionBegun(Conflict):
    """The session began without this deployment, and what a session sees is fixed at its first turn."""


class SchemaRefused(Conflict):
    """A message cannot be taken in the version in which it came; the message says which is spoken here, and why."""


class OtherCode(Conflict):
    """This process runs other code than the turn's view pins, and was opened to refuse that: route it elsewhere."""


class ArtifactChanged(Conflict):
    """An artifact's version label came before, with another digest."""


class SnapshotInTheWay(Conflict):
    """A named snapshot can still reach what a purge would remove: release it first."""


class OutcomeUnknown(KedgeError):
    """The answer to a commit was lost, so it may or may not have been done: find out before you repeat it."""


class RolledBack(KedgeError):
    """A deployment that influenced this turn was rolled back: drop the turn's results and begin a new one.

    `deployments` are the names of those rolled back, empty where they are not known.
    """

    def __init__(self, message: str, deployments: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.deployments = tuple(deployments)


class Frozen(RolledBack):
    """The level of the agent's feature does not allow derived writes now."""


class Misuse(KedgeError):
    """The call is wrong, and will be until it is changed."""


class UnknownName(Misuse):
    """Nothing has this name; the message names the nearest that exists."""


class InvalidValue(Misuse):
    """A value has the wrong type, form or range."""


class InvalidVector(Misuse):
    """A vector has the wrong dimension, holds a NaN or infinity, or has no direction under cosine."""


class TurnClosed(Misuse):
    """The turn has ended: begin another."""


class Moved(Misuse):
    """The database was moved: open it where it lies now."""


class PastUnreadable(Misuse):
    """The point lies before the horizon and no snapshot names it, or its view saw something since purged."""


class ReadOnly(Misuse):
    """This database or view takes no writes."""


class ConfirmationNeeded(Misuse):
    """What cannot be undone asks to be confirmed by name."""


class Corruption(KedgeError):
    """What is on disk is not what was written: stop, keep the files, and run `kedge fsck`."""


class NotAKedgeDatabase(Corruption):
    """The file is no SQLite database, or another program's."""


class NewerSchema(Corruption):
    """A newer Kedge wrote this database: upgrade, nothing was touched."""


class DamagedSegment(Corruption):
    """A vector segment file is missing, shorter than its committed length, or altered."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" with the known name most like `name`, or "" where none is close."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
