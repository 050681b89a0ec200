"""kill -9 before, between and after the members of a group commit."""

from __future__ import annotations

import json
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

import kedge
from kedge.support import failpoints
from tests.crash.group_writer import SIZE, THREADS
from tests.processes import run

POINTS = ("append:begun", "append:heads", "append:before-commit", "group:before-commit", "group:committed")


@pytest.mark.parametrize("point", [*POINTS, "append:after-commit"])
def test_a_kill_amid_a_group_leaves_each_batch_whole_or_not_there(point: str, tmp_path: Path) -> None:
    nth = random.Random(point).randrange(8, 16) * (1 if point.startswith("group") else 6)
    place = f"sqlite:///{tmp_path / 'kedge.db'}"
    done = run("-m", "tests.crash.group_writer", place, **{failpoints.ENVIRONMENT: f"{point}:{nth}"})
    assert done.returncode == -signal.SIGKILL, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert max(line[0] for line in lines if len(line) == 1) > 1, "threads shared a commit"
    acknowledged = {(thread, number) for thread, number in (line for line in lines if len(line) == 2)}
    with kedge.open(place) as k:
        assert k.fsck(full=True).findings == ()
        found: Counter[tuple[int, int]] = Counter()
        for thread in range(THREADS):
            for message in k.view(session=f"s-{thread}").memory.history():
                written = message.content.split()
                found[int(written[0]), int(written[1])] += 1
        assert set(found.values()) <= {SIZE}, "each batch is there whole"
        assert acknowledged <= set(found)
        assert len(set(found) - acknowledged) <= THREADS, "at most those that were under way"
        with k.turn(session="after", agent="clerk") as turn:
            turn.memory.append("assistant", "goes on")
