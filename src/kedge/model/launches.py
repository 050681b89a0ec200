"""Launch as it is stored, with the lease of its pilot."""

from collections.abc import Iterable
from typing import Any

import msgspec

from kedge.errors import KedgeError


class PilotLost(KedgeError):
    """Another pilot has taken the launch over: this one changes nothing any more."""


class StoredLaunch(msgspec.Struct, frozen=True):
    """A launch: its frozen release and its state as JSON, the version of the state, and who pilots it until when.

    `done` is the last version whose actions were done, and `trouble` why one of them was not. A launch that `blocks`
    was rolled back by the guard: promotions wait for a person.
    """

    name: str
    digest: str
    release: bytes
    state: bytes
    version: int
    done: int
    phase: str
    blocks: bool
    trouble: str
    begun_at: float
    changed_at: float
    begun_by: str
    holder: str | None = None
    host: str | None = None
    until: float | None = None


class StoredRequest(msgspec.Struct, frozen=True):
    """What a person asked of a launch, as JSON."""

    number: int
    at: float
    body: bytes


class Advance(msgspec.Struct, frozen=True):
    """The next version of a launch."""

    state: bytes
    phase: str
    blocks: bool
    is_done: bool  # there is nothing to do


def decode_launch(row: Iterable[Any]) -> StoredLaunch:
    """Return a launch from its row."""
    name, digest, release, state, version, done, phase, blocks, *rest = row
    return StoredLaunch(name, digest, bytes(release), bytes(state), version, done, phase, bool(blocks), *rest)


def decode_request(row: Iterable[Any]) -> StoredRequest:
    """Return a request from its row."""
    number, at, body = row
    return StoredRequest(number, at, bytes(body))
