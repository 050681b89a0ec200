"""The control record and its log, deployments and sessions."""

import json

import msgspec

from kedge.backends.postgres.fsck.inspection import SQL, Inspection
from kedge.model.artifacts import Artifact, manifest_digest
from kedge.model.control import ControlRecord

_RECORD = msgspec.json.Decoder(ControlRecord)
_MANIFEST = msgspec.json.Decoder(dict[str, Artifact])


def check_control(inspection: Inspection) -> None:
    """Check that the record is the newest logged one, and that the log raises the epoch by one each time."""
    rows = inspection.link.rows(SQL["control"])
    if len(rows) != 1:
        inspection.report("control", "record", f"{len(rows)} control records are there, not one")
        return
    _, epoch, encoded = rows[0]
    logged = _check_log(inspection)
    if logged != (epoch, encoded):
        newest = "nothing" if logged is None else f"epoch {logged[0]}"
        inspection.report("control", f"epoch {epoch}", f"the record is not the newest logged one, which is of {newest}")
    inspection.record = record = _RECORD.decode(encoded)
    known = [d.number for d in record.deployments] + sorted(record.settled) + sorted(record.purged)
    if sorted(known) != list(range(1, record.next_number)):
        message = f"revocable, settled and purged numbers are not each of 1..{record.next_number - 1} once"
        inspection.report("control", f"epoch {epoch}", message)
    for deployment in record.deployments:
        strange = [base for base in deployment.bases if base >= deployment.number or base not in record.by_number]
        if strange:
            inspection.report("control", f"deployment {deployment.name!r}", f"rests on {strange}, not revocable")


def _check_log(inspection: Inspection) -> tuple[int, bytes] | None:
    """Walk through the log; return the epoch and the record of its last change."""
    newest: tuple[int, bytes] | None = None
    applied: set[str] = set()
    given_up: dict[str, list[int]] = {}
    for seq, epoch, operation, kind, detail, encoded in inspection.link.rows(SQL["log"]):
        where = f"control_log seq {seq}"
        inspection.count("control entries")
        fields = json.loads(detail)
        if encoded is None:
            if newest is None or epoch != newest[0]:
                inspection.report("control", where, f"a step at epoch {epoch} follows {newest and newest[0]}")
            if kind == "purge:erased":
                inspection.erased |= frozenset(given_up.get(operation, ()))
            continue
        expected = 0 if newest is None else newest[0] + 1
        if epoch != expected or _RECORD.decode(encoded).epoch != epoch:
            inspection.report("control", where, f"epoch {epoch} follows, where {expected} should, in entry and record")
        if operation in applied:
            inspection.report("control", where, f"operation {operation!r} was applied a second time")
        applied.add(operation)
        if kind == "purge":
            given_up[operation] = fields.get("numbers", [])
        newest = (epoch, encoded)
    return newest


def check_deployments(inspection: Inspection) -> None:
    """Compare the table of deployments with the record, and each manifest with its digest."""
    record = inspection.record
    versions = {(name, version): digest for name, version, digest in inspection.link.rows(SQL["versions"])}
    rows = inspection.link.rows(SQL["deployments"])
    inspection.count("deployments", len(rows))
    missing = sorted(set(range(1, record.next_number)) ^ {row[0] for row in rows})
    if missing:
        inspection.report("deployment", f"numbers {missing}", "the control record and the table disagree on these")
    for number, name, kind, digest, manifest in rows:
        where = f"deployment {name!r}"
        artifacts = _MANIFEST.decode(manifest)
        revocable = record.by_number.get(number)
        if revocable is not None and (revocable.name, revocable.kind) != (name, kind):
            inspection.report("deployment", where, f"the control record calls number {number} {revocable.name!r}")
        if revocable is not None and revocable.artifacts != tuple(sorted(artifacts)):
            inspection.report("deployment", where, "the control record names other artifacts than the manifest")
        if digest and digest != manifest_digest(artifacts):
            inspection.report("deployment", where, f"the manifest does not have its digest {digest}")
        for key, artifact in artifacts.items():
            label = str(artifact.version).encode()
            if artifact.version is not None and versions.get((key, label)) != artifact.digest:
                inspection.report("deployment", where, f"{key} {artifact.version!r} is not the version on record")


def check_sessions(inspection: Inspection) -> None:
    """Check that sessions are fixed in unbroken generations, to numbers that exist."""
    generations: dict[str, int] = {}
    known = range(1, inspection.record.next_number)
    for session, generation, base in inspection.link.rows(SQL["sessions"]):
        inspection.count("sessions")
        where = f"session {session!r} generation {generation}"
        if generation != generations.get(session, 0) + 1:
            inspection.report("session", where, f"follows generation {generations.get(session, 0)}")
        generations[session] = generation
        strange = [number for number in base if number not in known]
        if strange:
            inspection.report("session", where, f"is fixed to {strange}, which no deployment has")
