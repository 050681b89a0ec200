"""Shell completion, help without type names, and `python -m kedge`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kedge.cli.app import app
from kedge.cli.commands import name_of, register
from kedge.cli.main import main


def _complete(words: str, cwd: Path, **environment: str) -> list[str]:
    given = {
        "PATH": os.environ["PATH"], "_KEDGE_COMPLETE": "complete_bash", "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")), **environment,
    }  # fmt: skip
    command = [sys.executable, "-c", "import sys; from kedge.cli.main import main; sys.exit(main())"]
    ran = subprocess.run(command, cwd=cwd, env=given, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in ran.stderr
    return ran.stdout.split()


def test_commands_options_and_deployments_are_completed(world: Path, tmp_path: Path) -> None:
    assert "rollback" in _complete("kedge ro", tmp_path)
    assert "--reason" in _complete("kedge rollback --re", tmp_path)
    names = ["support-v1", "support-v2", "support-v3"]
    assert _complete("kedge plan sup", tmp_path, KEDGE_DB=str(world)) == names
    assert _complete(f"kedge plan --db {world} sup", tmp_path) == names


def test_completion_without_a_database_says_nothing(tmp_path: Path) -> None:
    assert _complete("kedge plan sup", tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_help_names_no_types(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    register()
    names = [name_of(command) for command in app.registered_commands]
    for argv in ([], *([name] for name in names)):
        assert main([*argv, "--help"]) == 0
        shown = capsys.readouterr().out
        assert not re.search(r"<\w[\w\[\] ]*>|\bBOOLEAN\b|\bINTEGER\b", shown), shown
    assert main(["log", "--help"]) == 0
    assert re.search(r"--limit +-n +N ", capsys.readouterr().out)


def test_python_m_kedge_is_the_command(world: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kedge", "status", "--db", str(world)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "support-v2" in ran.stdout
    wrong = subprocess.run(
        [*command[:3], "stauts"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (wrong.returncode, "kedge --help" in wrong.stderr) == (2, True)
