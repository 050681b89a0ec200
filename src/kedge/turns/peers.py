"""Registration of peers, and the pseudo-deployment that stands for the messages of one."""

from typing import NamedTuple

from kedge.model import control as rules
from kedge.model import peers, transitions
from kedge.model.control import ControlRecord
from kedge.ports.control import Change, EpochMoved, Release
from kedge.support.user_warnings import warn_user
from kedge.turns.kernel import Kernel, actor


class UnknownPeerWarning(UserWarning):
    """A peer is not registered and shares `external:unknown`."""


class Standing(NamedTuple):
    """The deployment that stands for a peer now."""

    name: str
    number: int


def standing(kernel: Kernel, peer: str, why: str) -> tuple[ControlRecord, int]:
    """Return the number of the deployment that stands for a peer's new messages; stage it for a new peer."""
    record = kernel.backend.control.load()
    epoch, cached = kernel.peers.get(peer, (-1, 0))
    if epoch == record.epoch:
        return record, cached
    stamped = peer if peer == peers.UNKNOWN else _as_registered(kernel, peer)
    if stamped != peer and peer not in kernel.warned:
        kernel.warned.add(peer)
        warn_user(
            f"the peer {peer!r} is not registered, and {peers.PEERS_MAX} have registered themselves: it shares "
            f"{peers.deployment_of(stamped)!r}; register it with k.register_peer({peer!r}) or kedge peers --register",
            UnknownPeerWarning,
        )
    record, found = _staged(kernel, stamped, stamped, why)
    if stamped == peer:
        kernel.peers[peer] = record.epoch, found.number
    return record, found.number


def _as_registered(kernel: Kernel, peer: str) -> str:
    control = kernel.backend.control
    is_known = bool(control.incarnations(peers.deployment_of(peer)))
    return peers.as_registered(peer, is_known=is_known, registered=0 if is_known else control.count_peers())


def register(kernel: Kernel, peer: str, by: str | None) -> str:
    """Register a peer, and return the name of the deployment that stands for it now."""
    return _staged(kernel, peers.check_peer(peer), actor(by), "registered")[1].name


def set_rolled_back(kernel: Kernel, policy: str, by: str | None) -> None:
    """Say what happens to new messages of peers that were rolled back: they rejoin, or are refused."""
    chosen, who, operation = peers.check_rolled_back_peers(policy), actor(by), kernel.backend.clock.fresh_id()
    kernel.change(
        lambda record: Change(
            transitions.set_rolled_back_peers(record, chosen), operation, "peers", who, detail={"rolled_back": chosen}
        )
    )


def _staged(kernel: Kernel, peer: str, by: str, why: str) -> tuple[ControlRecord, Standing]:
    control, clock = kernel.backend.control, kernel.backend.clock
    while True:
        record = control.load()
        found = peers.incarnation(peer, record, control.incarnations(peers.deployment_of(peer)))
        if found.number is not None:
            return record, Standing(found.name, found.number)
        staged = transitions.stage(
            record, found.name, artifacts=(), bases=(), now=clock.now(), by=by, kind=rules.EXTERNAL
        )
        release = Release(record.next_number, found.name, rules.EXTERNAL, "", {}, ())
        change = Change(staged, clock.fresh_id(), "external", by, found.name, why, release=release)
        try:
            control.commit(change)
        except EpochMoved:
            continue
