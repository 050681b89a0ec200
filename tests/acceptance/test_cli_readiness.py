"""Command readiness."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import kedge
from tests.acceptance.cli import Run

CODE = """
import qdrant_client

client = qdrant_client.QdrantClient(url="http://localhost:6333")


def store(points):
    client.upsert("kb", points)
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "app.py").write_text(CODE)
    return folder


def test_a_report_names_what_to_change_first(run_nowhere: Run, app: Path) -> None:
    shown = run_nowhere("readiness", str(app))
    assert shown.code == 0
    for part in ("qdrant", "snapshot", "Change first", "app.py:4", "on Kedge"):
        assert part in shown.out, part
    document = run_nowhere("readiness", str(app), "--json").document
    assert [store["store"] for store in document["stores"]] == ["qdrant"]
    assert document["score"] < 50
    assert document["prediction"]["dominating"] == "qdrant (remote)"


def test_settings_beside_the_code_change_the_score(run_nowhere: Run, app: Path, tmp_path: Path) -> None:
    before = run_nowhere("readiness", str(app), "--json").document
    (app / "kedge.toml").write_text(
        '[readiness]\ndetect = "1m"\n'
        '[readiness.stores.qdrant]\nbytes = "1 GB"\nrows = 1000\nholds = true\nisolated = true\n'
    )
    after = run_nowhere("readiness", str(app), "--json").document
    assert after["score"] > before["score"]
    assert not any(text.startswith("detection") for text in after["assumed"])
    other = tmp_path / "other.toml"
    other.write_text("[readiness]\nslow = 1\n")
    wrong = run_nowhere("readiness", str(app), "--config", str(other))
    assert (wrong.code, "unknown key 'slow'" in wrong.err) == (2, True)


def test_several_repositories_are_one_report(run_nowhere: Run, app: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "cache.py").write_text(
        CODE.replace("qdrant_client", "chromadb").replace("QdrantClient(url=", "HttpClient(")
    )
    document = run_nowhere("readiness", str(app), str(other), "--json").document
    assert {store["store"] for store in document["stores"]} == {"qdrant", "chroma"}
    places = {fix["where"].partition("/")[0] for fix in document["todo"]}
    assert places == {"app", "other"}


@pytest.mark.parametrize(("least", "code"), [("0", 0), ("100", 3)])
def test_a_pipeline_fails_below_a_score(run_nowhere: Run, app: Path, least: str, code: int) -> None:
    assert run_nowhere("readiness", str(app), "--fail-under", least).code == code
    assert run_nowhere("readiness", str(app), "--fail-under", least, "--json").code == code


def test_a_database_stands_for_its_sites(run_nowhere: Run, app: Path, world: Path) -> None:
    (app / "kept.py").write_text("import kedge\n\nk = kedge.open('state')\n")
    named = [each["store"] for each in run_nowhere("readiness", str(app), "--json").document["stores"]]
    assert "kedge" in named
    with kedge.open(world) as k:
        own = {store.store: store.score for store in k.guard.readiness().stores}
    found = run_nowhere("readiness", str(app), "--db", str(world), "--json").document["stores"]
    assert {each["store"]: each["score"] for each in found if each["store"] != "qdrant"} == own
    assert run_nowhere("readiness", str(app), "--db", str(app / "none")).code == 2


def test_no_state_is_not_called_ready(run_nowhere: Run, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    shown = run_nowhere("readiness", str(tmp_path / "none"), "--fail-under", "10")
    assert shown.code == 3
    assert "not known" in shown.out


def test_a_page_is_written_whole_or_an_error_says_why(run_nowhere: Run, app: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert run_nowhere("readiness", str(app), "--html", str(page)).code == 0
    assert page.read_text().endswith("</html>\n")
    wrong = run_nowhere("readiness", str(app), "--html", str(tmp_path / "no" / "page.html"))
    assert (wrong.code, "cannot write" in wrong.err) == (2, True)


@pytest.mark.parametrize("given", ["qdrant", "qdrant=", "mysql=x"])
def test_a_look_needs_a_store_and_a_url(run_nowhere: Run, app: Path, given: str) -> None:
    assert run_nowhere("readiness", str(app), "--live", given).code == 2


def test_a_folder_that_is_not_there(run_nowhere: Run, tmp_path: Path) -> None:
    wrong = run_nowhere("readiness", str(tmp_path / "nowhere"))
    assert wrong.code == 2
    assert "nowhere" in wrong.err


@pytest.mark.parametrize(("seconds", "are_known"), [(2, False), (7200, True)])
def test_only_a_long_recording_tells_how_many_writes_are_lost(
    run_nowhere: Run, app: Path, seconds: int, are_known: bool
) -> None:
    spans = [
        {
            "traceId": f"{number:032x}", "spanId": f"{number:016x}", "name": "qdrant.upsert",
            "startTimeUnixNano": str(at * 10**9), "endTimeUnixNano": str(at * 10**9),
            "attributes": [{"key": key, "value": {"stringValue": text}} for key, text in (
                ("db.system", "qdrant"), ("db.operation", "upsert"))],
        }
        for number, at in ((1, 1_000_000), (2, 1_000_000 + seconds))
    ]  # fmt: skip
    scope = {"name": "opentelemetry.instrumentation.qdrant"}
    document = {"resourceSpans": [{"scopeSpans": [{"scope": scope, "spans": spans}]}]}
    (app / "spans.jsonl").write_text(json.dumps(document))
    (app / "kedge.toml").write_text('[readiness]\npoint_interval = "1d"\n')
    found = run_nowhere("readiness", str(app), "--traces", str(app / "spans.jsonl"), "--json").document
    (store,) = found["stores"]
    assert (store["lost_writes"] is not None) == are_known, found["traces"]
    assert ("too short" in found["traces"]) != are_known
    assert store["writers"][-1] == "store (app.py:8)"
