"""Assignment of sessions: which deployments a new session sees, by hash and weight."""

import hashlib

from kedge.model.control import ControlRecord, Status
from kedge.model.transitions import illegal


def joins_canary(deployment: str, session: str, weight: float) -> bool:
    """Return whether a session is in a canary: SHA-256 of (deployment, session), as a fraction, is below the weight."""
    hashed = hashlib.sha256(f"{deployment}\0{session}".encode()).digest()
    return int.from_bytes(hashed[:8], "big") / 2**64 < weight


def assign(record: ControlRecord, session: str, opened_with: str | None = None) -> frozenset[int]:
    """Return the deployments that a session that begins now is fixed to. Every view sees peers: they are left out."""
    base = set(record.live - record.externals)
    taken: set[str] = set()
    if opened_with is not None:
        number = open_in(record, opened_with)
        base |= record.closure({number})
        taken |= set(record.by_number[number].artifacts)
    for deployment in record.deployments:
        if deployment.status is not Status.CANARY or deployment.number in record.rolled_back:
            continue
        if taken.isdisjoint(deployment.artifacts) and joins_canary(deployment.name, session, deployment.weight):
            base |= record.closure({deployment.number})
            taken |= set(deployment.artifacts)
    return frozenset(base)


def assign_any(record: ControlRecord) -> frozenset[int]:
    """Return the deployments that every session that begins now is fixed to: canaries of all sessions included."""
    base, taken = set(record.live - record.externals), set[str]()
    for deployment in record.deployments:
        whole = deployment.status is Status.CANARY and deployment.weight >= 1 and deployment.number in record.revocable
        if whole and taken.isdisjoint(deployment.artifacts):
            base |= record.closure({deployment.number})
            taken |= set(deployment.artifacts)
    return frozenset(base)


def open_in(record: ControlRecord, name: str) -> int:
    """Return the number of a deployment that a turn may be opened in, or raise."""
    deployment = record.find(name)
    if deployment.number in record.rolled_back:
        raise illegal(name, Status.ROLLED_BACK, "open a turn in")
    return deployment.number
