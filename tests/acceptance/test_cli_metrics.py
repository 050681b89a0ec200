"""kedge metrics and kedge observe: declared metrics, and the verdicts of judges from files and pipes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge.turns import observing
from tests.acceptance.cli import Run

TOML = """
[metrics.resolved]
kind = "success"
deadline = "2h"

[metrics.cost]
kind = "ratio"
high = 3
"""


@pytest.fixture
def declared(run: Run, world: Path, tmp_path: Path) -> Path:
    """Declare metrics, and begin the sessions s-0 to s-4."""
    file = tmp_path / "metrics.toml"
    file.write_text(TOML)
    assert run("metrics", "--declare", str(file), "--reason", "launch", "--by", "ann").code == 0
    with kedge.open(world) as k:
        for number in range(5):
            with k.turn(session=f"judged-{number}", agent="support"):
                pass
    return tmp_path


def write(folder: Path, *records: Any) -> str:
    file = folder / "verdicts.jsonl"
    file.write_text("".join(f"{record if isinstance(record, str) else json.dumps(record)}\n" for record in records))
    return str(file)


def verdict(number: int, value: Any = True, metric: str = "resolved") -> dict[str, Any]:
    return {"session": f"judged-{number}", "metric": metric, "value": value}


@pytest.mark.usefixtures("declared")
def test_metrics_are_declared_listed_and_withdrawn(run: Run) -> None:
    rows = [line.split() for line in run("metrics").out.splitlines()]
    assert rows[0] == ["metric", "kind", "deadline", "values", "last", "missing", "refused"]
    assert rows[1:] == [["cost", "ratio,", "signal", "1", "h", "0"], ["resolved", "success", "2", "h", "0"]]
    assert ["declare-metrics", "ann", "launch"] in [line.split()[:3] for line in run("log").out.splitlines()]
    (cost, resolved) = run("metrics", "--json").document["metrics"]
    assert (cost["metric"]["role"], resolved["metric"]["deadline"]) == ("signal", 7_200.0)
    assert "cost" not in run("metrics", "--withdraw", "cost").out
    wrong = run("metrics", "--withdraw", "resolvd")
    assert (wrong.code, "did you mean 'resolved'" in wrong.err) == (2, True)


def test_without_metrics_it_says_how_to_declare_some(run: Run) -> None:
    assert "No metrics are declared. To declare those of a file: kedge metrics --declare" in run("metrics").out
    assert run("metrics", "--json").document == {"metrics": []}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot be read"),
        ("[metrics", "is not valid TOML"),
        ("[metric.resolved]", "declares no metrics"),
        ('[metrics.resolved]\nkind = "succes"', "did you mean 'success'"),
    ],
)
def test_files_that_declare_nothing_are_refused(run: Run, tmp_path: Path, text: str | None, says: str) -> None:
    file = tmp_path / "wrong.toml"
    if text is not None:
        file.write_text(text)
    result = run("metrics", "--declare", str(file))
    assert (result.code, says in " ".join(result.err.split())) == (2, True), result.err


def test_a_file_is_stored_once_and_its_slips_are_named_by_line(run: Run, declared: Path) -> None:
    given = write(declared, verdict(0), "", verdict(1, 7), "{", verdict(9), verdict(2, [1, 2], "cost"))
    result = run("observe", given)
    assert result.code == 1
    said = result.out.splitlines()
    assert said[0] == "2 observations stored"
    assert [line.split(":")[0].strip() for line in said if line.startswith("  line")] == ["line 3", "line 4", "line 5"]
    again = run("observe", given, "--json")
    assert (again.code, again.document["observe"]["stored"], again.document["observe"]["repeated"]) == (1, 0, 2)
    refused = {row["name"]: row["refused"] for row in run("metrics", "--json").document["metrics"]}
    assert refused == {"cost": {}, "resolved": {"type": 1, "unknown session": 1}}
    assert "Metrics: 2 values refused, of resolved, last" in run("status").out


def test_a_pipe_is_read_to_its_end(run: Run, declared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(Path(write(declared, verdict(0), verdict(1))).read_bytes())

    monkeypatch.setattr("sys.stdin", Stdin())
    assert run("observe", "-").out == "2 observations stored\n"
    missing = run("observe", "nowhere.jsonl")
    assert (missing.code, "nowhere.jsonl cannot be read" in missing.err) == (2, True)


def test_ctrl_c_says_what_is_stored_and_the_same_command_goes_on(
    run: Run, declared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = write(declared, *[verdict(number % 5, number % 2 == 0) for number in range(10)])
    real: Callable[..., Any] = observing.observe_all
    calls: list[int] = []

    def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(observing, "BATCH", 4)
        patch.setattr(observing, "observe_all", interrupted)
        stopped = run("observe", given)
    assert stopped.code == 130
    assert "stopped: 8 observations stored" in stopped.err
    assert "run the same command again" in " ".join(stopped.err.split())
    assert run("observe", given).out.splitlines() == ["2 observations stored", "  8 stored before: not stored again"]
