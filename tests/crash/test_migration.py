"""kill -9 during a migration: a repeated call resumes it, with the same result."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import kedge
from kedge.support import failpoints
from kedge.testing import postgres
from tests import databases, populated
from tests.processes import run
from tests.stateful.share import SOAKING

# Where the process dies, on the way from one backend to the other.
FROM_SQLITE = ["arrive:table:12", "seal:after-commit", "seal:sealed", "move:writes", "arrive:before-commit:7"]
FROM_POSTGRES = ["arrive:writes:1", "arrive:before-commit:25", "seal:before-commit", "move:table:17", "move:finished"]
EACH = len(FROM_SQLITE) if SOAKING else 2
CASES = [("sqlite", at) for at in FROM_SQLITE[:EACH]] + [("postgres", at) for at in FROM_POSTGRES[:EACH]]


def is_dead_by_then(source: str, target: str, point: str) -> bool:
    """Move in a process that dies at a crash point; say whether it did."""
    code = "import sys, kedge; kedge.migrate_store(*sys.argv[1:])"
    return run("-c", code, source, target, **{failpoints.ENVIRONMENT: point}).returncode == -signal.SIGKILL


@pytest.mark.soak
@pytest.mark.parametrize(("a", "point"), CASES)
def test_a_move_that_was_killed_goes_on(
    a: str, point: str, full_places: dict[str, str], tmp_path: Path, postgres_server: postgres.Server
) -> None:
    there = f"sqlite:///{tmp_path / 'there' / 'kedge.db'}"
    if a == "sqlite":
        source = f"sqlite:///{populated.copy_of(Path(full_places['sqlite']), tmp_path / 'here')}"
        target = databases.create(postgres_server)
    else:
        source, target = databases.create(postgres_server, like=full_places["postgres"]), there
    assert is_dead_by_then(source, target, point)
    is_open = point != "move:finished"
    if is_open:
        with pytest.raises((kedge.Arriving, kedge.UnknownName)):
            kedge.open(target, read_only=True)
    report = kedge.migrate_store(source, target)
    assert report is not None
    assert report.already_done != is_open
    assert [d for d in kedge.compare_stores(source, target).differences if d.differs] == []
    for url in (source, target):
        with kedge.open(url, read_only=True) as k:
            assert k.fsck(full=True).findings == ()
    databases.drop(postgres_server, target if a == "sqlite" else source)
