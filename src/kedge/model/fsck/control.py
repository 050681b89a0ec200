"""Checks of the control record, its log, deployments and sessions."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from kedge.model.artifacts import Artifact, manifest_digest
from kedge.model.control import ControlRecord, Revocable
from kedge.model.control_log import decode_manifest
from kedge.model.fsck.inspection import Inspection
from kedge.model.record_format import apply, decode_record, is_delta
from kedge.model.transitions import compacted
from kedge.model.unfinished import Unfinished

_UNREADABLE = (ValueError, TypeError)  # msgspec's and JSON's errors of decoding are ValueErrors


def check_control(inspection: Inspection, rows: Sequence[Any], log: Iterable[Any]) -> None:
    """Check that the record is the newest logged one, and that the log raises the epoch by one each time.

    Rows are (epoch, record); the log's are (seq, epoch, operation, kind, detail, record), in order of seq.
    """
    if len(rows) != 1:
        inspection.report("control", "record", f"expected 1 control record, found {len(rows)}")
        return
    epoch, encoded = rows[0]
    newest, record = _check_log(inspection, log), _decode(inspection, f"epoch {epoch}", encoded)
    if newest is None or newest[0] != epoch or (record is not None and newest[1] != compacted(record)):
        logged = "nothing" if newest is None else f"epoch {newest[0]}"
        inspection.report("control", f"epoch {epoch}", f"the record is not the newest logged one: {logged}")
    if record is not None:
        inspection.record = record
        _check_record(inspection, record)


def _check_log(inspection: Inspection, log: Iterable[Any]) -> tuple[int, ControlRecord] | None:
    """Walk through the log; return the epoch and the record of its last change."""
    newest: tuple[int, ControlRecord] | None = None
    applied: set[str] = set()
    given_up: dict[str, list[int]] = {}
    for seq, epoch, operation, kind, detail, stored in log:
        where = f"control_log seq {seq}"
        inspection.count("control entries")
        fields = _detail(inspection, where, detail)
        if stored is None:
            if newest is None or epoch != newest[0]:
                inspection.report("control", where, f"a step at epoch {epoch} follows {newest and newest[0]}")
            if kind == "purge:erased":
                inspection.erased |= frozenset(given_up.get(operation, ()))
            continue
        expected = 0 if newest is None else newest[0] + 1
        if epoch != expected:
            inspection.report("control", where, f"found epoch {epoch}, expected {expected}")
        if operation in applied:
            inspection.report("control", where, f"operation {operation!r} was applied a second time")
        applied.add(operation)
        if kind == "purge":
            given_up[operation] = fields.get("numbers", [])
        before = ControlRecord() if newest is None else newest[1]
        record = _decode(inspection, where, stored, before)
        if record is not None and record.epoch != epoch:
            inspection.report("control", where, f"the record has epoch {record.epoch}, its entry {epoch}")
        record = before if record is None else compacted(record)
        settled = _standing(before) - _standing(record) - record.purged
        if settled and kind != "settle":
            inspection.report("control", where, f"a {kind} settles {sorted(settled)}")
        newest = (epoch, record)
    return newest


def _standing(record: ControlRecord) -> frozenset[int]:
    return record.peers.union(record.by_number)


def _detail(inspection: Inspection, where: str, detail: str | bytes) -> dict[str, Any]:
    try:
        fields = json.loads(detail)
    except _UNREADABLE:
        fields = None
    if not isinstance(fields, dict):
        inspection.report("control", where, "the detail is not a JSON object")
        return {}
    return fields


def _decode(
    inspection: Inspection, where: str, stored: bytes, before: ControlRecord | None = None
) -> ControlRecord | None:
    """Return a stored record, or, in the log, the record after a change of the one before."""
    try:
        return decode_record(stored) if before is None or not is_delta(stored) else apply(before, stored)
    except (msgspec.DecodeError, *_UNREADABLE) as error:
        inspection.report("control", where, f"the record cannot be read: {error}")
        return None


def _check_record(inspection: Inspection, record: ControlRecord) -> None:
    where = f"epoch {record.epoch}"
    known = [*record.by_number, *record.peers, *record.purged]
    counts = Counter(known)
    strays = sorted({number for number in known if not 0 < number < record.next_number or counts[number] > 1})
    if strays:
        inspection.report("control", where, f"the numbers {strays} are in it twice, or not below {record.next_number}")
    if not record.hidden_peers <= record.peers:
        gone = sorted(record.hidden_peers - record.peers)
        inspection.report("control", where, f"{gone} are rolled back, but no peers")
    for deployment in record.deployments:
        strange = [
            base
            for base in deployment.bases
            if base >= deployment.number or (base not in record.by_number and base not in record.peers)
        ]
        if strange:
            inspection.report("control", f"deployment {deployment.name!r}", f"rests on {strange}, not revocable")


def check_deployments(inspection: Inspection, rows: Sequence[Any], versions: Mapping[tuple[str, str], str]) -> None:
    """Compare the table of deployments with the record, each manifest with its digest, and its versions.

    Rows are (number, name, kind, digest, manifest), in order of number; versions are digests by (key, label).
    """
    record = inspection.record
    inspection.count("deployments", len(rows))
    numbers = [row[0] for row in rows]
    if numbers != list(range(1, record.next_number)):
        missing = sorted(set(range(1, record.next_number)) ^ set(numbers))
        inspection.report("deployment", f"numbers {missing}", "the control record and the table disagree on these")
    for number, name, kind, digest, manifest in rows:
        where = f"deployment {name!r}"
        revocable = record.by_number.get(number)
        if revocable is not None and (revocable.name, revocable.kind) != (name, kind):
            inspection.report("deployment", where, f"the control record calls number {number} {revocable.name!r}")
        try:
            artifacts = decode_manifest(manifest)
        except (msgspec.DecodeError, *_UNREADABLE) as error:
            inspection.report("deployment", where, f"the manifest cannot be read: {error}")
            continue
        _check_manifest(inspection, where, (digest, artifacts), revocable)
        for key, artifact in artifacts.items():
            if artifact.version is not None and versions.get((key, artifact.version)) != artifact.digest:
                inspection.report("deployment", where, f"{key} {artifact.version!r} differs from the recorded version")


def _check_manifest(
    inspection: Inspection, where: str, stored: tuple[str, dict[str, Artifact]], revocable: Revocable | None
) -> None:
    digest, artifacts = stored
    if digest and digest != manifest_digest(artifacts):
        inspection.report("deployment", where, f"the manifest does not have its digest {digest}")
    if revocable is not None and revocable.artifacts != tuple(sorted(artifacts)):
        inspection.report("deployment", where, "the control record names other artifacts than the manifest")


def check_unfinished(inspection: Inspection, kept: Iterable[Unfinished], logged: Iterable[Unfinished]) -> None:
    """Check that the table of unfinished operations is what the log says."""
    there, true = ({one.operation: one for one in some} for some in (kept, logged))
    for operation in sorted(there.keys() | true.keys()):
        if there.get(operation) != true.get(operation):
            inspection.report(
                "unfinished", f"operation {operation}", "is not in the table of unfinished operations as the log says"
            )


def check_sessions(inspection: Inspection, rows: Iterable[Any]) -> None:
    """Check that sessions have unbroken generations and are fixed to numbers that exist.

    Rows are (session, generation, base), in order; the base is JSON text or an array.
    """
    generations: dict[str, int] = {}
    for session, generation, base in rows:
        inspection.count("sessions")
        where = f"session {session!r} generation {generation}"
        if generation != generations.get(session, 0) + 1:
            inspection.report("session", where, f"follows generation {generations.get(session, 0)}")
        generations[session] = generation
        strange = _strange_numbers(inspection, base)
        if strange is not None:
            inspection.report("session", where, f"is fixed to {strange}, which no deployment has")


def _strange_numbers(inspection: Inspection, base: Any) -> object | None:
    """Return what in a list of deployment numbers is not one, or None where all are."""
    try:
        numbers = json.loads(base) if isinstance(base, str) else base
    except _UNREADABLE:
        return base  # type: ignore[no-any-return]
    if not isinstance(numbers, list):
        return base  # type: ignore[no-any-return]
    known = range(1, inspection.record.next_number)
    return [n for n in numbers if not isinstance(n, int) or n not in known] or None
