"""kill -9 at every crash point: reopened, the database holds all that was acknowledged, and nothing by half."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kedge import failpoints
from tests.crash.stream import DIM, IN_PARTS, ROWS_MIN, STEPS, dump, open_in
from tests.thresholds import lower

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src" / "kedge"
NAMES = list(STEPS)
CHILD_SECONDS = 60
EACH = 10_000 if os.environ.get("KEDGE_HYPOTHESIS") == "soak" else 2  # reaches of each crash point to kill at


def points_in_the_code() -> list[str]:
    """Return every crash point that the backends can reach, as their code names them."""
    files = sorted((SOURCES / "backends").rglob("*.py"))
    files = [file for file in files if file.parent.name != "moving"]  # where another test kills
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    plain = set(re.findall(r'reach\("([^"]+)"\)', text))
    moments = re.findall(r'reach\(f"\{what\}:([^"]+)"\)', text)
    return sorted(plain | {f"{what}:{at}" for what in re.findall(r'writing\("([^"]+)"[,)]', text) for at in moments})


POINTS = points_in_the_code()


class Reference(NamedTuple):
    """An undisturbed run: what is visible before any step and after each, and how often each point is reached."""

    dumps: list[dict[str, Any]]
    reaches: Counter[str]


def as_json(sections: dict[str, Any]) -> dict[str, str]:
    return {name: json.dumps(content, sort_keys=True, default=str) for name, content in sections.items()}


@pytest.fixture(scope="module", autouse=True)
def _low() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        lower(ROWS_MIN, behind=False, put=patch.setattr)
        yield


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("reference")
    reaches: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failpoints, "_any_armed", True)
        patch.setattr(failpoints, "_act", lambda name: reaches.update([name]))
        with open_in(folder) as k:
            with patch.context() as quiet:
                quiet.setattr(failpoints, "_any_armed", False)
                dumps = [as_json(dump(k))]
            for step in STEPS.values():
                step(k)
                with patch.context() as quiet:
                    quiet.setattr(failpoints, "_any_armed", False)
                    dumps.append(as_json(dump(k)))
            assert k.fsck(full=True).findings == ()
    return Reference(dumps, reaches)


def run_until_killed(folder: Path, setting: str) -> int:
    """Run the stream with a crash point armed, and return how many steps it acknowledged before it died there."""
    environment = {**os.environ, failpoints.ENVIRONMENT: setting, "PYTHONPATH": os.pathsep.join(["src", "."])}
    run = subprocess.run(
        [sys.executable, "-m", "tests.crash.stream", str(folder)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=CHILD_SECONDS, check=False,
    )  # fmt: skip
    assert run.returncode == -signal.SIGKILL, f"{setting} did not kill it: {run.stderr}"
    assert run.stdout.split() == [str(n) for n in range(len(run.stdout.split()))]
    return len(run.stdout.split())


def next_step(found: dict[str, str], acknowledged: int, dumps: list[dict[str, str]]) -> int:
    """Return the step to go on with; fail unless all acknowledged ones are there, and the next wholly or not at all."""
    before = dumps[acknowledged]
    if found == before:
        return acknowledged
    assert acknowledged < len(STEPS), f"the last step was acknowledged, but {differing(found, before)}"
    after = dumps[acknowledged + 1]
    name = NAMES[acknowledged]
    if name in IN_PARTS:
        strange = {s: c for s, c in found.items() if c not in {before.get(s), after.get(s)}}
        assert not strange, f"amid {name!r}: {strange}"
        return acknowledged
    assert found == after, f"{name!r} is there by half: {differing(found, before)}; after it: {differing(found, after)}"
    return acknowledged + 1


def differing(found: dict[str, str], wanted: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    keys = sorted(found.keys() | wanted.keys())
    return {key: (found.get(key), wanted.get(key)) for key in keys if found.get(key) != wanted.get(key)}


def test_the_stream_reaches_every_crash_point(reference: Reference) -> None:
    assert sorted(reference.reaches) == POINTS


@pytest.mark.soak
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_a_crash_point_does_no_harm(point: str, reference: Reference, tmp_path: Path) -> None:
    reached = reference.reaches[point]
    for nth in random.Random(point).sample(range(1, reached + 1), min(reached, EACH)):
        folder = tmp_path / str(nth)
        acknowledged = run_until_killed(folder, f"{point}:{nth}")
        with open_in(folder) as k:
            k.recover()
            assert k.status().unfinished == ()
            assert k.fsck(full=True).findings == ()
            following = next_step(as_json(dump(k)), acknowledged, reference.dumps)
            for step in list(STEPS.values())[following:]:
                step(k)
            assert differing(as_json(dump(k)), reference.dumps[-1]) == {}
            assert k.status().unfinished == ()
            report = k.fsck(full=True)
            assert (report.findings, report.notes) == ((), ())
            assert list(folder.rglob("*.tmp")) == []
            assert not k.view().vectors("kb").search([1.0] * DIM).exact  # the last step has built on
