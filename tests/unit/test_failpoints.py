"""Failpoints: no effect unless armed, exact counts, and a kill is SIGKILL."""

import os
import signal
import subprocess
import sys
from itertools import repeat

import pytest

from kedge.support import failpoints
from kedge.support.failpoints import arm, disarm, reach


def reached(times: int, *, nth: int | None) -> list[int]:
    """Reach a point armed at `nth` so many times, and return the reaches at which the action ran."""
    ran: list[int] = []
    now = 0
    arm("here", lambda: ran.append(now), nth=nth)
    for now in range(1, times + 1):  # noqa: B007 - the action reads it
        reach("there")
        reach("here")
    return ran


def test_an_action_runs_at_every_reach_or_at_the_nth_alone() -> None:
    assert reached(3, nth=None) == [1, 2, 3]
    assert reached(3, nth=2) == [2]


def test_disarmed_a_point_is_silent() -> None:
    ran: list[None] = []
    arm("here", lambda: ran.append(None))
    disarm()
    reach("here")
    assert ran == []


def test_what_an_action_raises_comes_out_of_the_reach() -> None:
    def fail() -> None:
        raise OSError("injected")

    arm("here", fail)
    with pytest.raises(OSError, match="injected"):
        reach("here")


def test_reaches_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="nth=0"):
        arm("here", print, nth=0)


@pytest.mark.parametrize(("setting", "printed"), [("a:b", ""), ("a:b:1", ""), ("a:b:3", "1\n2\n"), ("a", "1\n2\n3\n")])
def test_the_environment_arms_a_kill_of_the_process(setting: str, printed: str) -> None:
    code = "from kedge.support.failpoints import reach\nfor n in (1, 2, 3):\n    reach('a:b'); print(n, flush=True)"
    environment = {**os.environ, failpoints.ENVIRONMENT: setting}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (run.stdout, run.returncode) == (printed, 0 if setting == "a" else -signal.SIGKILL)


def test_an_unarmed_reach_takes_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failpoints, "_lock", None)  # to take it would raise
    for point in repeat("here", 3):
        reach(point)
