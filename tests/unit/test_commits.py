"""The form of commits, as `.ci/check_commits.py` checks it."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / ".ci" / "check_commits.py"
GOOD = "rollback: report the outcome on Ctrl-C\n\nThe report was lost before.\n"


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_commits", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def commit(folder: Path, message: str) -> None:
    git(folder, "commit", "--allow-empty", "--cleanup=verbatim", "--message", message)


@pytest.fixture
def repository(checker: ModuleType, tmp_path: Path) -> Path:
    """Make a repository with a commit of the old form, the first of the new form, and a good one after it."""
    git(tmp_path, "init", "--initial-branch=main")
    for message in ("Whatever was said before counts for nothing.", f"{checker.FIRST}\n\nWhy.", GOOD):
        commit(tmp_path, message)
    return tmp_path


def test_the_form_asked_for_has_no_faults(checker: ModuleType) -> None:
    assert checker.faults(GOOD) == []
    assert checker.faults(GOOD.rstrip("\n")) == []


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("A rollback reports its outcome\n\nWhy.", "no subject of the form"),
        ("Rollback: report the outcome\n\nWhy.", "no subject of the form"),
        ("rollback:report the outcome\n\nWhy.", "no subject of the form"),
        (f"rollback: {'x' * 63}\n\nWhy.", "73 characters"),
        ("rollback: report the outcome.\n\nWhy.", "full stop"),
        ("rollback: report the outcome\n", "no body"),
        ("rollback: report the outcome\nWhy.", "no blank line"),
    ],
)
def test_each_fault_is_named(checker: ModuleType, message: str, fault: str) -> None:
    found = checker.faults(message)
    assert len(found) == 1
    assert fault in found[0]


def test_commits_after_the_first_are_checked(checker: ModuleType, repository: Path) -> None:
    assert checker.check(repository) == ("1 commits checked", True)
    commit(repository, "Something else.")
    text, is_good = checker.check(repository)
    assert not is_good
    assert "'Something else.' has no subject" in text
    assert "counts for nothing" not in text


def test_a_merge_is_refused(checker: ModuleType, repository: Path) -> None:
    git(repository, "checkout", "-b", "work")
    commit(repository, GOOD)
    git(repository, "checkout", "main")
    git(repository, "merge", "--no-ff", "--message", "work: merge it\n\nWhy.", "work")
    text, is_good = checker.check(repository)
    assert not is_good
    assert "is a merge" in text


def test_without_history_it_says_what_was_not_checked(
    checker: ModuleType, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert checker.check(elsewhere) == ("commits not checked: this folder has no history", True)
    git(elsewhere, "clone", "--depth=1", f"file://{repository}", "shallow")
    text, is_good = checker.check(elsewhere / "shallow")
    assert is_good
    assert text.startswith("commits not checked: none of the 1 ")
