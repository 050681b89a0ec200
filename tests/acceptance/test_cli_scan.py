"""`kedge scan`: a table for people, documents for programs, exit codes for a CI."""

import json
from pathlib import Path

import pytest

from tests.acceptance.cli import Result, Run, runner, spawn

APP = {
    "src/app.py": """\
import os
import faiss
from qdrant_client import QdrantClient


def open_index():
    if os.environ.get("MODE") == "server":
        return QdrantClient(url="http://vectors")
    return QdrantClient(path="vectors")


def add(points):
    open_index().upsert("documents", points)


def keep(index):
    faiss.write_index(index, "index.faiss")
""",
    "src/broken.py": "def (:\n",
    "deploy/compose.yml": "services:\n  vectors:\n    image: qdrant/qdrant\n    volumes: ['v:/qdrant_data']\n",
}

OLD = """\
[[discovery.capability]]
id = "faiss"
title = "FAISS"
stores = ["faiss"]
capability = "fork"
unit = "file"
granularity = "any"
restore_class = "instant"
lost = "all"
conditions = []
source = "a book"
checked = 2020-01-01
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "app"
    for name, text in APP.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def scan(app: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    run = runner(capsys, None)

    def of_app(*arguments: str) -> Result:
        return run("scan", str(app), *arguments)

    return of_app


def test_the_table_has_the_worst_first_and_fits_80_columns(scan: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = scan()
    assert (result.code, result.err) == (0, "")
    stores = [line.split()[0] for line in result.out.splitlines() if line and line[0] != " "]
    assert stores[:2] == ["faiss", "qdrant"]
    assert "write  src/app.py:17 keep" in result.out
    assert "the data are in" in result.out
    assert "syntax errors: src/broken.py (line 1)" in result.out
    assert "1 cannot be taken back" in result.out.splitlines()[-1]
    assert all(len(line) <= 80 for line in result.out.splitlines())


def test_a_write_follows_the_variable_that_selects_what_it_writes_to(scan: Run, app: Path) -> None:
    (app / "prod.env").write_text("MODE=server\n")
    shown = scan("--env", str(app / "prod.env")).out
    assert "write  src/app.py:13 add\n         if env(MODE)=server\n" in shown
    (app / "prod.env").write_text("OTHER=1\n")
    shown = scan("--env", str(app / "prod.env")).out
    assert "write  src/app.py:13 add\n         qdrant embedded or qdrant remote, by env(MODE)\n" in shown


def test_places_of_one_piece_of_evidence_stand_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    opened = "saver = InMemorySaver()\n"
    head = "from langgraph.checkpoint.memory import InMemorySaver\nfrom langgraph.graph import StateGraph\n"
    cells = [f"{head}builder = StateGraph(dict)\n", opened, opened, opened, "builder.compile(checkpointer=saver)\n"]
    written = [{"cell_type": "code", "source": text} for text in cells]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": written, "nbformat": 4, "metadata": {}}))
    shown = " ".join(runner(capsys, None)("scan", str(tmp_path), "--no-cache").out.split())
    assert "is opened here: a.ipynb:cell1:1, a.ipynb:cell2:1 and 1 more" in shown


def test_a_folder_without_a_file_to_read_is_said_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing\n")
    result = runner(capsys, None)("scan", str(tmp_path), "--no-cache")
    assert (result.code, result.out.strip()[:17]) == (0, "No file was read:")


def test_json_is_one_document_and_needs_no_other(scan: Run) -> None:
    found = scan("--json").document
    places = {(site["path"], site["line"], site["class"], site["store"]) for site in found["sites"]}
    assert {("src/app.py", 13, "write", "qdrant"), ("deploy/compose.yml", 3, "decl", "qdrant")} <= places
    assert [each["path"] for each in found["unparsed"]] == ["src/broken.py"]


def test_files_are_written_beside_the_table(scan: Run, tmp_path: Path) -> None:
    files = {option: tmp_path / option for option in ("--sarif", "--cyclonedx", "--write-baseline")}
    options = [str(word) for pair in files.items() for word in pair]
    assert scan(*options).code == 0
    first = {option: file.read_bytes() for option, file in files.items()}
    assert json.loads(first["--sarif"])["version"] == "2.1.0"
    assert json.loads(first["--cyclonedx"])["specVersion"] == "1.6"
    assert json.loads(first["--write-baseline"])["version"] == 1
    assert scan("--no-cache", *options).code == 0
    assert {option: file.read_bytes() for option, file in files.items()} == first


def test_a_check_fails_on_what_it_names(scan: Run) -> None:
    assert scan("--fail-on", "none").code == 3
    assert "Failed: 1 place matches --fail-on none." in scan("--fail-on", "none").out
    assert scan("--fail-on", "pitr,fork").code == 0
    assert "Passed" in scan("--fail-on", "pitr").out
    assert scan("--fail-on", "write").code == 3
    assert scan("--fail-on", "pin").code == 0
    assert scan("--fail-on", "any", "--json").document["failing"] == len(scan("--json").document["sites"])


def test_with_a_baseline_only_new_places_fail(scan: Run, app: Path, tmp_path: Path) -> None:
    known = str(tmp_path / "known.json")
    assert scan("--write-baseline", known).code == 0
    assert scan("--baseline", known, "--fail-on", "new,none").code == 0
    source = app / "src" / "app.py"
    source.write_text("\n\n# moved\n" + source.read_text())
    assert scan("--baseline", known, "--fail-on", "new").code == 0
    source.write_text(source.read_text() + "\n\ndef more(points):\n    open_index().upsert('documents', points)\n")
    result = scan("--baseline", known, "--fail-on", "new")
    assert result.code == 3
    assert "new: src/app.py:24 more" in result.out
    assert scan("--baseline", known, "--fail-on", "none").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fail-on", "nothing"], "invalid --fail-on nothing"),
        (["--fail-on", "new"], "give --baseline FILE"),
        (["--fail-on", ""], "--fail-on has no word"),
        (["--fail-on", " ,"], "--fail-on has no word"),
        (["--baseline", "missing.json"], "cannot read missing.json"),
        (["--env", "missing.env"], "cannot read the environment of missing.env"),
        (["--rules", "missing.toml"], "missing.toml cannot be read"),
        (["--sarif", "no/folder/a.sarif"], "cannot write no/folder/a.sarif"),
    ],
)
def test_a_mistake_is_a_usage_error(scan: Run, arguments: list[str], said: str) -> None:
    result = scan(*arguments)
    assert result.code == 2
    assert said in result.err
    assert result.out == ""
    assert said in scan(*arguments, "--json").document["error"]["message"]


def test_a_folder_that_is_not_there_is_a_usage_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    result = runner(capsys, None)("scan", str(tmp_path / "missing"))
    assert (result.code, "not a folder" in result.err) == (2, True)


def test_a_reader_that_stops_early_sees_no_error(app: Path, tmp_path: Path) -> None:
    for number in range(60):
        (app / f"m{number}.py").write_text(APP["src/app.py"])
    started = spawn("scan", str(app), "--no-cache", cwd=tmp_path)
    assert started.stdout is not None
    assert started.stderr is not None
    started.stdout.readline()
    started.stdout.close()
    with started.stderr as errors:
        assert errors.read() == ""
    assert started.wait(60) in {0, 141}


def test_nothing_is_written_into_the_scanned_folder(scan: Run, app: Path, tmp_path: Path) -> None:
    before = sorted(app.rglob("*"))
    scan()
    assert sorted(app.rglob("*")) == before
    assert list((tmp_path / "cache" / "kedge" / "scan").iterdir())


def test_what_was_not_read_does_not_pass(scan: Run, app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Passed: no place matches --fail-on fork in what was read; 1 not read." in scan("--fail-on", "fork").out
    (app / "empty").mkdir()
    run = runner(capsys, None)
    assert "No file was read:" in run("scan", str(app / "empty")).out
    result = run("scan", str(app / "empty"), "--fail-on", "any")
    assert (result.code, "no file was read" in result.err) == (2, True)
    assert run("scan", str(app / "empty"), "--json").document["files"] == 0
    unread = run("readiness", str(app / "empty"), "--html", str(app / "page.html"))
    assert "No file was read" in unread.out
    assert "nothing is known" in (app / "page.html").read_text()
    assert "1 files and folders were not read" in run("readiness", str(app)).out


def test_own_and_old_facts_are_told(scan: Run, app: Path) -> None:
    (app / "kedge.toml").write_text(OLD)
    result = scan()
    assert "Read more than 12 months ago: what is said of faiss." in result.out
    assert "With 1 rule of kedge.toml" in result.out
    assert scan("--json").document["own"] == 1
