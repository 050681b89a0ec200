"""Headers that carry a turn to another process: W3C `baggage`, signed with HMAC-SHA256 (RFC 2104)."""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping

import msgspec

HEADER = "baggage"
MEMBER = "kedge"


class Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """The content of headers: the caller's session, view and lineage, the audience and the expiry.

    `hidden`: what of `base` it did not see any more; `speaks`: the version that its agent speaks of each schema;
    `replays`: the rank and seq of the input that the caller replays, the last turn that it replaces, and a path;
    `shared_memory`: that input is in the memory that turns without a session once shared;
    `digest`: of the one payload that it belongs to; `asks`: "sync", where the message that it answers was stale.
    """

    turn: str
    epoch: int
    base: list[int]
    lineage: list[int]
    expires: float
    session: str | None = None
    audience: str | None = None
    agent: str | None = None
    hidden: list[int] = []
    speaks: dict[str, int] = {}
    digest: str | None = None
    asks: str | None = None
    replays: tuple[int, int, int, str] | None = None
    shared_memory: bool = False


class Rejected(msgspec.Struct, frozen=True):
    """The reason why headers are not trusted, and whether they named a session."""

    why: str
    names_session: bool = False


def seal(envelope: Envelope, key: bytes) -> dict[str, str]:
    """Return the headers of an envelope."""
    body = urlsafe_b64encode(msgspec.json.encode(envelope)).rstrip(b"=")
    return {HEADER: f"{MEMBER}={body.decode()}.{_signature(body, key)}"}


def unseal(headers: Mapping[str, str], key: bytes, *, now: float, audience: str | None) -> list[Envelope | Rejected]:
    """Return the envelope of each member in headers, or the reason why it is not trusted; at least one of them.

    Automatic propagation can put several into one header: all of them count.
    """
    members = list(dict.fromkeys(_members(headers)))
    if not members:
        return [Rejected("no kedge member in the baggage header")]
    return [_unsealed(sealed, key, now, audience) for sealed in members]


def newest(envelopes: Iterable[Envelope]) -> Envelope:
    """Return the envelope to answer: one that was made for a message, else the newest."""
    return max(envelopes, key=lambda envelope: (envelope.digest is not None, envelope.epoch, envelope.expires))


def _unsealed(sealed: str, key: bytes, now: float, audience: str | None) -> Envelope | Rejected:
    if not sealed.isascii():
        return Rejected("malformed")
    body, dot, signature = sealed.rpartition(".")
    if not dot:
        return Rejected("truncated")
    envelope = _decoded(body)
    names_session = envelope is not None and envelope.session is not None
    if not hmac.compare_digest(signature.encode(), _signature(body.encode(), key).encode()):
        return Rejected("the signature does not match this database's key", names_session)
    if envelope is None:
        return Rejected("malformed")
    if envelope.expires < now:
        late = f"expired {now - envelope.expires:.0f} s ago (if that is wrong, compare the clocks of both machines)"
        return Rejected(late, names_session)
    if envelope.audience is not None and envelope.audience != audience:
        return Rejected(f"meant for {envelope.audience!r}, not {audience!r}", names_session)
    return envelope


def _decoded(body: str) -> Envelope | None:
    try:
        return msgspec.json.decode(urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=Envelope)
    except (ValueError, msgspec.DecodeError):
        return None


def _members(headers: Mapping[str, str]) -> Iterator[str]:
    for name, value in headers.items():
        if name.lower() != HEADER:
            continue
        for member in value.split(","):
            key, _, content = member.strip().partition("=")
            if key.strip() == MEMBER:
                yield content.partition(";")[0].strip()


def _signature(body: bytes, key: bytes) -> str:
    return urlsafe_b64encode(hmac.digest(key, body, hashlib.sha256)).rstrip(b"=").decode()
