"""A launch by `kedge launch`, in a process of its own, while other processes serve sessions; on both backends."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge.drill import rehearse_in_place
from tests.acceptance.cli import spawn
from tests.databases import NewPlace
from tests.workers import Worker

WORKERS = 2
SESSIONS_AT_ONCE = 6
RELEASE = """
deployment = "v2"
ramp = [0.5]
min_sessions = 10
soak = 0
watch = "1s"
holdback = 0.2

[artifacts]
"support/prompt" = "{prompt}"

[metrics.resolved]
kind = "success"
deadline = "1s"
margin = 0.3
"""
RUNS = 3  # the exit code where another pilot runs


class Fleet:
    """Processes that serve sessions, and the pilot beside them."""

    def __init__(self, place: str, folder: Path, workers: list[Worker]) -> None:
        self.place, self.folder, self._workers = place, folder, workers
        self.served: Counter[str] = Counter()
        self._next = itertools.count(0, SESSIONS_AT_ONCE)
        self._pilots: list[subprocess.Popen[str]] = []

    def pilot(self, *argv: str) -> subprocess.Popen[str]:
        return self.kedge("launch", *argv, "--every", "0.2", "--lease", "2")

    def kedge(self, *argv: str) -> subprocess.Popen[str]:
        self._pilots.append(spawn(*argv, "--json", cwd=self.folder, env={"KEDGE_DB": self.place}))
        return self._pilots[-1]

    def end(self) -> None:
        """End what a failed test has left."""
        for pilot in self._pilots:
            if pilot.poll() is None:
                pilot.kill()
                pilot.communicate()

    def serve(self) -> None:
        """Serve a few more sessions in every process, at the same time."""
        first = next(self._next)
        for number, worker in enumerate(self._workers):
            worker.ask("serve_sessions", f"w{number}", first, SESSIONS_AT_ONCE)
        for worker in self._workers:
            self.served.update(worker.result())

    def serve_until(self, pilot: subprocess.Popen[str]) -> dict[str, Any]:
        """Serve until the pilot ends; return what it printed."""
        for _ in range(300):
            self.serve()
            try:
                pilot.wait(0.2)  # also the pace of the sessions
            except subprocess.TimeoutExpired:
                continue
            break
        else:
            pilot.kill()
        out, err = pilot.communicate()
        assert out, err
        found: dict[str, Any] = json.loads(out)
        return found


@pytest.fixture
def fleet(new_place: NewPlace, tmp_path: Path) -> Iterator[Fleet]:
    place = new_place()
    with kedge.open(place, durability="normal") as k:
        k.deploy("v1", {"support/prompt": "good"})
        k.promote("v1")
        k.settle("v1")
    assert rehearse_in_place(kedge.open, place).passed  # a gate of every launch
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(place, f"w{n}")) for n in range(WORKERS)]
        fleet = Fleet(place, tmp_path, workers)
        stack.callback(fleet.end)
        yield fleet


def launched(fleet: Fleet, prompt: str) -> subprocess.Popen[str]:
    (fleet.folder / "release.toml").write_text(RELEASE.format(prompt=prompt))
    return fleet.pilot("release.toml")


def recomputed(fleet: Fleet) -> dict[str, Any]:
    out, err = fleet.kedge("launch", "recompute", "v2").communicate()
    assert out, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_a_bad_release_is_rolled_back_though_its_pilot_is_killed(fleet: Fleet) -> None:
    first = launched(fleet, "bad")
    while not fleet.served["bad"]:  # the canary runs
        fleet.serve()
    other = fleet.pilot("v2")
    other.communicate()
    assert other.returncode == RUNS, "one pilot at a time"
    first.kill()
    first.communicate()
    second = fleet.pilot("v2")
    while (document := fleet.serve_until(second)) and second.returncode == RUNS:
        second = fleet.pilot("v2")  # until the lease of the first one has run out
    launch = document["launch"]
    assert (second.returncode, launch["phase"]) == (1, "rolled back")
    assert launch["why"][0].startswith("e = ")
    stopped = fleet.served["stopped"]
    fleet.served.clear()
    fleet.serve()
    assert set(fleet.served) == {"good"}
    found = recomputed(fleet)
    assert found["ok"], found
    assert found["sessions"] >= sum(launch["sessions"]) > 0
    with kedge.open(fleet.place) as k:
        assert k.deployment("v2").status is kedge.Status.ROLLED_BACK
        said = {
            info.session: [message.content for message in k.view(session=info.session).memory.history()]
            for info in k.sessions(prefix="w", limit=10_000)
        }
    assert not any("an answer by the bad prompt" in texts for texts in said.values())
    assert sum(not texts for texts in said.values()) <= stopped, "what users said is kept"


def test_a_good_release_is_promoted_and_watched_to_its_end(fleet: Fleet) -> None:
    pilot = launched(fleet, "better")
    document = fleet.serve_until(pilot)
    assert (pilot.returncode, document["launch"]["phase"]) == (0, "finished"), document
    assert recomputed(fleet)["ok"]
    assert fleet.served["better"] > fleet.served["stopped"] == 0
    with kedge.open(fleet.place) as k:
        assert k.deployment("v2").status is kedge.Status.LIVE
        assert k.deployment("v2").holdback == 0.2
