"""A database reached by a symbolic link is the same database, with the same vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kedge
from tests.workers import DIM, Worker


def fill(place: str | Path, *names: str) -> None:
    """Write vectors through one address."""
    with kedge.open(place, durability="normal") as k:
        k.collection("kb", dim=3)
        with k.turn(person="pat") as turn:
            turn.vectors("kb").upsert(names, np.eye(len(names), 3, dtype=np.float32))


def found(place: str | Path) -> list[str]:
    """Search through one address."""
    with kedge.open(place, durability="normal") as k:
        assert k.fsck(full=True).findings == ()
        return sorted(hit.id for hit in k.view().vectors("kb").search([1.0, 1.0, 1.0], k=9))


@pytest.mark.parametrize("first", ["by link", "by path"])
def test_a_link_to_the_file_or_the_folder_finds_the_vectors(tmp_path: Path, first: str) -> None:
    real = tmp_path / "data" / "kedge.db"
    real.parent.mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "folder").symlink_to(real.parent)
    link = tmp_path / "other" / "link.db"
    link.symlink_to(Path("..") / "folder" / "kedge.db")
    places: list[str | Path] = [link, f"sqlite:///{real}", tmp_path / "folder", f"sqlite:///{link}"]
    fill(f"sqlite:///{link}" if first == "by link" else f"sqlite:///{real}", "a", "b")
    fill(f"sqlite:///{real}" if first == "by link" else f"sqlite:///{link}", "c")
    assert [found(place) for place in places] == [["a", "b", "c"]] * 4
    assert [path.name for path in link.parent.iterdir()] == ["link.db"]
    moved = tmp_path / "moved"
    real.parent.rename(moved)
    link.unlink()
    link.symlink_to(moved / "kedge.db")
    assert found(link) == ["a", "b", "c"]


def test_processes_that_open_it_by_link_and_by_path_see_each_others_vectors(tmp_path: Path) -> None:
    with kedge.open(tmp_path / "data", durability="normal") as k:
        k.collection("kb", dim=DIM)
        real = tmp_path / "data" / "kedge.db"
        (tmp_path / "link.db").symlink_to(real)
        with Worker(f"sqlite:///{tmp_path / 'link.db'}") as other:
            other.do("write", "other", 2, 1)
            assert k.view().vectors("kb").count() == 4
            with k.turn(person="pat") as turn:
                turn.vectors("kb").upsert(["mine"], np.ones((1, DIM)))
            assert other.do("compact", 1) is not None
        assert len(k.view().vectors("kb").search(np.ones(DIM), k=9)) == 5


def test_vectors_that_an_earlier_version_wrote_beside_the_link_are_named(tmp_path: Path) -> None:
    fill(tmp_path / "data", "a")
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "data" / "kedge.db")
    (tmp_path / "data" / "kedge.db-vectors").rename(tmp_path / "link.db-vectors")
    with pytest.raises(kedge.InvalidValue, match=r"link\.db-vectors to"):
        kedge.open(f"sqlite:///{link}")
    (tmp_path / "link.db-vectors").rename(tmp_path / "data" / "kedge.db-vectors")
    assert found(f"sqlite:///{link}") == ["a"]
