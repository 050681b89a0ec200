"""Two processes that replay at once: each input's outputs come from one of them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import kedge

REPLAY = """
import sys, time, kedge
def handler(turn, item):
    for part in range(3):
        turn.memory.append("assistant", f"{sys.argv[2]}: {item.value}, part {part}")
        time.sleep(0.02)
with kedge.open(sys.argv[1]) as k:
    print("ready", flush=True)
    sys.stdin.readline()
    report = k.replay(handler)
    print(len(report.replayed), len(report.skipped), len(report.failed), flush=True)
"""


@pytest.mark.both
def test_each_input_is_replayed_by_one_process(place: str) -> None:
    with kedge.open(place, durability="normal") as k:
        k.deploy("v1", {"support/prompt": "good"})
        k.promote("v1")
        k.deploy("v2", {"support/prompt": "bad"}, canary=1.0)
        for n in range(8):
            with k.turn(session=f"s{n}", agent="support") as turn:
                turn.memory.append("user", f"question {n}")
                turn.memory.append("assistant", "bad")
        k.rollback("v2")
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        others = [subprocess.Popen([sys.executable, "-c", REPLAY, place, name], **pipes) for name in ("a", "b")]
        for other in others:
            assert other.stdout is not None
            assert other.stdout.readline() == "ready\n"
        for other in others:
            assert other.stdin is not None
            other.stdin.write("go\n")
            other.stdin.flush()
        told = [[int(word) for word in other.communicate(timeout=60)[0].split()] for other in others]
        assert [sum(numbers[:2]) for numbers in told] == [8, 8]
        assert sum(numbers[0] for numbers in told) == 8, told
        for n in range(8):
            said = [m.content for m in k.view(session=f"s{n}").memory.history()]
            who = said[1][0]
            assert said == [f"question {n}", *(f"{who}: question {n}, part {part}" for part in range(3))]
        assert k.replay_pending() == []
        assert k.fsck(full=True).findings == ()
