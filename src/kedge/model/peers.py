"""Peers: unsigned senders, each with a pseudo-deployment that stands for it, `external:<peer>`."""

from collections.abc import Mapping

import msgspec

from kedge.errors import InvalidValue, PeerRefused
from kedge.model.checks import check_name
from kedge.model.control import EXTERNAL, ControlRecord

PEERS_MAX = 256  # so many register themselves
UNKNOWN = "unknown"  # what a sender without a name, and a peer that is not registered, are called
REJOIN, REFUSE = "rejoin", "refuse"
_MARK = "#"  # between the name of a peer and the number of its incarnation


class Incarnation(msgspec.Struct, frozen=True):
    """The deployment that stands for a peer now. `number` is None where it is yet to be staged."""

    name: str
    number: int | None


def check_peer(peer: object) -> str:
    """Return a valid name of a peer, or raise `InvalidValue`."""
    name = check_name("the peer", peer)
    if _MARK in name:
        raise InvalidValue(
            f"invalid peer {name!r}: {_MARK!r} separates a peer from the number of its incarnation; leave it out"
        )
    return name


def check_rolled_back_peers(policy: object) -> str:
    """Return a valid policy for the peers that were rolled back, or raise `InvalidValue`."""
    if policy not in (REJOIN, REFUSE):
        raise InvalidValue(f"invalid policy {policy!r} for rolled-back peers: must be {REJOIN!r} or {REFUSE!r}")
    return str(policy)


def deployment_of(peer: str) -> str:
    """Return the name of a peer's first pseudo-deployment."""
    return f"{EXTERNAL}:{peer}"


def as_registered(peer: str, *, is_known: bool, registered: int) -> str:
    """Return the peer to stamp: itself, or `unknown` where so many have registered themselves that it cannot."""
    return peer if peer == UNKNOWN or is_known or registered < PEERS_MAX else UNKNOWN


def incarnation_of(peer: str, count: int) -> str:
    """Return the name of a peer's pseudo-deployment by the number of its incarnation."""
    return deployment_of(peer) if count == 1 else f"{deployment_of(peer)}{_MARK}{count}"


def incarnation(peer: str, record: ControlRecord, numbers: Mapping[str, int]) -> Incarnation:
    """Return the deployment for a peer's new messages; raise `PeerRefused` where it was rolled back and is refused.

    `numbers` are those of all its incarnations. One that was rolled back, settled or purged takes no new messages: the
    next incarnation does.
    """
    count = 1
    while (name := incarnation_of(peer, count)) in numbers:
        number = numbers[name]
        if number in record.externals:
            return Incarnation(name, number)
        if number in record.rolled_back and record.rolled_back_peers == REFUSE:
            raise PeerRefused(
                f"{name!r} was rolled back, and this database refuses new messages of rolled-back peers; reinstate it, "
                f"or let them rejoin: k.set_rolled_back_peers({REJOIN!r})"
            )
        count += 1
    return Incarnation(name, None)
