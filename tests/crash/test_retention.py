"""kill -9 during maintenance: nothing that can be read is lost, and the next pass ends what was begun."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

import kedge
from kedge.support import failpoints
from tests.contract.forward import DAY, Clock
from tests.databases import raw_rows
from tests.processes import run

KEYS, VERSIONS = 5, 4
POSTGRES_ONE_IN = 2
POLICIES = ("context", "reads", "sessions")
OPEN = """
import sys, kedge
from kedge.ports.clock import SystemClock

class Clock(SystemClock):
    def now(self):
        return super().now() + 2 * 86400

k = kedge.open(sys.argv[1], clock=Clock())
"""
RECLAIM = OPEN + "k.reclaim()"
OPTIMIZE = OPEN + "k.optimize(); k.optimize()"
RECLAIMING = ("reclaim:begun", "reclaim:before-commit", "reclaim:after-commit", "reclaim-progress:before-commit")
PRUNING = (
    "prune-turns:reads", "prune-turns:before-commit", "prune-turns:after-commit", "prune-sessions:entries",
    "prune-sessions:before-commit", "prune-sessions:after-commit", "prune-note:before-commit",
)  # fmt: skip
UNUSED = (
    "SELECT count(*) FROM states WHERE superseders NOT IN ('[]', '[0]', 'null') AND id NOT IN (SELECT state FROM heads)"
)
STATES = ("states:begun", "states:before-commit", "states:after-commit")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def release(k: kedge.Kedge, name: str) -> None:
    k.deploy(name, {"other/prompt": name})
    k.promote(name)


@pytest.fixture
def written(place: str, clock: Clock) -> Iterator[str]:
    """Make a database with values, reads, sessions and states that a pass two days later lets go."""
    with kedge.open(place, clock=clock, durability="normal") as k:
        release(k, "v1")
        for version in range(VERSIONS):
            for key in range(KEYS):
                with k.turn(session=f"s{version}", agent="clerk" if version != 1 else "other") as turn:
                    turn.context.get(f"key/{key}", None)
                    turn.context.put(f"key/{key}", version)
        k.settle("v1")
        for key in range(KEYS):
            with k.turn(agent="clerk") as turn:
                turn.context.put(f"key/{key}", VERSIONS)
        release(k, "v2")  # a state that is used comes after the one that is not
        k.settle("v2")
        for store in POLICIES:
            k.set_retention(DAY, store=store)
        clock.ahead += 2 * DAY
        with k.turn(person="ann") as turn:
            turn.context.put("now", 2)
    yield place
    failpoints.disarm()


@pytest.mark.parametrize("point", [*RECLAIMING, *PRUNING, *STATES])
def test_a_killed_pass_loses_nothing_and_is_ended_by_the_next(written: str, point: str, clock: Clock) -> None:
    nth = 2 if point.startswith("states") else 1  # the first pass retires states, the second deletes them
    code = OPTIMIZE if point.startswith("states") else RECLAIM
    done = run("-c", code, written, **{failpoints.ENVIRONMENT: f"{point}:{nth}"})
    assert done.returncode == -signal.SIGKILL, done.stderr
    with kedge.open(written, clock=clock, durability="normal") as k:
        expected = {f"key/{key}": VERSIONS for key in range(KEYS)} | {"now": 2}
        assert k.view().context.items() == expected
        assert k.fsck(full=True).findings == ()
        k.optimize()
        assert k.reclaim().rows == 0
        for table, left in (("reads", 0), ("sessions", 0)):
            assert raw_rows(written, f"SELECT count(*) FROM {table}") == [(left,)]
        k.optimize()
        assert raw_rows(written, UNUSED) == [(0,)]
        assert k.view().context.items() == expected
        with pytest.raises(kedge.PastUnreadable):
            k.at(3 * KEYS).context.items()
        assert k.fsck(full=True).findings == ()
