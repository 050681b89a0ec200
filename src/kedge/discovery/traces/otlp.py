"""Decoder of OTLP/JSON: one document, or one element of its `resourceSpans`.

As the collector's file exporter and SDKs write it: ids in hex, or in base64 as generic protobuf encoders do; 64-bit
integers as strings or numbers; enums as numbers or names. A span that cannot be read is named, the others count.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any

import msgspec

from kedge.discovery.traces.spans import Link, Span, nanoseconds

_TRACE_BYTES, _SPAN_BYTES = 16, 8
_CLIENT = {3, "SPAN_KIND_CLIENT", 4, "SPAN_KIND_PRODUCER"}
_ERROR = {2, "STATUS_CODE_ERROR"}


class _Value(msgspec.Struct, rename="camel"):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    array_value: _Values | None = None
    kvlist_value: _Pairs | None = None
    bytes_value: str | None = None


class _Values(msgspec.Struct):
    values: list[_Value] | None = None


class _Pair(msgspec.Struct):
    key: str
    value: _Value | None = None


class _Pairs(msgspec.Struct):
    values: list[_Pair] | None = None


class _Resource(msgspec.Struct):
    attributes: list[_Pair] | None = None


class _Scope(msgspec.Struct):
    name: str | None = None


class _ScopeSpans(msgspec.Struct, rename="camel"):
    scope: _Scope | None = None
    instrumentation_library: _Scope | None = None
    spans: list[msgspec.Raw] | None = None


class ResourceSpans(msgspec.Struct, rename="camel"):
    """One element of `resourceSpans`; the second name of its spans is that of collectors before 2022."""

    resource: _Resource | None = None
    scope_spans: list[_ScopeSpans] | None = None
    instrumentation_library_spans: list[_ScopeSpans] | None = None


class _Status(msgspec.Struct):
    code: int | str | None = None


class _Link(msgspec.Struct, rename="camel"):
    trace_id: str
    span_id: str


class _Span(msgspec.Struct, rename="camel"):
    trace_id: str
    span_id: str
    parent_span_id: str | None = None
    name: str | None = None
    kind: int | str | None = None
    start_time_unix_nano: int | str | None = None
    end_time_unix_nano: int | str | None = None
    attributes: list[_Pair] | None = None
    status: _Status | None = None
    links: list[_Link] | None = None


_SPAN = msgspec.json.Decoder(_Span)
_ELEMENT = msgspec.json.Decoder(ResourceSpans)


def spans_of(element: bytes | msgspec.Raw) -> Iterator[Span | str]:
    """Yield the spans of one element of `resourceSpans`, and for each that cannot be read why."""
    found = _ELEMENT.decode(element)
    resource = _attributes(found.resource.attributes if found.resource else None)
    for group in (found.scope_spans or []) + (found.instrumentation_library_spans or []):
        scope = group.scope or group.instrumentation_library
        name = (scope.name if scope else None) or ""
        for place, raw in enumerate(group.spans or []):
            try:
                yield _span(_SPAN.decode(raw), name, resource)
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                yield f"span {place} of scope {name or '(none)'}: {error}"


def _span(given: _Span, scope: str, resource: dict[str, Any]) -> Span:
    return Span(
        trace=_id(given.trace_id, _TRACE_BYTES),
        id=_id(given.span_id, _SPAN_BYTES),
        parent=_parent(given.parent_span_id),
        name=given.name or "",
        client=given.kind in _CLIENT,
        start=nanoseconds(int(given.start_time_unix_nano or 0)),
        end=nanoseconds(int(given.end_time_unix_nano or 0)),
        error=given.status is not None and given.status.code in _ERROR,
        scope=scope,
        attributes=_attributes(given.attributes),
        resource=resource,
        links=tuple(
            Link(_id(each.trace_id, _TRACE_BYTES), _id(each.span_id, _SPAN_BYTES)) for each in given.links or ()
        ),
    )


def _parent(text: str | None) -> bytes:
    parent = _id(text, _SPAN_BYTES) if text else b""
    return parent if any(parent) else b""  # some exporters write zeros at a root


def _id(text: str, size: int) -> bytes:
    """Return an id of hex digits or base64; which one is decided by its length."""
    try:
        if len(text) == 2 * size:
            return bytes.fromhex(text)
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"invalid id {text[:40]!r}: {error}") from None
    if len(decoded) != size:
        raise ValueError(f"invalid id {text[:40]!r}: must have {size} bytes, in hex or base64")
    return decoded


def _attributes(pairs: list[_Pair] | None) -> dict[str, Any]:
    return {pair.key: _plain(pair.value) for pair in pairs or () if pair.value is not None}


def _plain(value: _Value) -> Any:
    """Return the one field of a value that is set."""
    if value.string_value is not None:
        return value.string_value
    if value.int_value is not None:
        return int(value.int_value)
    if value.bool_value is not None:
        return value.bool_value
    if value.double_value is not None:
        return float(value.double_value)
    if value.array_value is not None:
        return [_plain(each) for each in value.array_value.values or ()]
    if value.kvlist_value is not None:
        return _attributes(value.kvlist_value.values)
    return value.bytes_value
