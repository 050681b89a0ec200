"""Decoder of Jaeger JSON: one trace of the `data` array that Jaeger's UI and API export."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from kedge.discovery.traces.spans import Link, Span, nanoseconds

_TRACE_DIGITS, _SPAN_DIGITS = 32, 16
_MICROSECOND = 1000  # in nanoseconds
_SCOPE_TAGS = ("otel.scope.name", "otel.library.name")


class _Tag(msgspec.Struct):
    key: str
    value: Any = None


class _Reference(msgspec.Struct, rename={"kind": "refType", "trace_id": "traceID", "span_id": "spanID"}):
    trace_id: str
    span_id: str
    kind: str = "CHILD_OF"


class _Span(
    msgspec.Struct,
    rename={
        "trace_id": "traceID",
        "span_id": "spanID",
        "parent_id": "parentSpanID",
        "name": "operationName",
        "start": "startTime",
        "process_id": "processID",
    },
):
    trace_id: str
    span_id: str
    parent_id: str | None = None
    name: str | None = None
    references: list[_Reference] | None = None
    start: int = 0
    duration: int = 0
    tags: list[_Tag] | None = None
    process_id: str | None = None
    process: _Process | None = None


class _Process(msgspec.Struct, rename={"service": "serviceName"}):
    service: str | None = None
    tags: list[_Tag] | None = None


class _Trace(msgspec.Struct):
    spans: list[msgspec.Raw] | None = None
    processes: dict[str, _Process] | None = None


_TRACE = msgspec.json.Decoder(_Trace)
_SPAN = msgspec.json.Decoder(_Span)


def spans_of(element: bytes | msgspec.Raw) -> Iterator[Span | str]:
    """Yield the spans of one trace, and for each that cannot be read why."""
    found = _TRACE.decode(element)
    resources = {name: _resource(process) for name, process in (found.processes or {}).items()}
    for place, raw in enumerate(found.spans or ()):
        try:
            yield _span(_SPAN.decode(raw), resources)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            yield f"span {place}: {error}"


def _span(given: _Span, resources: dict[str, dict[str, Any]]) -> Span:
    tags = {tag.key: tag.value for tag in given.tags or ()}
    trace = _id(given.trace_id, _TRACE_DIGITS)
    references = given.references or []
    parents = [each for each in references if each.kind == "CHILD_OF" and _id(each.trace_id, _TRACE_DIGITS) == trace]
    parent = parents[0].span_id if parents else given.parent_id
    return Span(
        trace=trace,
        id=_id(given.span_id, _SPAN_DIGITS),
        parent=_id(parent, _SPAN_DIGITS) if parent and parent.strip("0") else b"",
        name=given.name or "",
        client=str(tags.get("span.kind")) in {"client", "producer"},
        start=nanoseconds(given.start * _MICROSECOND),
        end=nanoseconds((given.start + given.duration) * _MICROSECOND),
        error=str(tags.get("error", "")).lower() == "true" or str(tags.get("otel.status_code")) == "ERROR",
        scope=next((str(tags[name]) for name in _SCOPE_TAGS if name in tags), ""),
        attributes=tags,
        resource=_resource(given.process) if given.process else resources.get(given.process_id or "", {}),
        links=tuple(
            Link(_id(each.trace_id, _TRACE_DIGITS), _id(each.span_id, _SPAN_DIGITS))
            for each in references
            if each not in parents
        ),
    )


def _resource(process: _Process) -> dict[str, Any]:
    tags = {tag.key: tag.value for tag in process.tags or ()}
    return {**tags, "service.name": process.service} if process.service else tags


def _id(text: str, digits: int) -> bytes:
    """Return an id of hex digits; Jaeger leaves out leading zeros."""
    if len(text) > digits:
        raise ValueError(f"invalid id {text[:40]!r}: must have at most {digits} hex digits")
    return bytes.fromhex(text.zfill(digits))
