"""A world made once, and copied for each test."""

import shutil
from pathlib import Path

import pytest

from tests.acceptance.cli import Run, make_world, runner


@pytest.fixture(scope="session")
def _world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "state"
    make_world(folder)
    return folder


@pytest.fixture
def world(_world: Path, tmp_path: Path) -> Path:
    """Return the folder of a database of the test's own."""
    return Path(shutil.copytree(_world, tmp_path / "state"))


@pytest.fixture
def run(world: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command on the world."""
    return _clean(capsys, monkeypatch, world)


@pytest.fixture
def run_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command in an empty folder without a database."""
    monkeypatch.chdir(tmp_path)
    return _clean(capsys, monkeypatch, None)


def _clean(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, db: Path | None) -> Run:
    for name in ("KEDGE_DB", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    return runner(capsys, db)
