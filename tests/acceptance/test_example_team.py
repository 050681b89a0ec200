"""The support team of `examples/`: after a rollback and a replay, the chats are those of a twin without the release."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import kedge
from examples.support_team import day
from tests.docs.pages import ROOT

WRONG = {"cid": "8 weeks", "dora": "8 weeks", "guest-1": "7 weeks"}


def test_the_team_ends_as_if_the_release_had_not_been(new_place: Callable[[], str]) -> None:
    with kedge.open(new_place(), durability="normal") as k, kedge.open(new_place(), durability="normal") as twin:
        assert day(k) == day(twin, release=False)
        assert k.replay_pending() == []


def test_the_untouched_writer_was_misled_by_the_shared_notes() -> None:
    done = subprocess.run(
        [sys.executable, "examples/support_team.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    evening, rolled_back, replayed = done.stdout.split("\n\n")[:3]
    for customer, said in WRONG.items():
        assert any(line.split()[0] == customer and said in line for line in evening.splitlines()[1:])
        assert said not in rolled_back
        assert f"{customer}  user: " in rolled_back, "what users said stays"
    assert "ann  assistant: Dear customer, refund: 30 days." in rolled_back, "a clean note serves on"
    assert replayed.startswith("── replayed: 4 questions")
    assert "dora  assistant: Dear customer, exchange: 60 days." in replayed
