"""kill -9 at every failpoint: the reopened database holds all acknowledged writes, and no partial ones."""

from __future__ import annotations

import json
import random
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kedge.support import failpoints
from tests.crash.stream import DIM, IN_PARTS, ROWS_MIN, STEPS, dump, open_in
from tests.databases import create, drop
from tests.processes import run
from tests.stateful.share import SOAKING
from tests.thresholds import lower

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src" / "kedge" / "backends"
NAMES = list(STEPS)
EACH = {"sqlite": 10_000 if SOAKING else 1, "postgres": 4 if SOAKING else 1}  # kills at a crash point


def points_in_the_code(kind: str) -> list[str]:
    """Return every crash point that a backend can reach, as its code names them."""
    files = sorted((SOURCES / kind).rglob("*.py"))
    elsewhere = {"upgrade", "reclamation", "pruning", "state_upkeep", "launches"}  # killed by other tests
    files = [file for file in files if "migration" not in file.parts and file.stem not in elsewhere]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    plain = set(re.findall(r'reach\("([^"]+)"\)', text))
    moments = re.findall(r'reach\(f"\{(?:what|self\._what)\}:([^"]+)"\)', text)
    transactions = re.findall(r'(?:writing|\.write)\(\s*"([^"]+)"[,)]', text)
    return sorted(plain | {f"{what}:{at}" for what in transactions for at in moments})


KINDS = ("sqlite", "postgres")
POINTS = {kind: points_in_the_code(kind) for kind in KINDS}


class Reference(NamedTuple):
    """An undisturbed run: what is visible before any step and after each, and how often each point is reached.

    To look after each step takes its time; it is done where a test of this run compares with it.
    """

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
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def new_place(
    kind: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[[], str]]:
    """Return a maker of unopened databases of one kind."""
    if kind == "sqlite":
        yield lambda: f"sqlite:///{tmp_path_factory.mktemp('stream') / 'kedge.db'}"
        return
    server = request.getfixturevalue("postgres_server")
    made: list[str] = []

    def make() -> str:
        made.append(create(server, empty=True))
        return made[-1]

    yield make
    for url in made:
        drop(server, url)


def is_kill_on(kind: str, item: pytest.Item) -> bool:
    function = getattr(item, "function", None)
    return function is test_a_kill_at_a_crash_point_does_no_harm and item.callspec.params["kind"] == kind  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def references() -> dict[str, Reference]:
    """Keep the undisturbed run of each backend: pytest makes `reference` anew for each pair of a kind and a point."""
    return {}


@pytest.fixture(scope="module")
def reference(
    kind: str, references: dict[str, Reference], new_place: Callable[[], str], request: pytest.FixtureRequest
) -> Reference:
    if kind not in references:
        references[kind] = undisturbed(kind, new_place(), request)
    return references[kind]


def undisturbed(kind: str, place: str, request: pytest.FixtureRequest) -> Reference:
    is_compared = any(is_kill_on(kind, item) for item in request.session.items)
    reaches: Counter[str] = Counter()
    dumps: list[dict[str, str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failpoints, "_any_armed", True)
        patch.setattr(failpoints, "_act", lambda name: reaches.update([name]))
        with open_in(place) as k:

            def look() -> None:
                with patch.context() as quiet:
                    quiet.setattr(failpoints, "_any_armed", False)
                    dumps.append(as_json(dump(k)))

            for step in (None, *STEPS.values()):
                if step is not None:
                    step(k)
                if is_compared:
                    look()
            assert k.fsck(full=True).findings == ()
    return Reference(dumps, reaches)


def run_until_killed(place: str, setting: str) -> int:
    """Run the stream with a crash point armed, and return how many steps it acknowledged before it died there."""
    done = run("-m", "tests.crash.stream", place, **{failpoints.ENVIRONMENT: setting})
    assert done.returncode == -signal.SIGKILL, f"{setting} did not kill it: {done.stderr}"
    assert done.stdout.split() == [str(n) for n in range(len(done.stdout.split()))]
    return len(done.stdout.split())


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


@pytest.mark.parametrize("kind", KINDS, indirect=True)
def test_the_stream_reaches_every_crash_point(kind: str, reference: Reference) -> None:
    assert sorted(reference.reaches) == POINTS[kind]


@pytest.mark.soak
@pytest.mark.parametrize(
    ("kind", "point"),
    [(kind, point) for kind in KINDS[: 2 if SOAKING else 1] for point in POINTS[kind]],
    indirect=["kind"],
)
def test_a_kill_at_a_crash_point_does_no_harm(
    kind: str, point: str, reference: Reference, new_place: Callable[[], str]
) -> None:
    reached = reference.reaches[point]
    for nth in random.Random(point).sample(range(1, reached + 1), min(reached, EACH[kind])):
        place = new_place()
        acknowledged = run_until_killed(place, f"{point}:{nth}")
        with open_in(place) as k:
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
            if kind == "sqlite":
                assert list(Path(place.removeprefix("sqlite:///")).parent.rglob("*.tmp")) == []
                assert not k.view().vectors("kb").search([1.0] * DIM).exact  # the last step has built on
