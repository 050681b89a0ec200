"""Error classes, grouped by what the handler does.

KedgeError
├── Retryable               try again, in a new turn where it says so
│   ├── Busy                timed out waiting for the database or for a connection
│   ├── Unreachable         the database server cannot be reached or disconnected; nothing was done
│   ├── StorageFull         the disk is full; nothing was written
│   ├── Arriving            a database is being moved here and is not complete
│   ├── SyncNeeded          a message's sender saw a deployment that is rolled back: it must send again
│   ├── LeaseExpired        this member's lease ran out: it serves nothing until it has caught up
│   └── SettledMeanwhile    a deployment that this turn did not see was settled
├── Conflict                the stored state contradicts the call: resolve it
│   ├── ExpectationFailed   a compare-and-set found another head
│   ├── IdempotencyMismatch the idempotency key was used before with another payload
│   ├── DuplicateName       the name is taken
│   ├── IllegalTransition   the deployment's status does not allow this
│   ├── NotEmpty            the target of a move is not empty
│   ├── SessionBegun        the session's view was fixed at its first turn
│   ├── NotSeen             what arrives is influenced by a deployment that this turn does not see
│   ├── SchemaRefused       this agent does not accept the message's schema version
│   ├── OtherCode           this process runs different code than the turn's view pins
│   ├── ArtifactChanged     the version label was used before with another digest
│   ├── SnapshotInTheWay    a named snapshot can still read what the purge would erase
│   ├── HoldInTheWay        a legal hold keeps what the purge would erase
│   └── PilotRuns           another pilot runs the launch
├── OutcomeUnknown          the answer to a commit was lost: check whether it was done before you retry
├── RolledBack              stop: a deployment that influenced this turn was rolled back
├── NotPermitted            not allowed now: do without it, or ask for permission
│   ├── Frozen              the level does not allow derived writes
│   ├── ApprovalNeeded      a person must approve this first: its request says what
│   ├── PeerRefused         this peer was rolled back, and the database refuses its new messages
│   └── UntrustedHeaders    headers that cannot be trusted named a session: its memory is refused
├── Misuse                  fix the call
│   ├── NoSession           memory needs a session: give session=
│   ├── UnknownName         nothing has this name
│   ├── InvalidValue        the value has the wrong type, form or range
│   ├── InvalidVector       a vector has the wrong dimension, a NaN, or no direction
│   ├── TurnClosed          the turn has ended
│   ├── BatchOpen           a batch of the turn is open: batches do not nest, and others do not write into them
│   ├── Moved               the database was moved to another address
│   ├── PastUnreadable      the point is before the horizon, or its view saw something purged since
│   ├── NewerSchema         a newer Kedge has upgraded this database: restart with that version
│   ├── NotAKedgeDatabase   the file or database is not Kedge's, or not complete
│   ├── ReadOnly            this database or view does not accept writes
│   └── ConfirmationNeeded  an irreversible call needs confirm=, with the name repeated
└── Corruption              stop: what is on disk is not what was written
    └── DamagedSegment      a vector segment file is shorter than committed, or altered

A message has three parts: what is wrong, the value, and what to do.
"""

import difflib
from collections.abc import Iterable
from typing import Any


class KedgeError(Exception):
    """Base class of all errors that Kedge raises."""


class Retryable(KedgeError):
    """Nothing was done. The same call may succeed later, or in a new turn where the message says so."""


class Busy(Retryable):
    """Timed out waiting for another writer of the database, or for a connection of the pool."""


class Unreachable(Retryable):
    """The database server cannot be reached, or disconnected before anything was done."""


class StorageFull(Retryable):
    """The disk is full. Nothing of the call was written; make room and try again."""


class Arriving(Retryable):
    """A database is being moved here and is not complete: finish the move."""


class LeaseExpired(Retryable):
    """This member's lease ran out. It serves nothing until it has caught up. Nothing was done."""


class SyncNeeded(Retryable):
    """A message's sender saw a deployment that is rolled back now: it must begin a new turn and send again."""


class SettledMeanwhile(Retryable):
    """A deployment that this turn did not see was settled, so its view no longer holds: begin a new turn."""


class Conflict(KedgeError):
    """The stored state contradicts the call: read it, decide, and call again."""


class ExpectationFailed(Conflict):
    """A compare-and-set found another head than the expected one.

    `seq` is the seq of the head that it found, 0 where the key is absent: read it before you decide again.
    """

    def __init__(self, message: str, seq: int = 0) -> None:
        super().__init__(message)
        self.seq = seq


class IdempotencyMismatch(Conflict):
    """The idempotency key was used before with another payload."""


class DuplicateName(Conflict):
    """The name is taken. Names are never reused."""


class IllegalTransition(Conflict):
    """The deployment's status does not allow this change; the message says what is legal now."""


class NotEmpty(Conflict):
    """The target of a move is not empty: choose another address."""


class SessionBegun(Conflict):
    """The session began without this deployment, and its view is fixed at its first turn."""


class NotSeen(Conflict):
    """What arrives is influenced by a deployment that this turn does not see. The turn has not taken it on.

    `deployments` names those that it does not see.
    """

    def __init__(self, message: str, deployments: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.deployments = tuple(deployments)


class SchemaRefused(Conflict):
    """This agent does not accept the message's schema version. The error names the versions and the reason."""


class OtherCode(Conflict):
    """This process runs different code than the turn's view pins, and refuses that: route the session elsewhere."""


class ArtifactChanged(Conflict):
    """An artifact's version label was used before with another digest."""


class SnapshotInTheWay(Conflict):
    """A named snapshot can still read what the purge would erase: release it first."""


class HoldInTheWay(Conflict):
    """A legal hold keeps what the purge would erase: drop the hold first."""


class PilotRuns(Conflict):
    """Another pilot runs the launch, until its lease runs out: end it there, or wait."""


class OutcomeUnknown(KedgeError):
    """The answer to a commit was lost: check whether it was done before you retry."""


class RolledBack(KedgeError):
    """A deployment that influenced this turn was rolled back: drop the turn's results and begin a new one.

    `deployments` names those rolled back; it is empty where they are not known.
    """

    def __init__(self, message: str, deployments: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.deployments = tuple(deployments)


class NotPermitted(KedgeError):
    """This is not allowed now: do without it, or ask for permission. Nothing was done; a retry alone does not help."""


class Frozen(NotPermitted):
    """The level of the turn does not allow derived writes."""


class ApprovalNeeded(NotPermitted):
    """A person must approve this first, with `k.ladder.approve(error.request)`; then call again."""

    def __init__(self, message: str, request: Any = None) -> None:
        super().__init__(message)
        self.request = request


class PeerRefused(NotPermitted):
    """This unsigned peer was rolled back, and the database refuses its new messages."""


class UntrustedHeaders(NotPermitted):
    """The turn began from headers that named a session and cannot be trusted: they give it no session's memory."""


class Misuse(KedgeError):
    """The call is wrong: fix it."""


class NoSession(Misuse):
    """The turn or view has no session, and memory belongs to sessions: give `session=`."""


class UnknownName(Misuse):
    """Nothing has this name. The message suggests the nearest name that exists."""


class InvalidValue(Misuse):
    """A value has the wrong type, form or range."""


class InvalidVector(Misuse):
    """A vector has the wrong dimension, holds a NaN or infinity, or has no direction under cosine."""


class TurnClosed(Misuse):
    """The turn has ended: begin another."""


class BatchOpen(Misuse):
    """A batch of the turn is open: batches do not nest, and no other thread or task writes into them."""


class Moved(Misuse):
    """The database was moved: open it at its new address."""


class PastUnreadable(Misuse):
    """The point is before the horizon and no snapshot names it, or its view saw something purged since."""


class NewerSchema(Misuse):
    """A newer Kedge has upgraded this database: restart this process with that version. Nothing was written."""


class NotAKedgeDatabase(Misuse):
    """The file is not a database, belongs to another program, or has no Kedge schema yet: check the address."""


class ReadOnly(Misuse):
    """This database or view does not accept writes."""


class ConfirmationNeeded(Misuse):
    """An irreversible call needs `confirm=`, with the name repeated."""


class Corruption(KedgeError):
    """What is on disk is not what was written: stop, keep the files, and run `kedge fsck`."""


class DamagedSegment(Corruption):
    """A vector segment file is missing, shorter than its committed length, or altered."""


def nearest(name: object, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" with the known name most like `name`, or "" where none is close."""
    close = difflib.get_close_matches(name, list(known), n=1) if isinstance(name, str) else []
    return f" (did you mean {close[0]!r}?)" if close else ""
