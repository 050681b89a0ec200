"""Launches whose users have several sessions: a harmless canary raises no alarm, however the judge lags."""

from __future__ import annotations

import random
from typing import cast

import pytest

from kedge.guard.draws import Draw, counted
from kedge.guard.measure import COVERAGE_LIMIT, Measure, MeasureState
from kedge.guard.sessions import Arm
from kedge.model.control_log import Session
from kedge.model.draws import drawn
from kedge.model.metrics import Sample
from kedge.model.session_settings import SessionSettings
from tests.unit.launches import RESOLVED, release_of

USERS, VISITS = 400, 5


def history(seed: int, missing: float) -> tuple[list[Draw], dict[tuple[str, str], list[Sample]]]:
    """Return the sessions of users, each bad by a rate of its own, at a share that rises, and their verdicts."""
    rng = random.Random(seed)
    rates = [rng.betavariate(0.3, 2.7) for _ in range(USERS)]
    draws: list[Draw] = []
    samples: dict[tuple[str, str], list[Sample]] = {}
    for number in range(USERS * VISITS):
        user, name = rng.randrange(USERS), f"s-{number}"
        share = 0.05 if number < 500 else 0.25 if number < 1_000 else 0.5
        is_canary = drawn(f"v{seed}", f"u-{user}") < share
        settings = SessionSettings(unit_id=f"u-{user}")
        session = Session(name, 1, number + 1, 1, float(number), frozenset(), None, settings)
        draws.append(Draw(session, "canary", share, is_canary, float("inf")))
        if rng.random() >= missing:
            samples[name, "resolved"] = [Sample("resolved", rng.random() >= rates[user], float(number), name)]
    return draws, samples


@pytest.mark.parametrize("seed", range(6))
def test_users_who_come_again_raise_no_alarm(seed: int) -> None:
    release = release_of(metrics={"resolved": RESOLVED})
    metric = release.metrics[0]
    measure = Measure(metric, release.limits["resolved"], release, MeasureState())
    draws, samples = history(seed, missing=0.3)
    units = counted(draws, {"resolved": metric}, samples, 0)
    for unit in units:
        verdict = unit.verdicts["resolved"]
        measure.take(cast("Arm", unit.arm), unit.share, verdict, is_first=unit.is_first, is_promoted=False)
    assert sum(measure.seen) == len({unit.unit for unit in units}), "each user is counted once"
    assert len(units) > sum(measure.seen), "users turned bad later"
    assert measure.harm.peak < 1 / 0.05
    assert measure.coverage.peak < COVERAGE_LIMIT
    assert measure.interval.low < 0 < measure.interval.high
    canary, baseline = (measure.missing[at] / measure.seen[at] for at in (0, 1))
    assert abs(canary - baseline) < 0.2


def test_a_latency_without_an_answer_is_its_timeout_in_both_arms() -> None:
    table = {"resolved": RESOLVED, "wait": {"kind": "latency", "timeout": 10, "deadline": 60, "max_missing": 0.9}}
    release = release_of(metrics=table)
    metric = next(metric for metric in release.metrics if metric.name == "wait")
    measure, rng = Measure(metric, release.limits["wait"], release, MeasureState()), random.Random(3)
    for _ in range(400):
        answer = rng.uniform(1.0, 3.0)
        measure.take("baseline", 0.5, answer, is_promoted=False)
        measure.take("canary", 0.5, answer if rng.random() < 0.6 else None, is_promoted=False)
    assert measure.harm.peak > 1 / 0.05, "a canary that does not answer is slow"
