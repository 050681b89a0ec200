"""Formats of trace files: each is folded to the same report, and what cannot be read is named."""

import base64
import gzip
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from kedge.discovery.traces import fold, read_traces, reading
from kedge.discovery.traces.spans import Span
from kedge.errors import InvalidValue, StorageFull
from tests.trace_files import (
    JOURNALS,
    RECORDED,
    document,
    documents,
    folded,
    journaled,
    span,
    unobservable,
    write_lines,
)

TRUTH = journaled(JOURNALS)
MIB = 1 << 20


def test_the_fold_of_a_recorded_run_equals_its_journal() -> None:
    report = read_traces(*RECORDED)
    assert folded(report) == TRUTH
    assert {each.agent_by for each in report.traffic} == {"node"}
    assert (report.bad_parts, report.duplicates, report.orphans, report.files) == (0, 0, 0, 2)


def test_what_the_run_did_and_no_span_shows_is_not_observable() -> None:
    blind = {(each.scope.rpartition(".")[2], each.what) for each in read_traces(*RECORDED).blind}
    assert unobservable(JOURNALS) == {("chroma", "read"), ("sqlite", "write")}
    assert any(scope == "chromadb" and "count()" in what for scope, what in blind)
    assert any(scope == "sqlite3" and "Connection.execute()" in what for scope, what in blind)
    assert not any(scope in {"pinecone", "lancedb"} for scope, _ in blind), "only instrumentations that sent spans"


def test_spans_in_any_order_over_many_files_and_twice_are_the_same(tmp_path: Path) -> None:
    singles = [
        {"resourceSpans": [{**resource, "scopeSpans": [{**scoped, "spans": [each]}]}]}
        for given in documents(RECORDED)
        for resource in given["resourceSpans"]
        for scoped in resource["scopeSpans"]
        for each in scoped["spans"]
    ]
    again = singles[::3]
    random.Random(4).shuffle(singles)
    parts = [singles[::2] + again, singles[1::2]]
    for number, part in enumerate(parts):
        write_lines(tmp_path / f"{number}.jsonl", part)
    report, plain = read_traces(tmp_path), read_traces(*RECORDED)
    assert report.traffic == plain.traffic
    assert (report.spans, report.duplicates, report.orphans) == (plain.spans, len(again), 0)


def _in_base64(value: Any) -> Any:
    if isinstance(value, list):
        return [_in_base64(each) for each in value]
    if isinstance(value, dict):
        return {
            key: base64.b64encode(bytes.fromhex(each)).decode() if key in {"traceId", "spanId", "parentSpanId"}
            else int(each) if key.endswith("UnixNano") else _in_base64(each)
            for key, each in value.items()
        }  # fmt: skip
    return value


def _jaeger(all_documents: list[dict[str, Any]]) -> dict[str, Any]:
    traces: dict[str, dict[str, Any]] = {}
    for resource in (each for given in all_documents for each in given["resourceSpans"]):
        tags = {tag["key"]: tag["value"]["stringValue"] for tag in resource["resource"]["attributes"]}
        process = {"serviceName": tags.pop("service.name"), "tags": [{"key": k, "value": v} for k, v in tags.items()]}
        for scoped in resource["scopeSpans"]:
            for each in scoped["spans"]:
                trace = traces.setdefault(
                    each["traceId"], {"traceID": each["traceId"].lstrip("0"), "spans": [], "processes": {"p1": process}}
                )
                trace["spans"].append(_jaeger_span(each, scoped["scope"]["name"]))
    return {"data": list(traces.values()), "total": 0, "errors": None}


def _jaeger_span(each: dict[str, Any], scope: str) -> dict[str, Any]:
    start, end = int(each["startTimeUnixNano"]) // 1000, int(each["endTimeUnixNano"]) // 1000
    tags: list[dict[str, Any]] = [{"key": "otel.scope.name", "type": "string", "value": scope}]
    tags += [{"key": a["key"], "value": next(iter(a["value"].values()))} for a in each.get("attributes", ())]
    if each.get("status", {}).get("code"):
        tags.append({"key": "error", "type": "bool", "value": True})
    trace, parent = each["traceId"].lstrip("0"), each.get("parentSpanId", "").lstrip("0")
    return {
        "traceID": trace,
        "spanID": each["spanId"].lstrip("0"),
        "operationName": each["name"],
        "references": [{"refType": "CHILD_OF", "traceID": trace, "spanID": parent}] if parent else [],
        "startTime": start,
        "duration": end - start,
        "tags": tags,
        "processID": "p1",
    }


@pytest.mark.parametrize(
    "form", ["base64", "one pretty document", "one compact document", "gzip", "jaeger", "jaeger line"]
)
def test_every_format_gives_the_same_report(tmp_path: Path, form: str) -> None:
    given = documents(RECORDED)
    whole = {"resourceSpans": [each for one in given for each in one["resourceSpans"]]}
    path = tmp_path / "spans.json"
    match form:
        case "base64":
            write_lines(path, map(_in_base64, given))
        case "one pretty document":
            path.write_text(json.dumps(whole, indent=2))
        case "one compact document":
            path.write_text(json.dumps(whole))
        case "gzip":
            path.write_bytes(gzip.compress(b"".join(each.read_bytes() for each in RECORDED)))
        case "jaeger":
            path.write_text(json.dumps(_jaeger(given), indent=4))
        case _:
            path.write_text(json.dumps(_jaeger(given)))
    report = read_traces(path)
    assert report.bad == ()
    assert folded(report) == TRUTH
    assert report.spans == read_traces(*RECORDED).spans


def test_short_ids_of_jaeger_have_leading_zeros(tmp_path: Path) -> None:
    attributes = [{"key": "gen_ai.agent.name", "value": "a"}]
    call = [{"key": "db.system", "value": "chroma"}, {"key": "db.operation", "value": "add"}]
    spans = [
        {"traceID": "abc", "spanID": "f", "operationName": "x", "tags": attributes},
        {"traceID": "0abc", "spanID": "10", "parentSpanID": "0f", "operationName": "y", "tags": call},
    ]
    path = tmp_path / "jaeger.json"
    path.write_text(json.dumps({"data": [{"traceID": "abc", "spans": spans, "processes": {}}]}))
    report = read_traces(path)
    assert report.bad == ()
    assert [(each.agent, str(each.store)) for each in report.traffic] == [("a", "chroma")]


def test_bad_parts_are_counted_and_named_and_the_rest_counts(tmp_path: Path) -> None:
    good = [json.dumps(each) for each in documents(RECORDED)]
    bad_span = document([span(1), {**span(2), "traceId": "xyz"}, {**span(3), "attributes": {"no": "list"}}])
    lines = [good[0], good[1][:-40], "no json", '{"resourceMetrics": []}', "", json.dumps(bad_span), *good[1:]]
    path = tmp_path / "spans.jsonl"
    path.write_text("\n".join(lines))
    report = read_traces(path)
    assert folded(report) == TRUTH
    assert report.bad_parts == 5
    assert [(each.place, each.file) for each in report.bad] == [
        (place, str(path)) for place in ("line 2", "line 3", "line 4", "line 6", "line 6")
    ]
    assert "invalid id 'xyz'" in report.bad[3].reason
    assert "resourceSpans" in report.bad[2].reason


def test_only_the_first_bad_parts_of_a_file_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "spans.jsonl"
    path.write_text('{"resourceSpans": []}\n' + "no json\n" * 50)
    report = read_traces(path)
    assert (report.bad_parts, len(report.bad)) == (50, 20)


@pytest.mark.parametrize(
    "content", [b"\x00\x01 binary", b"", b"[1, 2]", b'{"resourceSpans": [{"scopeSpans": [', b"\x1f\x8b\x08 damaged"]
)
def test_a_file_that_is_no_trace_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "spans.json"
    path.write_bytes(content)
    report = read_traces(path)
    assert report.spans == 0
    assert report.bad_parts == (0 if content == b"" else 1)


def test_a_line_that_is_too_long_is_named_and_the_next_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ELEMENT_BYTES", 2_000)
    short, long = document([span(1)]), document([span(2, name="x" * 6_000)])
    path = write_lines(tmp_path / "spans.jsonl", [short, long, document([span(3)])])
    report = read_traces(path)
    assert (report.spans, [each.place for each in report.bad]) == (2, ["line 2"])
    assert "smaller batches" in report.bad[0].reason


def test_an_element_that_is_too_long_is_named_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ELEMENT_BYTES", 2_000)
    parts = [document([each])["resourceSpans"][0] for each in (span(1), span(2, name='}]\\"' * 1_000), span(3))]
    path = tmp_path / "spans.json"
    path.write_text(json.dumps({"resourceSpans": parts}, indent=1))
    report = read_traces(path)
    assert (report.spans, [each.place for each in report.bad]) == (2, ["element 2"])


@pytest.mark.parametrize("size", [1, 7, 64])
def test_elements_are_split_wherever_a_chunk_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(reading, "_CHUNK", size)
    awkward = span(1, name='brackets ]}[{ and one " before ]}[{ and \\ at the end \\')
    path = tmp_path / "spans.json"
    path.write_text(
        json.dumps({"other": [{"a": []}], "resourceSpans": document([awkward, span(2)])["resourceSpans"] * 2}, indent=1)
    )
    monkeypatch.setattr(reading, "_LINES_LOOKED_AT", 1)
    report = read_traces(path)
    assert (report.spans, report.duplicates, report.bad) == (2, 2, ())


@pytest.mark.parametrize("in_lines", [True, False])
def test_a_large_file_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, in_lines: bool) -> None:
    monkeypatch.setattr(fold, "_BATCH", 10)
    parts = [document([span(number, name="x" * 30_000)]) for number in range(1, 201)]
    path = tmp_path / "spans.json"
    if in_lines:
        write_lines(path, parts)
    else:
        path.write_text(json.dumps({"resourceSpans": [part["resourceSpans"][0] for part in parts]}, indent=1))
    parts.clear()
    monkeypatch.setattr(reading, "_CHUNK", 1 << 16)
    tracemalloc.start()
    try:
        assert read_traces(path).spans == 200
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 5 * MIB
    assert peak < 2 * MIB


def test_paths_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="no file"):
        read_traces(tmp_path / "missing.json")
    with pytest.raises(InvalidValue, match="no trace file in"):
        read_traces(tmp_path)


def test_a_deployment_selects_its_calls() -> None:
    report = read_traces(*RECORDED, deployment="v2")
    assert {each.deployment for each in report.traffic} == {"v2"}
    assert folded(report) == {row: sums for row, sums in TRUTH.items() if row[4] == "v2"}


DEEP = b'{"arrayValue":{"values":[' * 3_000 + b"{}" + b"]}}" * 3_000
HOSTILE = {
    "nested deeply": b'{"resourceSpans":' + b"[" * 100_000,
    "a value nested deeply": json.dumps(document([span(1, x="here")]))
    .encode()
    .replace(b'{"stringValue": "here"}', DEEP),
    "a time of a thousand years": json.dumps(document([span(1, start=10**30)])).encode(),
    "bytes between elements": b'{"resourceSpans":[\xff\xfe]}\n',
    "half of a character": json.dumps(document([span(1, gen_ai__agent__name="\ud800")])).encode(),
}
STRANGE: dict[str, dict[str, Any]] = {
    "lists for texts": {
        "db__system": ["x"],
        "rpc__service": [1],
        "gen_ai__operation__name": [1],
        "messaging__system": [1],
    },
    "numbers for texts": {"db__system": 3, "openinference__span__kind": 1, "traceloop__span__kind": True},
    "a list for a service": {"rpc__service": [1], "gen_ai__operation__name": ["chat"]},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_content_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "spans.json"
    path.write_bytes(HOSTILE[name])
    report = read_traces(path)
    assert (report.spans, report.bad_parts) == (0, 1)


@pytest.mark.parametrize("name", STRANGE)
def test_attributes_of_other_types_are_read(tmp_path: Path, name: str) -> None:
    report = read_traces(write_lines(tmp_path / "spans.jsonl", [document([span(1, **STRANGE[name])])]))
    assert (report.spans, report.bad_parts) == (1, 0)


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """SQLite says so when its temporary file cannot grow; here, a limit of its pages does."""
    path = tmp_path / "spans.jsonl"
    path.write_text(json.dumps(document([span(number) for number in range(1, 3_000)])))
    full = fold.Fold()
    full._database.execute("PRAGMA max_page_count = 20")
    spans = [each for each in reading.read_spans(path) if isinstance(each, Span)]
    with pytest.raises(StorageFull, match="set TMPDIR"), full:
        list(map(full.add, spans))
