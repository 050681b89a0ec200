"""Recorded traces of the two agents in tests/hosts/traced_team.py, and what their journals say a fold must find."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kedge.discovery.traces import TraceReport

FIXTURES = Path(__file__).parent / "fixtures" / "traces"
RECORDED = (FIXTURES / "team_v1.jsonl", FIXTURES / "team_v2.jsonl")
JOURNALS = (FIXTURES / "team_v1.journal.json", FIXTURES / "team_v2.journal.json")
NAMELESS = {"chroma"}  # whose instrumentation does not tell the collection
_FIELDS = frozenset({"trace", "name", "kind", "start", "end", "error", "links"})

Row = tuple[str, str, str, str, str]


def journaled(paths: Iterable[Path]) -> dict[Row, tuple[int, int, int]]:
    """Return calls, errors and sessions of each row that the instrumentations can observe."""
    calls: Counter[Row] = Counter()
    errors: Counter[Row] = Counter()
    sessions: dict[Row, set[str]] = {}
    for call in (call for path in paths for call in json.loads(path.read_text()) if call["observable"]):
        collection = "" if call["store"] in NAMELESS else call["collection"]
        row = (call["agent"], call["store"], collection, call["access"], call["deployment"])
        calls[row] += 1
        errors[row] += call["error"]
        sessions.setdefault(row, set()).add(call["session"])
    return {row: (calls[row], errors[row], len(sessions[row])) for row in calls}


def folded(report: TraceReport) -> dict[Row, tuple[int, int, int]]:
    """Return the same of a report."""
    return {
        (each.agent, each.store.family, each.store.collection, each.access, each.deployment): (
            each.calls, each.errors, each.sessions,
        )
        for each in report.traffic
    }  # fmt: skip


def unobservable(paths: Iterable[Path]) -> set[tuple[str, str]]:
    """Return the stores and accesses of calls that leave no span."""
    calls = (call for path in paths for call in json.loads(path.read_text()))
    return {(call["store"], call["access"]) for call in calls if not call["observable"]}


def documents(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the documents of files of lines."""
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def span(number: int, parent: int = 0, **given: Any) -> dict[str, Any]:
    """Return a span of OTLP/JSON.

    `trace`, `name`, `kind`, `start`, `end`, `error` and `links` are its fields, the others attributes: `__` in their
    names stands for a dot.
    """
    fields = {"trace": 1, "name": "", "kind": 1, "start": 0, "end": 0, "error": False, "links": (), **given}
    attributes = {key: value for key, value in given.items() if key not in _FIELDS}
    return {
        "traceId": f"{fields['trace']:032x}",
        "spanId": f"{number:016x}",
        "parentSpanId": f"{parent:016x}" if parent else "",
        "name": fields["name"],
        "kind": fields["kind"],
        "startTimeUnixNano": str(fields["start"]),
        "endTimeUnixNano": str(fields["end"]),
        "status": {"code": 2} if fields["error"] else {},
        "links": [{"traceId": f"{trace:032x}", "spanId": f"{linked:016x}"} for trace, linked in fields["links"]],
        "attributes": [{"key": key.replace("__", "."), "value": value_of(value)} for key, value in attributes.items()],
    }


def value_of(value: Any) -> dict[str, Any]:
    """Return a value as OTLP/JSON writes it."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, list):
        return {"arrayValue": {"values": [value_of(each) for each in value]}}
    return {"stringValue": value}


def document(spans: Iterable[dict[str, Any]], *, scope: str = "test", **resource: Any) -> dict[str, Any]:
    """Return a document of OTLP/JSON with these spans."""
    attributes = [{"key": key.replace("__", "."), "value": value_of(value)} for key, value in resource.items()]
    scoped = [{"scope": {"name": scope}, "spans": list(spans)}]
    return {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": scoped}]}


def write_lines(path: Path, all_documents: Iterable[dict[str, Any]]) -> Path:
    """Write documents, one a line."""
    path.write_text("".join(json.dumps(each) + "\n" for each in all_documents))
    return path
