"""Turn start: the base that a turn's view is fixed to, the caller's lineage, and the agent's own artifacts."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from kedge.errors import InvalidValue, SessionBegun
from kedge.model import assignment
from kedge.model import envelope as envelopes
from kedge.model.control import ControlRecord
from kedge.model.envelope import Envelope, Rejected
from kedge.model.lineage import EMPTY, Lineage
from kedge.model.peers import UNKNOWN, check_peer, deployment_of
from kedge.model.reads import RangeRead
from kedge.model.session_settings import NOTHING_ASKED, Asked
from kedge.model.visibility import View
from kedge.turns import peers, session_assignment
from kedge.turns.artifact_cache import NO_ARTIFACTS, AgentArtifacts
from kedge.turns.kernel import Kernel
from kedge.turns.messages import Sender
from kedge.turns.replaying import Replays

Read = Callable[[Callable[[View], Any]], Any]
_IMPOSED = "\0view"  # in the cache of artifacts: no agent has this name


class OpenedHeaders(msgspec.Struct, frozen=True):
    """Headers after their check: the sender and its lineage, which is that of all members together.

    `envelopes` are the trusted ones. Where one is not trusted, `record` is set: it holds the pseudo-deployment that
    stands for the peer.
    """

    sender: Sender
    lineage: Lineage
    envelopes: tuple[Envelope, ...] = ()
    distrust: str = ""  # why headers that named a session are not trusted
    record: ControlRecord | None = None


class TurnStart(msgspec.Struct, frozen=True):
    """What a turn starts from: the deployments its view is fixed to (`base`), and its caller's lineage and turn id."""

    record: ControlRecord
    session: str | None
    base: frozenset[int]
    lineage: Lineage = EMPTY
    parent: str | None = None
    sender: Sender | None = None
    distrust: str = ""
    others: tuple[str, ...] = ()  # the ids of further callers' turns
    replays: Replays | None = None
    continues: bool = False  # where a deployment that it does not see is settled


def open_headers(kernel: Kernel, headers: Mapping[str, str], peer: str | None, audience: str | None) -> OpenedHeaders:
    """Check headers. Those that cannot be trusted have the lineage of a pseudo-deployment, `external:<peer>`."""
    _check_headers(headers)
    name = UNKNOWN if peer is None else check_peer(peer)
    members = envelopes.unseal(headers, kernel.header_key, now=kernel.backend.clock.now(), audience=audience)
    trusted = tuple(member for member in members if isinstance(member, Envelope))
    rejected = [member for member in members if isinstance(member, Rejected)]
    lineage = EMPTY.union(*(envelope.lineage for envelope in trusted))
    record = None
    if rejected:
        record, number = peers.standing(kernel, name, rejected[0].why)
        lineage |= {number}
    if trusted:
        answered = envelopes.newest(trusted)
        return OpenedHeaders(Sender(answered.agent or "nobody", answered), lineage, trusted, record=record)
    distrust = next((member.why for member in rejected if member.names_session), "")
    sender = Sender(deployment_of(name), None, rejected[0].why)
    return OpenedHeaders(sender, lineage, distrust=distrust, record=record)


def callers(caller: OpenedHeaders | None, session: str | None) -> tuple[Envelope | None, tuple[str, ...]]:
    """Return the caller whose view a turn joins, and the ids of the other callers' turns; raise for two sessions."""
    if caller is None or not caller.envelopes:
        return None, ()
    sessions_named = sorted({envelope.session for envelope in caller.envelopes if envelope.session is not None})
    if len(sessions_named) > 1 and session not in sessions_named:
        raise InvalidValue(
            f"the headers name {len(sessions_named)} sessions ({', '.join(map(repr, sessions_named))}): a turn works "
            "in one; give session=, or pass the headers of one caller"
        )
    wanted = session if session in sessions_named else next(iter(sessions_named), None)
    chosen = envelopes.newest(envelope for envelope in caller.envelopes if envelope.session == wanted)
    return chosen, tuple(envelope.turn for envelope in caller.envelopes if envelope is not chosen)


def begin(
    kernel: Kernel,
    session: str | None,
    deployment: str | None,
    caller: OpenedHeaders | None,
    asked: Asked = NOTHING_ASKED,
    *,
    keeps_ended: bool = False,
) -> TurnStart:
    """Return what a turn starts from. A callee joins its caller's view and session; other turns follow the session.

    `asked` are the settings of the session; with `keeps_ended`, one that has ended does not begin anew.
    """
    kernel.check_present()
    lineage, sender = (EMPTY, None) if caller is None else (caller.lineage, caller.sender)
    envelope, others = callers(caller, session)
    if envelope is not None:
        if deployment is not None:
            raise InvalidValue(
                f"deployment={deployment!r} cannot be combined with parent=: a callee sees what its caller sees; "
                "leave deployment= out"
            )
        if session is None or session == envelope.session:
            if envelope.session is not None:
                session_assignment.check(kernel, envelope.session, asked)
            record, base = kernel.backend.control.load(), frozenset(envelope.base)
            replays = None
            if envelope.replays is not None:
                replays = Replays(*envelope.replays, shared_memory=envelope.shared_memory)
            return TurnStart(
                record, envelope.session, base, lineage, envelope.turn, sender, others=others, replays=replays
            )
    record, base = _fixed_base(kernel, session, deployment, asked, keeps_ended=keeps_ended)
    distrust = "" if caller is None else caller.distrust
    parent = None if envelope is None else envelope.turn
    return TurnStart(record, session, base, lineage, parent, sender, distrust, others)


def _fixed_base(
    kernel: Kernel, session: str | None, deployment: str | None, asked: Asked, *, keeps_ended: bool
) -> tuple[ControlRecord, frozenset[int]]:
    if session is None:  # load the record for a named deployment: another process may have just staged it
        record = kernel.record() if deployment is None else kernel.backend.control.load()
        deployment = kernel.openable(record, deployment)
        opened = EMPTY if deployment is None else record.closure({assignment.open_in(record, deployment)})
        return record, record.live | opened
    deployment = kernel.openable(kernel.backend.control.load(), deployment) if deployment is not None else None
    record, fixed = session_assignment.assign(kernel, session, deployment, asked=asked, keeps_ended=keeps_ended)
    if deployment is not None and assignment.open_in(record, deployment) not in fixed.base:
        raise SessionBegun(
            f"session {session!r} began without {deployment!r}, and its view is fixed at its first turn; "
            "use another session, or call k.refresh() on this one"
        )
    return record, fixed.base


def own_artifacts(kernel: Kernel, read: Read, view: View, agent: str) -> AgentArtifacts:
    """Return the artifacts under an agent's name; cached, since only a newer control record changes them.

    `read` calls a look with the turn's view, as `Scope.read` does.
    """
    own = kernel.artifact_cache.get(view, agent)
    if own is None:
        prefix = f"{agent}/"
        found, view = read(lambda now: (kernel.backend.journal.range(now, "artifacts", "", prefix), now))
        ranged = RangeRead("artifacts", "", prefix, found.at_seq)
        own = AgentArtifacts(found.heads, ranged, frozenset({head.lineage for head in found.heads} | found.tombstones))
        kernel.artifact_cache.put(view, agent, own)
    return own


def imposed_artifacts(kernel: Kernel, record: ControlRecord, view: View) -> AgentArtifacts:
    """Return the artifacts that every agent's turn reads: those of the seen deployments that influence by view.

    Their lineages hold each such deployment, also where newer ones have replaced its artifacts: as long as a view sees
    it, nothing says that it has no influence. `record` is the one of the view.
    """
    seen = view.seen & record.attributed_by_view
    if not seen:
        return NO_ARTIFACTS
    cached = kernel.artifact_cache.get(view, _IMPOSED)
    if cached is None:
        journal = kernel.backend.journal
        keys = sorted({key for number in seen for key in record.by_number[number].artifacts})
        heads = list(journal.heads(view, "artifacts", "", keys).values())
        for number in sorted(seen.difference(*(head.lineage for head in heads))):  # replaced: as it is by itself
            alone = View(view.epoch, record.closure({number}), view.settled)
            found = journal.heads(alone, "artifacts", "", record.by_number[number].artifacts)
            heads += [head for head in found.values() if number in head.lineage]
        cached = AgentArtifacts(heads, NO_ARTIFACTS.read, frozenset({seen, *(head.lineage for head in heads)}))
        kernel.artifact_cache.put(view, _IMPOSED, cached)
    return cached


def _check_headers(headers: object) -> None:
    """Raise `InvalidValue` unless these are headers: a mapping of strings to strings."""
    if not isinstance(headers, Mapping):
        raise InvalidValue(
            f"invalid headers {headers!r:.80}: must be a mapping of strings to strings, as turn.headers() returns; "
            "parent= and absorb() also take a turn of this process"
        )
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidValue(
                f"invalid header {name!r}: {value!r:.80}: name and value must be strings; decode them first"
            )
