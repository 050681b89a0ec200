"""kill -9 during a pass of the retention: nothing that can be read is lost, and the next pass ends it."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

import kedge
from kedge.support import failpoints
from tests.processes import run

KEYS, VERSIONS = 5, 4
CODE = "import sys, kedge; kedge.open(sys.argv[1]).reclaim()"


@pytest.fixture
def written(place: str) -> Iterator[str]:
    """Make a database with superseded values that a policy lets go."""
    with kedge.open(place, durability="normal") as k:
        for version in range(VERSIONS):
            for key in range(KEYS):
                with k.turn(agent="clerk") as turn:
                    turn.context.put(f"key/{key}", version)
        k.set_retention(0.0, store="context")
    yield place
    failpoints.disarm()


@pytest.mark.parametrize(
    "point", ["reclaim:begun", "reclaim:before-commit", "reclaim:after-commit", "reclaim-progress:before-commit"]
)
def test_a_killed_pass_loses_nothing_and_is_ended_by_the_next(written: str, point: str) -> None:
    done = run("-c", CODE, written, **{failpoints.ENVIRONMENT: f"{point}:1"})
    assert done.returncode == -signal.SIGKILL, done.stderr
    with kedge.open(written, durability="normal") as k:
        expected = {f"key/{key}": VERSIONS - 1 for key in range(KEYS)}
        assert k.view().context.items() == expected
        assert k.fsck(full=True).findings == ()
        k.reclaim()
        assert k.reclaim().rows == 0
        assert k.view().context.items() == expected
        with pytest.raises(kedge.PastUnreadable):
            k.at(k.status().seq - KEYS * VERSIONS).context.items()
        assert k.fsck(full=True).findings == ()
