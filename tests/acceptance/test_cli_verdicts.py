"""kedge verdicts: counts of message verdicts."""

from __future__ import annotations

from pathlib import Path

import kedge
from tests.acceptance.cli import Run


def test_verdicts_are_counted(run: Run, world: Path) -> None:
    assert "No verdicts yet" in run("verdicts").out
    assert run("verdicts", "--json").document == {"verdicts": []}
    with kedge.open(world) as k:
        k.deploy("speaks", {"a/speaks": {"case": 1}, "b/speaks": {"case": 1}})
        k.promote("speaks")
        for _ in range(2):
            with k.turn(agent="a") as turn:
                headers = turn.send("case", {})
            with k.turn(agent="b", parent=headers) as turn:
                turn.receive("case", {})
    row = run("verdicts").out.splitlines()[1].split()
    assert row[:8] == ["message:accept", "b", "case", "1->1", "from", "a", "2", "just"]
    (found,) = run("verdicts", "--json").document["verdicts"]
    assert set(found) == {"metric", "agent", "value", "count", "last_at"}
