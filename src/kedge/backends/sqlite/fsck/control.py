"""The control record and its log, deployments, snapshots and sessions."""

import json
from typing import Any

import msgspec

from kedge.backends.sqlite.fsck.inspection import SQL, Inspection
from kedge.model.artifacts import Artifact, manifest_digest
from kedge.model.control import ControlRecord, Revocable

_RECORD = msgspec.json.Decoder(ControlRecord)
_MANIFEST = msgspec.json.Decoder(dict[str, Artifact])


def check_control(inspection: Inspection) -> None:
    """Check that the record is the newest logged one, and that the log raises the epoch by one each time."""
    rows = inspection.connection.execute(SQL["control"]).fetchall()
    if len(rows) != 1:
        inspection.report("control", "record", f"{len(rows)} control records are there, not one")
        return
    _, epoch, encoded = rows[0]
    logged = _check_log(inspection)
    if logged != (epoch, encoded):
        newest = "nothing" if logged is None else f"epoch {logged[0]}"
        inspection.report("control", f"epoch {epoch}", f"the record is not the newest logged one, which is of {newest}")
    record = _decode(inspection, f"epoch {epoch}", encoded)
    if record is not None:
        inspection.record = record
        _check_record(inspection, record)


def _check_log(inspection: Inspection) -> tuple[int, bytes] | None:
    """Walk through the log; return the epoch and the record of its last change."""
    newest: tuple[int, bytes] | None = None
    applied: set[str] = set()
    given_up: dict[str, list[int]] = {}
    for seq, epoch, _, operation, kind, detail, encoded in inspection.connection.execute(SQL["log"]):
        where = f"control_log seq {seq}"
        inspection.count("control entries")
        fields = _detail(inspection, where, detail)
        if encoded is None:
            if newest is None or epoch != newest[0]:
                inspection.report("control", where, f"a step at epoch {epoch} follows {newest and newest[0]}")
            if kind == "purge:erased":
                inspection.erased |= frozenset(given_up.get(operation, ()))
            continue
        expected = 0 if newest is None else newest[0] + 1
        if epoch != expected:
            inspection.report("control", where, f"epoch {epoch} follows, where {expected} should")
        if operation in applied:
            inspection.report("control", where, f"operation {operation!r} was applied a second time")
        applied.add(operation)
        if kind == "purge":
            given_up[operation] = fields.get("numbers", [])
        record = _decode(inspection, where, encoded)
        if record is not None and record.epoch != epoch:
            inspection.report("control", where, f"the record says epoch {record.epoch}, its entry {epoch}")
        newest = (epoch, encoded)
    return newest


def _detail(inspection: Inspection, where: str, detail: str) -> dict[str, Any]:
    try:
        fields = json.loads(detail)
    except (ValueError, TypeError):
        fields = None
    if not isinstance(fields, dict):
        inspection.report("control", where, "the detail is no JSON object")
        return {}
    return fields


def _decode(inspection: Inspection, where: str, encoded: bytes) -> ControlRecord | None:
    try:
        return _RECORD.decode(encoded)
    except (msgspec.DecodeError, TypeError, UnicodeDecodeError) as error:
        inspection.report("control", where, f"the record cannot be read: {error}")
        return None


def _check_record(inspection: Inspection, record: ControlRecord) -> None:
    known = [d.number for d in record.deployments] + sorted(record.settled) + sorted(record.purged)
    if sorted(known) != list(range(1, record.next_number)):
        inspection.report(
            "control",
            f"epoch {record.epoch}",
            f"revocable, settled and purged numbers are {sorted(known)}, not each of 1..{record.next_number - 1} once",
        )
    for deployment in record.deployments:
        strange = [base for base in deployment.bases if base >= deployment.number or base not in record.by_number]
        if strange:
            inspection.report("control", f"deployment {deployment.name!r}", f"rests on {strange}, not revocable")


# ── what stands beside the record ──


def check_deployments(inspection: Inspection) -> None:
    """Compare the table of deployments with the record, and each manifest with its digest."""
    record = inspection.record
    versions = {(name, version): d for name, version, d in inspection.connection.execute(SQL["versions"])}
    rows = inspection.connection.execute(SQL["deployments"]).fetchall()
    inspection.count("deployments", len(rows))
    numbers = [row[0] for row in rows]
    if numbers != list(range(1, record.next_number)):
        missing = sorted(set(range(1, record.next_number)) ^ set(numbers))
        inspection.report("deployment", f"numbers {missing}", "the control record and the table disagree on these")
    for number, name, kind, digest, manifest, _ in rows:
        where = f"deployment {name!r}"
        revocable = record.by_number.get(number)
        if revocable is not None and (revocable.name, revocable.kind) != (name, kind):
            inspection.report("deployment", where, f"the control record calls number {number} {revocable.name!r}")
        try:
            artifacts = _MANIFEST.decode(manifest)
        except (msgspec.DecodeError, TypeError, UnicodeDecodeError) as error:
            inspection.report("deployment", where, f"the manifest cannot be read: {error}")
            continue
        _check_manifest(inspection, where, (digest, artifacts), revocable)
        for key, artifact in artifacts.items():
            if artifact.version is not None and versions.get((key, artifact.version)) != artifact.digest:
                inspection.report("deployment", where, f"{key} {artifact.version!r} is not the version on record")


def _check_manifest(
    inspection: Inspection, where: str, stored: tuple[str, dict[str, Artifact]], revocable: Revocable | None
) -> None:
    digest, artifacts = stored
    if digest and digest != manifest_digest(artifacts):
        inspection.report("deployment", where, f"the manifest does not have its digest {digest}")
    if revocable is not None and revocable.artifacts != tuple(sorted(artifacts)):
        inspection.report("deployment", where, "the control record names other artifacts than the manifest")


def check_snapshots(inspection: Inspection) -> None:
    """Check that every snapshot names a point that there is, at the epoch that it had."""
    for name, seq, epoch, deployment, actual in inspection.connection.execute(SQL["snapshots"]):
        inspection.count("snapshots")
        where = f"snapshot {name!r}"
        if not 0 <= seq <= inspection.last_seq:
            inspection.report("snapshot", where, f"names seq {seq}; the journal ends at {inspection.last_seq}")
        elif epoch != actual:
            inspection.report("snapshot", where, f"says epoch {epoch}; seq {seq} was written at epoch {actual}")
        if deployment is not None and deployment not in inspection.record.by_number:
            inspection.report("snapshot", where, f"belongs to deployment {deployment}, which is not revocable")


def check_sessions(inspection: Inspection) -> None:
    """Check that sessions are fixed in unbroken generations, to numbers that exist, by an entry in the log."""
    generations: dict[str, int] = {}
    for session, generation, seq, epoch, at, base, *entry in inspection.connection.execute(SQL["sessions"]):
        inspection.count("sessions")
        where = f"session {session!r} generation {generation}"
        if generation != generations.get(session, 0) + 1:
            inspection.report("session", where, f"follows generation {generations.get(session, 0)}")
        generations[session] = generation
        if entry != [epoch, at, f"session:{session}:{generation}"]:
            inspection.report("session", where, f"the control log has no such entry at seq {seq}")
        strange = _strange_numbers(inspection, base)
        if strange is not None:
            inspection.report("session", where, f"is fixed to {strange}, which no deployment has")
    for seq, operation in inspection.connection.execute(SQL["session_entries"]):
        inspection.report("session", f"control_log seq {seq}", f"{operation} has no row in the table of sessions")


def _strange_numbers(inspection: Inspection, base: str) -> object | None:
    """Return what in a JSON list of deployment numbers is none, or None where all are."""
    try:
        numbers = json.loads(base)
    except (ValueError, TypeError):
        return base
    if not isinstance(numbers, list):
        return base
    known = range(1, inspection.record.next_number)
    return [n for n in numbers if not isinstance(n, int) or n not in known] or None
