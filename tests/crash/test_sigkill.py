"""SIGKILL at random moments, while two processes write and a third launches and rolls back."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from typing import Any

import pytest

import kedge
from tests.stateful.share import SOAKING
from tests.workers import BATCH, DIM, Worker, batches_in

SEEDS = range(60 if SOAKING else 4)
POSTGRES_ONE_IN = 4
ARTIFACTS = {"shared/embedder": {"name": "e1", "dim": DIM}, "support/prompt": "hello"}
WRITERS = ("one", "other")
MANY = 400  # requests that wait in each process, more than it can do before it dies


def run_and_kill(place: str, dice: random.Random) -> dict[str, list[Any]]:
    """Let two processes write and one launch, kill each at a moment of its own, and return what each acknowledged."""
    workers = {who: Worker(place, who).ready() for who in (*WRITERS, "roller")}
    for number in range(MANY):
        for who in WRITERS:
            workers[who].ask("write", who, number, 1)
    for number in range(MANY // 10):
        workers["roller"].ask("launch", f"v{number}", purge=number % 2 == 1)
    killers = [threading.Timer(dice.uniform(0.05, 0.6), worker.kill) for worker in workers.values()]
    for killer in killers:
        killer.start()
    answers = {who: worker.rest() for who, worker in workers.items()}
    for killer in killers:
        killer.join()
    for worker in workers.values():
        worker.close()
    return answers


def check_batches(found: dict[str, int], answers: dict[str, list[Any]]) -> None:
    """Check that all acknowledged batches are there whole, and at most the one that was under way besides."""
    for who in WRITERS:
        done = len(answers[who])
        assert answers[who] == [[number] for number in range(done)]
        acknowledged = {f"{who}:{number}": BATCH[number % 4] for number in range(done)}
        under_way = {f"{who}:{done}": BATCH[done % 4]}
        mine = {key: count for key, count in found.items() if key.startswith(f"{who}:")}
        assert mine in (acknowledged, acknowledged | under_way)


def check_launches(deployments: Iterable[kedge.Deployment], verdicts: list[Any]) -> None:
    standing = {d.name: str(d.status) for d in deployments}
    assert all(verdict == [True, True] for verdict in verdicts)
    for number in range(len(verdicts)):
        assert standing[f"v{number}"] == ("purged" if number % 2 else "rolled back")


@pytest.mark.soak
@pytest.mark.parametrize("seed", SEEDS)
def test_kills_at_random_moments_lose_nothing_acknowledged(seed: int, place: str) -> None:
    with kedge.open(place, durability="normal") as k:
        k.collection("kb", dim=DIM)
        k.deploy("base", ARTIFACTS)
        k.promote("base")
        k.settle("base")
    answers = run_and_kill(place, random.Random(seed))
    with kedge.open(place, durability="normal") as k:
        k.recover()
        assert k.status().unfinished == ()
        assert k.fsck(full=True).findings == ()
        check_batches(batches_in(place), answers)
        check_launches(k.deployments(), answers["roller"])
        with k.turn(session="after", agent="support") as turn:
            turn.memory.append("user", "still there?")
        assert k.fsck(full=True).findings == ()
