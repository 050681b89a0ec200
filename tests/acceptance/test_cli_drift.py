"""Command drift."""

from __future__ import annotations

from pathlib import Path

import kedge
from tests.acceptance.cli import Run


def test_the_values_are_shown(run: Run, world: Path) -> None:
    with kedge.open(world) as k:
        k.deploy("v9", {"support/prompt": "nine"})
        with k.turn(agent="clerk", deployment="v9") as turn:
            turn.artifacts.get("support/prompt")
            turn.context.put("case/new", 1)
    found = run("drift", "v9", "--json")
    assert found.code == 0
    assert found.document["deployment"] == "v9"
    assert 0 < found.document["values"]["context.divergence"] <= 1
    assert "context.divergence" in run("drift", "v9").out
    assert run("drift", "nobody").code == 2
