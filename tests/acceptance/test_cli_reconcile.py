"""kedge reconcile, and external systems in the other commands."""

from __future__ import annotations

import os
import pty
import signal
from pathlib import Path

import pytest

import kedge
from kedge.errors import InvalidValue
from kedge.reconcilers.config import read_config
from tests.acceptance.cli import Run, spawn
from tests.acceptance.test_cli_process import finish, read_until
from tests.external_systems import model

OUTCOME = {"name", "key", "ok", "changed", "wanted", "actual", "attempts", "seconds", "why"}
CONFIG = """
[reconcilers.models]
artifacts = "*/model"
observe = "cat '{file}' 2>/dev/null || true"
converge = "printf %s \\"$KEDGE_URI\\" > '{file}'"
deadline_seconds = 0.25
"""


@pytest.fixture
def file(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Configure a reconciler in the current folder; return the file that it writes."""
    found = tmp_path / "alias"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kedge.toml").write_text(CONFIG.format(file=found), encoding="utf-8")
    with kedge.open(world) as k:
        k.deploy("model-v1", {"support/model": model(1)})
        k.promote("model-v1")
        k.deploy("model-v2", {"support/model": model(2)})
    return found


def test_every_command_that_changes_a_pin_reconciles(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promoted = run("promote", "model-v2", "--yes")
    assert promoted.code == 0
    assert promoted.out.splitlines()[-1].split() == [
        "models", "support/model", "models:/support/2", "models:/support/2", "converged",
    ]  # fmt: skip
    assert file.read_text() == "models:/support/2"
    planned = " ".join(run("plan", "model-v2").out.split())
    assert "External system models is updated to the new pin of support/model." in planned
    assert run("rollback", "model-v2", "--yes").code == 0
    assert file.read_text() == "models:/support/1"
    assert run("reinstate", "model-v2", "--yes").code == 0
    assert file.read_text() == "models:/support/2"
    assert "External systems: models (*/model)" in run("status").out
    kinds = [entry["kind"] for entry in run("log", "--json").document["entries"]]
    assert kinds[:2] == ["reinstate:reconciled", "reinstate"]
    monkeypatch.setenv("COLUMNS", "200")
    assert "reinstate:reconciled models/support/model" in run("log", "-n", "1").out


def test_a_plan_names_absent_reconcilers(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = run("plan", "model-v1", "--json").document
    assert (planned["reconciles"], planned["absent"]) == ({"models": ["support/model"]}, []), "it would be declared"
    assert run("promote", "model-v2", "--yes").code == 0
    monkeypatch.setenv("KEDGE_CONFIG", os.devnull)
    assert run("plan", "model-v2", "--json").document["absent"] == ["models"]
    said = " ".join(run("plan", "model-v2").out.split())
    assert "External system models (support/model) is not configured in a kedge.toml here" in said
    assert "is updated to the new pin" not in said
    assert file.read_text() == "models:/support/2"


def test_one_that_does_not_follow_shows_in_every_exit_code(run: Run, file: Path) -> None:
    file.mkdir()
    promoted = run("promote", "model-v2", "--yes", "--json")
    assert promoted.code == 1
    assert promoted.document["deployment"]["status"] == "live"
    (outcome,) = promoted.document["reconciled"]
    assert (set(outcome), outcome["ok"]) == (OUTCOME, False)
    rolled_back = run("rollback", "model-v2", "--yes")
    assert rolled_back.code == 1
    assert "NOT RECONCILED: models of support/model" in " ".join(rolled_back.out.split())
    reinstated = run("reinstate", "model-v2", "--yes")
    assert reinstated.code == 1
    assert "External systems are not reconciled" in reinstated.out
    assert run("status").out.count("UNFINISHED") == 1  # what came before is left to the reinstatement
    assert run("recover").code == 1
    file.rmdir()
    assert run("recover").code == 0
    assert file.read_text() == "models:/support/2"
    assert "UNFINISHED" not in run("status").out


def test_on_demand(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = run("reconcile", "--check")
    assert checked.code == 1  # and nothing was declared: looking writes nothing
    assert not file.exists()
    assert run("status", "--json").document["reconcilers"] == {}
    done = run("reconcile", "support/model", "--json")
    assert done.code == 0
    assert set(done.document) == {"reconciled", "ok"}
    assert [set(outcome) for outcome in done.document["reconciled"]] == [OUTCOME]
    assert run("reconcile", "--check").code == 0
    assert run("reconcile", "nobody").code == 2
    refused = run("reconcile", "models", "--forget")
    assert (refused.code, "remove it from kedge.toml first" in " ".join(refused.err.split())) == (2, True)
    monkeypatch.setenv("KEDGE_CONFIG", os.devnull)
    assert run("reconcile", "models", "--forget", "--json").document == {"reconcilers": {}}


def test_without_a_set_up_it_says_how(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("reconcile")
    assert result.code == 0
    assert "add one to a kedge.toml" in result.out


def test_a_broken_set_up_stops_it_before_anything_is_done(
    run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kedge.toml").write_text("[reconcilers.models]\nartifacts = 1", encoding="utf-8")
    result = run("promote", "model-v2", "--yes")
    assert result.code == 2
    assert "kedge.toml: the reconciler 'models' is not valid" in " ".join(result.err.split())
    assert run("status", "--json").document["deployments"][-1]["status"] == "staged"
    monkeypatch.setenv("KEDGE_CONFIG", os.devnull)
    assert run("promote", "model-v2", "--yes").code == 0
    assert not file.exists()


@pytest.mark.parametrize(
    "argv", [("--watch", "--json"), ("--watch", "--check"), ("--forget",), ("x", "--forget", "--check")]
)
def test_options_that_do_not_go_together(run: Run, argv: tuple[str, ...]) -> None:
    assert run("reconcile", *argv).code == 2


def test_watch_reconciles_drift(world: Path, file: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    argv = ("reconcile", "--watch", "--every", "0.2", "--db", str(world))
    process = spawn(*argv, cwd=tmp_path, stdout=theirs, env={"COLUMNS": "200"})
    os.close(theirs)
    read_until(ours, "converged: models of support/model, wanted models:/support/1")
    file.write_text("drifted")
    read_until(ours, "converged: models of support/model, wanted models:/support/1")
    with kedge.open(world) as k:
        k.promote("model-v2")
    read_until(ours, "wanted models:/support/2")
    assert file.read_text() == "models:/support/2"
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = finish(process)
    os.close(ours)
    assert (code, err) == (0, "")


HTTP = """
[reconcilers.registry]
artifacts = "*/model"
url = "https://models.example.com/{key}"
field = "model.version"
headers = { Authorization = "Bearer ${KEDGE_TEST_TOKEN}" }
"""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[reconcilers", "not valid TOML"),
        ("[other]\nx = 1", "the unknown content other"),
        ("reconcilers = 3", "the unknown content 3"),
        ("[reconcilers.x]\nartifacts = '*'\nobserve = 'true'", "give artifacts, observe and converge"),
        ("[reconcilers.x]\nartifacts = '*'\nurl = 'https://x'\nobserve = 'true'", "give artifacts and url"),
        (HTTP, "uses the environment variable 'KEDGE_TEST_TOKEN'"),
        (HTTP.replace("${", "$("), "write \\$\\$"),
    ],
)
def test_a_set_up_that_does_not_fit_says_where(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "kedge.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidValue, match=says):
        read_config(path)


def test_a_set_up_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEDGE_TEST_TOKEN", "s3cret")
    path = tmp_path / "kedge.toml"
    path.write_text(HTTP, encoding="utf-8")
    found = read_config(path)["registry"]
    assert isinstance(found, kedge.HttpReconciler)
    assert found._headers == {"Authorization": "Bearer s3cret"}
    with pytest.raises(InvalidValue, match="cannot be read"):
        read_config(tmp_path / "nowhere.toml")
