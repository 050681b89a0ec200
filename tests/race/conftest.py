"""What the races start from."""

from __future__ import annotations

from pathlib import Path

import pytest

import kedge
from tests.workers import DIM

ARTIFACTS = {"shared/embedder": {"name": "e1", "dim": DIM}, "support/prompt": "hello"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A database with a settled base, made and closed."""
    folder = tmp_path / "db"
    with kedge.open(folder, durability="normal") as k:
        k.collection("kb", dim=DIM)
        k.deploy("base", ARTIFACTS)
        k.promote("base")
        k.settle("base")
    return folder
