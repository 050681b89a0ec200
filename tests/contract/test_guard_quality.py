"""Quality of the data of a launch: what its release declares, and refusals for which it holds."""

from __future__ import annotations

import warnings

import kedge
from kedge.guard import launches, quality
from kedge.guard.metrics import Metric, parse_metrics
from kedge.turns.kernel import Kernel
from tests.contract.conftest import HandClock

METRICS = {"helpful": {"kind": "score", "low": 1, "high": 5, "max_missing": 0.2}}
RELEASE = {"deployment": "v2", "metrics": {"resolved": {"kind": "success", "weight": 1.0}}}


def kernel_of(k: kedge.Kedge) -> Kernel:
    return k._kernel


def observe(k: kedge.Kedge, good: int, bad: int) -> None:
    with k.turn(session="s-1", agent="support") as turn, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for value in [3] * good + [9] * bad:
            turn.observe("helpful", value)


def test_a_launch_holds_where_too_many_values_are_refused(k: kedge.Kedge, clock: HandClock) -> None:
    metrics: list[Metric] = list(k.guard.declare(METRICS).values())
    start = clock.time
    observe(k, good=0, bad=quality.LEAST - 1)
    assert quality.findings(kernel_of(k), metrics, since=start) == (), "too few say nothing"
    observe(k, good=4 * quality.LEAST - 1, bad=1)
    (finding,) = quality.findings(kernel_of(k), metrics, since=start)
    assert finding.startswith("20 of 99 values of helpful were refused at the door, and 0.2 of them may be")
    observe(k, good=1, bad=0)
    assert quality.findings(kernel_of(k), metrics, since=start) == (), "just as many as may be"
    assert quality.findings(kernel_of(k), metrics, since=start + 1.0) == (), "those before the launch do not count"
    strict = parse_metrics({"helpful": METRICS["helpful"] | {"max_missing": 0}})
    assert len(quality.findings(kernel_of(k), strict.values(), since=start)) == 1


def test_a_release_declares_its_metrics_once(k: kedge.Kedge) -> None:
    k.deploy("v2", {"support/prompt": "two"})
    assert launches.begin(kernel_of(k), RELEASE, by="ann") == "v2"
    (report,) = k.guard.metrics()
    assert report.metric == Metric("resolved", "success", weight=1.0)
    entries = [entry.reason for entry in k.log() if entry.kind == "declare-metrics"]
    launches.begin(kernel_of(k), RELEASE, by="ann")
    assert entries == ["the launch of v2"]
    assert [entry.reason for entry in k.log() if entry.kind == "declare-metrics"] == entries
