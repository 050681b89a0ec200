"""`kedge traces` and `kedge map`, as a user types them."""

import json
from pathlib import Path

import pytest

import kedge
from tests.acceptance.cli import Run, runner
from tests.trace_files import RECORDED

FILES = [str(path) for path in RECORDED]
TRACES = [word for path in FILES for word in ("--traces", path)]


@pytest.fixture
def alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run commands without a database, on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return runner(capsys, None)


def test_traces_are_told(alone: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("no json\n")
    result = alone("traces", *FILES, "bad.jsonl")
    assert (result.code, result.err) == (0, "")
    assert all(len(line) <= 80 for line in result.out.splitlines())
    for words in (
        "sqlite:drafts.db/drafts",
        "Not observable",
        "Connection.execute()",
        "1 part could not be read",
        "bad.jsonl, ",
    ):
        assert words in result.out
    assert "researcher → model langchain" in result.out


def test_traces_are_one_document(alone: Run) -> None:
    found = alone("traces", *FILES, "--json", "--deployment", "v2").document
    assert set(found) == {
        "traffic", "handovers", "externals", "blind", "bad", "bad_parts", "files", "spans", "traces", "duplicates",
        "orphans", "neither", "inner", "services", "scopes", "first", "last", "version",
    }  # fmt: skip
    assert {each["deployment"] for each in found["traffic"]} == {"v2"}
    assert set(found["traffic"][0]) == {
        "agent", "agent_by", "store", "access", "deployment", "calls", "errors", "sessions", "first", "last",
        "per_second",
    }  # fmt: skip
    assert set(found["traffic"][0]["store"]) == {"family", "namespace", "collection", "address"}


def test_a_deployment_that_no_trace_names_is_refused(alone: Run) -> None:
    for command in (["traces", *FILES], ["map", *TRACES]):
        result = alone(*command, "--deployment", "v3")
        assert result.code == 2
        assert "there are: v1, v2" in result.err


def test_a_map_is_told(alone: Run, tmp_path: Path) -> None:
    (tmp_path / "team.py").write_text("import chromadb\n\n\ndef researcher():\n    chromadb.PersistentClient('x')\n")
    with kedge.open(tmp_path / "db") as k:
        k.deploy("v2", {"writer/prompt": "x"})
        with k.turn("s", agent="writer", deployment="v2") as turn:
            turn.context.put("fact", turn.artifacts["writer/prompt"].value)
    result = alone("map", ".", *TRACES, "--db", str(tmp_path / "db"), "--deployment", "v2")
    assert (result.code, result.err) == (0, "")
    assert all(len(line) <= 80 for line in result.out.splitlines())
    for words in (
        "kedge:context", "static", "observed", "journaled", "researcher writes chroma/x; writer reads it",
        "1 write in kedge:context", "Blast radius of v2", "code: 1 place", "Not observable",
    ):  # fmt: skip
        assert words in " ".join(result.out.split()), words


def test_a_map_is_a_document_a_flowchart_or_a_page(alone: Run, tmp_path: Path) -> None:
    found = alone("map", *TRACES, "--json").document
    assert set(found) == {
        "nodes", "edges", "boundaries", "chain", "blast", "unresolved", "unselected", "blind", "coverage", "version",
    }  # fmt: skip
    assert set(found["edges"][0]) == {
        "source", "target", "relation", "provenance", "calls", "errors", "records", "places", "choices",
    }  # fmt: skip
    assert alone("map", *TRACES, "--json").out == alone("map", *TRACES, "--json").out
    assert alone("map", *TRACES, "--mermaid").out.startswith("flowchart LR\n")
    assert "map.html" in alone("map", *TRACES, "--html", "map.html").out
    assert (tmp_path / "map.html").read_text("utf-8").startswith("<!doctype html>")
    assert alone("map", *TRACES, "--json", "--mermaid").code == 2


def test_a_map_of_nothing_says_what_to_give(alone: Run) -> None:
    result = alone("map", "--json")
    assert result.code == 2
    assert "give a folder (`.` for this one), traces or a database" in json.dumps(result.document)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*TRACES, "--html", "missing/map.html"], "cannot write missing/map.html (No such file or directory)"),
        (["missing"], "cannot read the scan missing (No such file or directory): give a folder"),
        ([".", "--env", "missing.env"], "cannot read the environment of missing.env (No such file or directory): give"),
    ],
)
def test_a_file_that_is_not_there_is_named(alone: Run, words: list[str], said: str) -> None:
    result = alone("map", *words, "--json")
    assert result.code == 2
    assert said in json.dumps(result.document)
