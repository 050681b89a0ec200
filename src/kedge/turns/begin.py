"""How a turn begins: what its view is fixed to, whose lineage it takes on, and what its agent's artifacts are."""

from collections.abc import Mapping

import msgspec

from kedge.errors import InvalidValue, SessionBegun
from kedge.model import control as rules
from kedge.model import envelope as envelopes
from kedge.model.checks import check_name
from kedge.model.control import ControlRecord
from kedge.model.envelope import Envelope, Rejected
from kedge.model.lineage import EMPTY, Lineage
from kedge.model.reads import RangeRead
from kedge.model.visibility import View
from kedge.ports.control import Change, EpochMoved, Release
from kedge.stores.scope import Scope
from kedge.turns.artifact_cache import AgentArtifacts
from kedge.turns.kernel import Kernel
from kedge.turns.messages import Sender


class Opened(msgspec.Struct, frozen=True):
    """A sender's headers: their envelope, or, where it cannot be trusted, the record that knows who stands for it."""

    sender: Sender
    influences: Lineage
    envelope: Envelope | None = None
    record: ControlRecord | None = None


class Beginning(msgspec.Struct, frozen=True):
    """What a turn is fixed to (`base`), and what it has taken on: from `parent`, its caller's turn, if it has one."""

    record: ControlRecord
    session: str | None
    base: frozenset[int]
    influences: Lineage = EMPTY
    parent: str | None = None
    sender: Sender | None = None


def open_headers(kernel: Kernel, headers: Mapping[str, str], peer: str | None, audience: str | None) -> Opened:
    """Return what headers say; those that cannot be trusted influence whoever takes them, as `external:<peer>`."""
    _check_headers(headers)
    if peer is not None:
        check_name("the peer", peer)
    opened = envelopes.unseal(headers, kernel.header_key, now=kernel.backend.clock.now(), audience=audience)
    if isinstance(opened, Rejected):
        record, number = _external(kernel, peer or "unknown", opened.why)
        return Opened(Sender(f"external:{peer or 'unknown'}", None, opened.why), frozenset({number}), record=record)
    return Opened(Sender(opened.agent or "nobody", opened), frozenset(opened.lineage), opened)


def begin(kernel: Kernel, session: str | None, deployment: str | None, caller: Opened | None) -> Beginning:
    """Return what a turn begins with, in a session or in none, in a deployment or with a caller."""
    influences, sender = (EMPTY, None) if caller is None else (caller.influences, caller.sender)
    envelope = None if caller is None else caller.envelope
    if envelope is not None:
        if deployment is not None:
            raise InvalidValue(
                f"deployment={deployment!r} came with parent=: a callee sees what its caller sees; leave it out"
            )
        if session is None or session == envelope.session:
            record, base = kernel.backend.control.load(), frozenset(envelope.base)
            return Beginning(record, envelope.session, base, influences, envelope.turn, sender)
    record, base = _fixed_base(kernel, session, deployment)
    return Beginning(record, session, base, influences, None if envelope is None else envelope.turn, sender)


def _fixed_base(kernel: Kernel, session: str | None, deployment: str | None) -> tuple[ControlRecord, frozenset[int]]:
    if session is None:  # what is named may have been staged elsewhere, a moment ago
        record = kernel.record() if deployment is None else kernel.backend.control.load()
        deployment = kernel.opened(record, deployment)
        opened = EMPTY if deployment is None else record.closure({rules.open_in(record, deployment)})
        return record, record.live | opened
    deployment = kernel.opened(kernel.backend.control.load(), deployment) if deployment is not None else None
    record, fixed = kernel.session(session, deployment)
    if deployment is not None and rules.open_in(record, deployment) not in fixed.base:
        raise SessionBegun(
            f"session {session!r} began without {deployment!r}, and is never split between views; "
            "open another session, or k.refresh() this one"
        )
    return record, fixed.base


def _external(kernel: Kernel, peer: str, why: str) -> tuple[ControlRecord, int]:
    """Return the number of the pseudo-deployment that stands for a peer, staging it where it is new."""
    control, clock = kernel.backend.control, kernel.backend.clock
    while True:
        record = control.load()
        revocable = {d.name: d.number for d in record.deployments}
        gone = set(control.names().values()) - set(revocable)
        name, suffix = f"external:{peer}", 2
        while name in gone:  # settled or purged, and names are never used twice
            name, suffix = f"external:{peer}#{suffix}", suffix + 1
        if name in revocable:
            return record, revocable[name]
        staged = rules.stage(record, name, artifacts=(), bases=(), now=clock.now(), by=peer, kind=rules.EXTERNAL)
        release = Release(record.next_number, name, rules.EXTERNAL, "", {}, ())
        change = Change(staged, clock.fresh_id(), "external", peer, name, why, release=release)
        try:
            control.commit(change)
        except EpochMoved:
            continue


def own_artifacts(kernel: Kernel, reader: Scope, view: View, agent: str) -> AgentArtifacts:
    """Return what lies under an agent's name: no record but a newer one changes it."""
    own = kernel.artifact_cache.of(view, agent)
    if own is None:
        prefix = f"{agent}/"
        found, view = reader.read(lambda now: (kernel.backend.journal.range(now, "artifacts", "", prefix), now))
        read = RangeRead("artifacts", "", prefix, found.at_seq)
        own = AgentArtifacts(found.heads, read, frozenset({head.lineage for head in found.heads} | found.tombstones))
        kernel.artifact_cache.keep(view, agent, own)
    return own


def _check_headers(headers: object) -> None:
    """Raise `InvalidValue` unless these are headers: names and values that are strings."""
    if not isinstance(headers, Mapping):
        raise InvalidValue(f"headers must be a mapping of strings to strings, not {headers!r:.80}; pass the whole dict")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidValue(f"the header {name!r}: {value!r:.80} is not a string to a string; decode it first")
