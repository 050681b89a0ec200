"""Requests for approval: of one call of a tool, or of a change that loosens; each decided once, by a person."""

import hashlib
import json
from typing import Any, Literal

import msgspec

from kedge.errors import InvalidValue
from kedge.model.ladder import EVERYTHING, LevelEntry, Scope
from kedge.support.display import Value, brief, one_line

REQUEST_SECONDS = 900.0  # a request that nobody decides is denied after so long
KEPT_SECONDS = 30 * 86_400.0  # requests that were decided or have expired are deleted after so long
_CALL_MAX = 1_000  # characters of a call that its request shows

RequestKind = Literal["act", "loosen", "presets", "two_persons"]
RequestStatus = Literal["pending", "approved", "used", "denied"]


class LevelRequest(Value, frozen=True):
    """A request: who asks for what, and how it was decided.

    `since`: when it was made or, once approved, when that was. From then on it is valid for `seconds`, of which those
    do not count in which the level allows no approved acts. `about` is what it is bound to; `token` says who decided.
    """

    id: str
    kind: RequestKind
    about: str
    by: str
    since: float
    reason: str = ""
    status: RequestStatus = "pending"
    decided_by: str | None = None
    seconds: float = REQUEST_SECONDS
    entry: LevelEntry | None = None
    agent: str | None = None
    session: str | None = None
    tool: str | None = None
    reversibility: str | None = None
    call: str = ""  # its parameters as JSON, cut
    seen: tuple[int, ...] = ()
    presets: dict[str, dict[str, Any]] | None = None
    token: str = ""

    def __repr__(self) -> str:
        """Return one line."""
        told = {"id": self.id, "kind": self.kind, "what": self.what, "by": self.by, "status": self.status}
        return one_line("LevelRequest", told.items())

    @property
    def what(self) -> str:
        """What it asks for, in words."""
        if self.kind == "act":
            where = f" in session {brief(self.session)}" if self.session is not None else ""
            return f"{brief(self.agent)} asks to call {brief(self.tool)}{where}" + (
                f": {self.call}" if self.call else ""
            )
        if self.kind == "loosen" and self.entry is not None:
            return f"lift {self.entry.id}: {self.entry.level} for {self.entry.scope}, set by {self.entry.by}"
        return "set the rights of levels" if self.kind == "presets" else "require two persons no longer"

    @property
    def scope(self) -> Scope:
        """What it concerns."""
        if self.kind == "act":
            return Scope("session", self.session) if self.session else Scope("feature", self.agent or "")
        return EVERYTHING if self.entry is None else self.entry.scope


def call_text(call: object) -> str:
    """Return the parameters of a call as canonical JSON, or raise `InvalidValue`."""
    if call is None:
        return ""
    try:
        return json.dumps(call, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"invalid call {brief(call)}: {error}; pass the parameters as JSON values") from None


def about_call(agent: str | None, session: str | None, tool: str | None, reversibility: str | None, text: str) -> str:
    """Return what an approval of one call is bound to: agent, session, tool, class and all parameters, as a digest."""
    bound = json.dumps(["act", agent, session, tool, reversibility, text], ensure_ascii=False)
    return hashlib.sha256(bound.encode("utf-8", "surrogatepass")).hexdigest()


def cut(text: str) -> str:
    """Return as much of a call's parameters as its request shows."""
    return text if len(text) <= _CALL_MAX else f"{text[: _CALL_MAX - 1]}…"


_DECODER = msgspec.json.Decoder(LevelRequest)


def encode(request: LevelRequest) -> bytes:
    """Return a request as it is stored."""
    return msgspec.json.encode(request)


def decode(stored: bytes) -> LevelRequest:
    """Return a stored request."""
    return _DECODER.decode(stored)
