"""Control log: changes of the control record, and what is stored with them; both backends decode their rows here.

A column of text is `str` or UTF-8 bytes, and a list is JSON text or an array, as the backend stores it.
"""

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from kedge.errors import ArtifactChanged, DuplicateName, KedgeError, UnknownName, nearest
from kedge.model.artifacts import Artifact
from kedge.model.control import ControlRecord
from kedge.model.lineage import Lineage
from kedge.model.record_format import encode_record, log_form
from kedge.model.session_settings import DEFAULTS, SessionSettings, decode_settings
from kedge.model.transitions import compacted
from kedge.model.writes import Author, Batch, Pending
from kedge.support.display import Value

_MANIFEST = msgspec.json.Decoder(dict[str, Artifact])


class EpochMoved(KedgeError):
    """The control record has left the epoch that the caller decided on: load it, decide anew."""


class Release(msgspec.Struct, frozen=True):
    """What staging a deployment records beside the control record."""

    number: int
    name: str
    kind: str
    digest: str
    artifacts: dict[str, Artifact]
    warnings: tuple[str, ...]
    note: str = ""


class Snapshot(Value, frozen=True):
    """A named point."""

    name: str
    seq: int
    epoch: int
    at: float
    by: str
    deployment: int | None = None


class Change(msgspec.Struct, frozen=True):
    """A change of the control record, with what is recorded in the same transaction."""

    record: ControlRecord
    operation: str
    kind: str
    by: str
    deployment: str | None = None
    reason: str = ""
    detail: dict[str, Any] = {}
    release: Release | None = None
    writes: tuple[Pending, ...] = ()
    snapshot: str | None = None
    drop_snapshots_of: tuple[int, ...] = ()


class Entry(Value, frozen=True):
    """One control change, or one step of an operation, as the log keeps it."""

    seq: int
    epoch: int
    at: float
    operation: str
    kind: str
    deployment: str | None
    by: str
    reason: str
    detail: dict[str, Any]
    is_step: bool


class Session(msgspec.Struct, frozen=True):
    """The deployments that a session is fixed to, and since when. One that has ended begins anew at its next turn."""

    session: str
    generation: int
    seq: int
    epoch: int
    at: float
    base: frozenset[int]
    opened_with: str | None
    settings: SessionSettings = DEFAULTS
    ended: bool = False

    @property
    def unit(self) -> str:
        """What it is drawn by."""
        return self.session if self.settings.unit_id is None else self.settings.unit_id


class SessionFilter(msgspec.Struct, frozen=True):
    """Which sessions are asked for: those with a prefix, fixed to a deployment by number, or not fixed to it.

    With a number, sessions that have ended are left out.
    """

    prefix: str = ""
    number: int | None = None
    sees: bool = True


class Position(msgspec.Struct, frozen=True):
    """A place in the journal: a seq and its time. All writes of one call share a time, earlier than the next call's."""

    seq: int
    at: float


class Recorded(msgspec.Struct, frozen=True):
    """A deployment as it was staged; it never changes."""

    release: Release
    at: float
    by: str


# ── the record ──


class Stored(msgspec.Struct, frozen=True):
    """A change as it is stored: the record that it makes, whole, and what the log keeps of it."""

    record: bytes
    logged: bytes

    @classmethod
    def of(cls, after: ControlRecord, standing: ControlRecord, newest: tuple[int, bytes] | None) -> "Stored":
        """Return the stored form of a change of the standing record; `newest` is the log's newest change.

        A process that read the record before the upgrade was finished may still hold it in the form of then.
        """
        after = compacted(after) if standing.compact else after
        whole = encode_record(after)
        return cls(whole, log_form(standing, after, whole, newest))


def check_epoch(found: int, expected: int) -> None:
    """Raise `EpochMoved` unless the control record is at the expected epoch."""
    if found != expected:
        raise EpochMoved(f"the control record is at epoch {found}, not {expected}")


# ── entries of the log ──


class NewEntry(msgspec.Struct, frozen=True):
    """An entry to insert into the control log; without a record it is a step, which changes nothing."""

    operation: str
    kind: str
    by: str
    deployment: str | None = None
    reason: str = ""
    detail: dict[str, Any] = {}
    record: bytes | None = None

    @classmethod
    def of(cls, change: Change, logged: bytes) -> "NewEntry":
        """Return the entry of a change."""
        return cls(
            change.operation, change.kind, change.by, change.deployment, change.reason, change.detail, logged
        )  # fmt: skip

    @classmethod
    def of_snapshot(cls, verb: str, name: str, by: str, seq: int) -> "NewEntry":
        """Return the entry, at a seq, of a snapshot that is taken ("snapshot") or dropped ("release")."""
        kind = "snapshot" if verb == "snapshot" else "release-snapshot"
        return cls(f"{verb}:{name}:{seq}", kind, by, detail={"snapshot": name})

    @classmethod
    def of_session(cls, session: str, generation: int, by: str) -> "NewEntry":
        """Return the entry of a session that begins. Its seq is its own: it changes no answer about an earlier seq."""
        return cls(f"session:{session}:{generation}", "session", by, detail={"session": session})


CREATED = NewEntry("create", "create", "kedge", record=encode_record(ControlRecord()))


def decode_entry(row: Iterable[Any]) -> Entry:
    """Return an entry of the log from its row."""
    seq, epoch, at, operation, kind, deployment, by, reason, detail, is_step = row
    return Entry(seq, epoch, at, operation, kind, deployment, by, _text(reason), json.loads(detail), bool(is_step))


def applied(rows: Iterable[Any]) -> Entry | None:
    """Return the change among the rows of one operation, or None where only steps are there."""
    return next((entry for entry in map(decode_entry, rows) if not entry.is_step), None)


def has_step(rows: Iterable[Any], kind: str) -> bool:
    """Return whether the rows of one operation hold an entry of a kind."""
    return any(decode_entry(row).kind == kind for row in rows)


def batch_of(change: Change, at: float, settled: Lineage) -> Batch:
    """Return the writes that go with a change, as a batch at its time; their author is the operation."""
    epoch = change.record.epoch
    author = Author(f"{change.operation}:{change.kind}", began_at=at, began_epoch=epoch)
    return Batch(epoch, author, change.writes, settled=settled)


# ── deployments, sessions and snapshots ──


def release_row(release: Release, at: float, by: str) -> tuple[Any, ...]:
    """Return the row of a deployment; its manifest leaves out the values, which are writes to the artifact store."""
    slim = {key: msgspec.structs.replace(artifact, value=None) for key, artifact in release.artifacts.items()}
    return (
        release.number, release.name, release.kind, release.digest, msgspec.json.encode(slim),
        msgspec.json.encode(release.warnings), release.note, at, by,
    )  # fmt: skip


def decode_recorded(row: Iterable[Any]) -> Recorded:
    """Return a deployment from its row."""
    number, name, kind, digest, manifest, warnings, note, at, by = row
    artifacts = decode_manifest(manifest)
    return Recorded(Release(number, name, kind, digest, artifacts, tuple(json.loads(warnings)), _text(note)), at, by)


def decode_manifest(manifest: bytes) -> dict[str, Artifact]:
    """Return the artifacts of a stored manifest."""
    return _MANIFEST.decode(manifest)


def check_version(key: str, artifact: Artifact, recorded: str | None) -> None:
    """Raise `ArtifactChanged` where a version label was recorded with another digest."""
    if recorded is not None and recorded != artifact.digest:
        raise ArtifactChanged(
            f"artifact {key!r} version {artifact.version!r} was recorded with the digest {recorded}, "
            f"not {artifact.digest}; artifacts never change: use another version label"
        )


def deployment_exists(name: str) -> DuplicateName:
    """Return the error for a second deployment of one name."""
    return DuplicateName(f"a deployment named {name!r} exists already; names are never used twice")


def snapshot_exists(name: str) -> DuplicateName:
    """Return the error for a second snapshot of one name."""
    return DuplicateName(f"a snapshot named {name!r} exists already; use another name")


def session_exists(name: str) -> DuplicateName:
    """Return the error for a session that is to begin as a fork, and has begun."""
    return DuplicateName(f"a session named {name!r} exists already; fork into a new one")


def no_snapshot(name: str, rows: Iterable[Any]) -> UnknownName:
    """Return the error for a snapshot that is not among the rows of all."""
    return UnknownName(f"no snapshot is named {name!r}{nearest(name, [row[0] for row in rows])}")


def decode_session(row: Iterable[Any]) -> Session:
    """Return a session from its row."""
    name, generation, seq, epoch, at, base, opened_with, settings, ended = row
    return Session(
        name, generation, seq, epoch, at, decode_numbers(base), opened_with, decode_settings(settings), bool(ended)
    )


def decode_numbers(stored: Any) -> frozenset[int]:
    """Return deployment numbers from JSON text or an array."""
    return frozenset(json.loads(stored) if isinstance(stored, str) else stored)


def _text(stored: str | bytes) -> str:
    return stored if isinstance(stored, str) else stored.decode()
