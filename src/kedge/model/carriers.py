"""Carriers of a turn's headers: HTTP requests, the metadata of A2A messages, the `_meta` of MCP requests.

Each function returns a copy. What is taken from a message is whatever may be ours; whether it is to be trusted,
`k.turn(parent=…)` and `turn.absorb(…)` decide, and what they do not trust counts as `external:<peer>`.
"""

from collections.abc import Mapping
from typing import Any

from kedge.model.envelope import HEADER, MEMBER

# A2A 1.0, "Extensions": a message lists the URIs of its extensions, and each has its place in `metadata` by its URI.
A2A_EXTENSION = "urn:kedge:envelope:v1"
# MCP, SEP-414: `_meta` reserves the unprefixed key `baggage` for a value in the format of W3C Baggage.
_META = "_meta"


def to_http(headers: Mapping[str, str], request: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a request's headers with Kedge's added; other members of its `baggage` stay."""
    others = dict(request or {})
    found = next((name for name in others if name.lower() == HEADER), HEADER)
    return {**others, found: _merged(headers, others.get(found))}


def from_http(request: Mapping[str, str]) -> dict[str, str]:
    """Return Kedge's headers from a request's; several `baggage` headers count as one."""
    found = [value for name, value in request.items() if name.lower() == HEADER and isinstance(value, str)]
    return {HEADER: ",".join(found)} if found else {}


def to_a2a(headers: Mapping[str, str], message: Mapping[str, Any]) -> dict[str, Any]:
    """Return an A2A message with the headers in its metadata; send `A2A-Extensions` with the same URI."""
    listed = [uri for uri in message.get("extensions") or () if uri != A2A_EXTENSION]
    present = message.get("metadata")
    metadata = {**(present if isinstance(present, Mapping) else {}), A2A_EXTENSION: {HEADER: headers.get(HEADER, "")}}
    return {**message, "extensions": [*listed, A2A_EXTENSION], "metadata": metadata}


def from_a2a(message: Mapping[str, Any]) -> dict[str, str]:
    """Return Kedge's headers from an A2A message."""
    return _baggage(_within(message, "metadata", A2A_EXTENSION))


def to_mcp(headers: Mapping[str, str], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the params of an MCP request, or its result, with the headers in `_meta`; other baggage there stays."""
    present = params.get(_META)
    meta = present if isinstance(present, Mapping) else {}
    return {**params, _META: {**meta, HEADER: _merged(headers, meta.get(HEADER))}}


def from_mcp(params: Mapping[str, Any]) -> dict[str, str]:
    """Return Kedge's headers from the params of an MCP request, or its result."""
    return _baggage(_within(params, _META))


def _merged(headers: Mapping[str, str], present: object) -> str:
    """Return a baggage value with Kedge's member, which replaces one of that name."""
    others = [each.strip() for each in present.split(",")] if isinstance(present, str) else []
    kept = [each for each in others if each and each.partition("=")[0].strip() != MEMBER]
    return ",".join([*kept, headers.get(HEADER, "")]).strip(",")


def _within(message: object, *path: str) -> object:
    found = message
    for part in path:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _baggage(found: object) -> dict[str, str]:
    value = found.get(HEADER) if isinstance(found, Mapping) else None
    return {HEADER: value} if isinstance(value, str) else {}
