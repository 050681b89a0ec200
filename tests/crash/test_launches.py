"""kill -9 of a pilot at each of its steps: the next pilot finishes what it began, each action once."""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import kedge
from kedge.support import failpoints
from tests.contract.conftest import HandClock
from tests.contract.launching import RELEASE, World
from tests.databases import NewPlace
from tests.processes import run

POSTGRES_ONE_IN = 8
LOOKS = 40
GUARD = Path(__file__).resolve().parents[2] / "src" / "kedge" / "guard"
_KINDS = ("snapshot", "release", "canary", "promote", "settle", "roll_back", "tighten", "loosen")


def points() -> list[str]:
    """Return every crash point of a pilot, as the code names them."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in sorted(GUARD.glob("*.py")))
    plain = set(re.findall(r'reach\("(launch:[^"]+)"\)', text))
    moments = re.findall(r'reach\(f"launch:\{action\.kind\}(:?[^"]*)"\)', text)
    return sorted(plain | {f"launch:{kind}{moment}" for kind in _KINDS for moment in moments})


class Ending(NamedTuple):
    """What a launch comes to, however often its pilots die."""

    phase: str
    status: str
    weight: float
    changes: tuple[str, ...]


class Reference(NamedTuple):
    """A launch that nobody disturbs: its ending, and at which look each point is reached, and how often before."""

    ending: Ending
    reached: dict[str, list[int]]


def open_world(place: str, *, canary: float) -> tuple[kedge.Kedge, World]:
    clock = HandClock()
    k = kedge.open(place, durability="normal", clock=clock)
    k.deploy("base", {"support/prompt": "hello"})
    k.promote("base")
    k.settle("base")
    world = World(k, clock, canary=canary)
    world.seconds = 40.0  # a lease that nobody renews has run out by the next look
    return k, world


def ending(k: kedge.Kedge) -> Ending:
    entries = reversed(k._kernel.backend.control.entries_of(["v2"]))
    kinds = tuple(entry.kind for entry in entries if entry.kind not in {"tighten", "loosen"})
    status = k.guard.status("v2")
    return Ending(status.phase, str(k.deployment("v2").status), status.weight, kinds)


def go_on(world: World, look: Callable[[int], object]) -> None:
    for number in range(LOOKS):
        try:
            look(number)
        except kedge.IllegalTransition:
            return  # it has ended
        world.serve()


def undisturbed(folder: Path, name: str) -> Reference:
    reached: dict[str, list[int]] = {}
    looks = [0]

    def look(number: int) -> None:
        looks[0] = number
        world.look(RELEASES[name])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failpoints, "_any_armed", True)
        patch.setattr(failpoints, "_act", lambda point: reached.setdefault(point, []).append(looks[0]))
        k, world = open_world(f"sqlite:///{folder / 'kedge.db'}", canary=RATES[name])
        with k:
            go_on(world, look)
            return Reference(ending(k), {point: at for point, at in reached.items() if point.startswith("launch:")})


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reference]:
    """Run a good and a bad release undisturbed."""
    return {name: undisturbed(tmp_path_factory.mktemp(name), name) for name in RATES}


# Few sessions are enough: what is tested is the order of steps.
SHORT: dict[str, Any] = RELEASE | {
    "min_sessions": 2,
    "metrics": {"resolved": {"kind": "success", "margin": 0.6, "deadline": "5s"}},
}
RELEASES = {"good": SHORT | {"settle_after": "3min", "watch": "1min"}, "bad": SHORT}
RATES = {"good": 1.0, "bad": 0.2}
# The points that only a bad release reaches, or that matter there: its rollback is one more flip.
OF_BAD = ("launch:roll_back", "launch:roll_back:done", "launch:tighten", "launch:tighten:done")
TWICE = ("launch:decided", "launch:stored", "launch:canary", "launch:canary:done", "launch:performed", "launch:marked")
NEVER = ("launch:loosen", "launch:loosen:done")  # a calm time is longer than these launches
CASES = [
    *((point, "bad" if point in OF_BAD else "good", 1) for point in points() if point not in NEVER),
    *((point, "good", 2) for point in TWICE),
    *((point, "bad", -1) for point in ("launch:decided", "launch:stored", "launch:performed", "launch:marked")),
]


@pytest.mark.parametrize(("point", "name", "nth"), CASES)
def test_a_killed_pilot_leaves_nothing_that_the_next_one_does_not_finish_once(
    new_place: NewPlace, reference: dict[str, Reference], point: str, name: str, nth: int
) -> None:
    wanted, release = reference[name], RELEASES[name]
    reaches = wanted.reached[point]
    victim = reaches[nth - 1] if nth > 0 else reaches[nth]
    within = Counter(reaches[: nth if nth > 0 else None])[victim]
    place = new_place()
    k, world = open_world(place, canary=RATES[name])

    def look(number: int) -> None:
        if number != victim:
            world.look(release)
            return
        world.clock.time += world.seconds
        killed = run(
            "-m", "tests.crash.launch_pilot", place, str(world.clock.time), json.dumps(release),
            KEDGE_FAILPOINT=f"{point}:{within}",
        )  # fmt: skip
        assert killed.returncode == -signal.SIGKILL, killed.stderr

    with k:
        go_on(world, look)
        assert ending(k) == wanted.ending
        assert k.guard.recompute("v2").ok
        assert not any(snapshot.name == "launch:v2" for snapshot in k._kernel.backend.control.snapshots())
        assert not k.status().unfinished
        assert k.fsck(full=True).ok


def test_every_crash_point_is_reached(reference: dict[str, Reference]) -> None:
    reached = set().union(*(found.reached for found in reference.values()))
    assert set(points()) - set(NEVER) <= reached
