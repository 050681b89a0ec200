"""Broken output: whatever becomes of stdout and stderr, a command that changes something finishes its work."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import settings

import kedge
from tests.acceptance.cli import make_world

OUTPUTS = {
    "closed pipe": ("| true", {}),
    "closed pipe, both": ("2>&1 | true", {}),
    "full disk": (">/dev/full", {}),
    "full disk, both": (">/dev/full 2>&1", {}),
    "closed stdout": (">&-", {}),
    "closed stderr": ("2>&-", {}),
    "all closed": ("<&- >&- 2>&-", {}),
    "latin-1": ("| cat", {"PYTHONIOENCODING": "latin-1"}),
    "ascii": ("| cat", {"PYTHONIOENCODING": "ascii"}),
    "C locale": ("| cat", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
}
HARD = ("full disk, both", "all closed", "closed pipe, both")


def _status(name: str, status: str) -> Callable[[Path], bool]:
    return lambda world: _look(world, lambda k: k.deployment(name).status == status)


def _look(world: Path, look: Callable[[kedge.Kedge], bool]) -> bool:
    with kedge.open(world, read_only=True) as k:
        return look(k)


def _roll_back(world: Path) -> None:
    with kedge.open(world) as k:
        k.rollback("support-v2")


def _leave_unfinished(world: Path) -> None:
    with kedge.open(world) as k:
        k.rollback("support-v2", hold=["support"], verify=False)


def _stage_embedder(world: Path) -> None:
    (world.parent / "tiny.py").write_text(
        "import numpy as np\n\ndef embed(texts):\n    return np.ones((len(texts), 4), np.float32)\n"
    )
    with kedge.open(world) as k:
        k.deploy("e2", {"shared/embedder": {"name": "e2", "dim": 4}})


def _vector_files(world: Path) -> None:
    np.save(world.parent / "rows.npy", np.ones((3, 4), np.float32))
    points = [{"id": number, "vector": [1, 0, 0, number], "payload": {}} for number in range(3)]
    (world.parent / "points.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, points)))


class Case(msgspec.Struct, frozen=True):
    """A command, what it needs, and how to see that it was done."""

    argv: str
    done: Callable[[Path], bool]
    before: Callable[[Path], object] = lambda _world: None


def _finished(world: Path) -> bool:
    return _look(
        world,
        lambda k: (
            k.deployment("support-v2").status == "rolled back"
            and not k.status().unfinished
            and set(k.levels()) == {"support"}  # held before; billing was held for the rollback alone
            and any(entry.kind == "rollback:verified" for entry in k.log(20))
        ),
    )


CASES = [
    Case("rollback support-v2 --hold support --hold billing --yes", _finished),
    Case("reinstate support-v2 --yes", _status("support-v2", "canary"), _roll_back),
    Case("purge support-v2 --yes", _status("support-v2", "purged"), _roll_back),
    Case("recover", _finished, _leave_unfinished),
    Case("deploy naïve-“v9” -a support/prompt=Hi --canary 10%", _status("naïve-“v9”", "canary")),
    Case("promote support-v2 --yes", _status("support-v2", "live")),
    Case("settle support-v1 --yes", _status("support-v1", "settled")),
    Case("level billing frozen", lambda world: _look(world, lambda k: k.levels()["billing"] == "frozen")),
    Case("retention 30d --yes", lambda world: _look(world, lambda k: k.status().retention_seconds == 30 * 86_400.0)),
    Case("load kb rows.npy", lambda world: _rows(world, "kb") == 7, _vector_files),
    Case("import qdrant points.jsonl", lambda world: _rows(world, "points") == 3, _vector_files),
    Case(
        "backfill e2 --embedder tiny:embed --corpus documents",
        lambda world: _rows(world, "kb", "e2") == 8,
        _stage_embedder,
    ),
]


def _rows(world: Path, collection: str, deployment: str | None = None) -> int:
    with kedge.open(world, read_only=True) as k:
        return k.view(deployment=deployment).vectors(collection).count()


def _shell(argv: str, output: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command in bash; its own exit code follows on the last line of stdout."""
    redirect, environment = OUTPUTS[output]
    command = f"{shlex.quote(sys.executable)} -m kedge.cli.main {argv}"
    pipe = "|" in redirect
    line = f"{command} {redirect}; echo ${{PIPESTATUS[0]}}" if pipe else f"( {command} ) {redirect}; echo $?"
    clean = {"PATH": "/usr/bin:/bin", "KEDGE_DB": "state", **environment}
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=clean, capture_output=True, text=True, timeout=120, check=True,
        encoding="latin-1",
    )  # fmt: skip


def _pairs() -> list[tuple[Case, str]]:
    """Return every output for a rollback, and one for each other command; all of all when soaking."""
    soaking = settings.default is settings.get_profile("soak")
    return [
        (case, output)
        for number, case in enumerate(CASES)
        for output in (OUTPUTS if soaking or number == 0 else [HARD[number % len(HARD)]])
    ]


@pytest.mark.soak
@pytest.mark.parametrize(("case", "output"), _pairs(), ids=lambda value: getattr(value, "argv", value))
def test_a_change_finishes_whatever_becomes_of_its_output(world: Path, case: Case, output: str) -> None:
    case.before(world)
    ran = _shell(case.argv, output, world.parent)
    shown = ran.stdout + ran.stderr
    assert shown.splitlines()[-1] == "0" or ran.stdout.splitlines()[-1] == "0", shown
    assert "Traceback" not in shown
    assert "bug in Kedge" not in shown
    assert case.done(world), shown


def test_a_move_finishes_whatever_becomes_of_its_output(world: Path) -> None:
    ran = _shell("migrate-store state moved --yes", "all closed", world.parent)
    assert ran.stdout.splitlines()[-1] == "0", ran
    with kedge.open(world.parent / "moved") as k:
        assert len(k.deployments()) == 4


@pytest.mark.parametrize(
    ("argv", "output", "code"),
    [("rollback support-v9 --yes", "all closed", "2"), ("rollback base --yes --json", "full disk", "3")],
)
def test_the_exit_code_of_a_failed_change_survives_broken_output(
    world: Path, argv: str, output: str, code: str
) -> None:
    assert _shell(argv, output, world.parent).stdout.splitlines()[-1] == code


@pytest.mark.parametrize(("output", "code"), [("closed pipe", "141"), ("full disk", "74"), ("closed stdout", "74")])
def test_a_command_that_only_shows_says_that_nobody_saw_it(world: Path, output: str, code: str) -> None:
    ran = _shell("log", output, world.parent)
    assert ran.stdout.splitlines()[-1] == code
    assert ("cannot write to stdout" in ran.stderr) == (code == "74")


@pytest.mark.parametrize("output", ["latin-1", "C locale"])
def test_json_stays_json_in_a_narrow_encoding(tmp_path: Path, output: str) -> None:
    make_world(tmp_path / "state")
    with kedge.open(tmp_path / "state") as k, k.turn(person="ann") as turn:
        turn.context.put("note", "naïve → 😀")
    ran = _shell("show context note --json", output, tmp_path)
    document, _, code = ran.stdout.rstrip().rpartition("\n")
    assert (json.loads(document)["entries"][0]["value"], code) == ("naïve → 😀", "0")


def test_a_failing_callback_does_not_stop_a_rollback(world: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError("nobody reads")

    with kedge.open(world) as k:
        assert k.rollback("support-v2", hold=["billing"], on_step=broken).ok
        assert set(k.levels()) == {"support"}
        k.purge("support-v2", confirm="support-v2", progress=broken)
        assert k.deployment("support-v2").status == "purged"
        assert not k.status().unfinished
    assert "nobody reads" in caplog.text
