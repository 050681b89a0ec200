"""Databases for race tests."""

from __future__ import annotations

from pathlib import Path

import pytest

import kedge
from tests.databases import NewPlace
from tests.workers import DIM

ARTIFACTS = {"shared/embedder": {"name": "e1", "dim": DIM}, "support/prompt": "hello"}


def settle_base(place: Path | str) -> None:
    """Make a database with a settled base, and close it."""
    with kedge.open(place, durability="normal") as k:
        k.collection("kb", dim=DIM)
        k.deploy("base", ARTIFACTS)
        k.promote("base")
        k.settle("base")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A database with a settled base, in files."""
    folder = tmp_path / "db"
    settle_base(folder)
    return folder


@pytest.fixture
def place(new_place: NewPlace) -> str:
    """The address of one, on each backend."""
    place = new_place()
    settle_base(place)
    return place
