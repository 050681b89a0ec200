"""Observations: what a look at new sessions costs among few and many, and how fast a file of verdicts is stored."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import kedge
from bench.harness import Action, Measured, Setting, interleave, median, micro, ratio
from kedge.guard.metrics import parse_metrics
from kedge.guard.units import due
from kedge.model.assignment import assign
from kedge.ports.metrics import Sample

METRICS = parse_metrics(
    {"resolved": {"kind": "success", "deadline": 60}, "helpful": {"kind": "score", "low": 1, "high": 5, "deadline": 60}}
)
NEW = 100
LATER_SECONDS = 100.0
AT_ONCE = 1_000


def observations(setting: Setting) -> Iterator[Measured]:
    """Measure a look of the guard, and a file."""
    many = max(setting.sizes.sessions, 2 * NEW)
    few = max(many // 50, NEW + 1)
    setting.say(f"beginning {many:,} sessions, and {few:,}")
    with _filled(setting.fresh("few"), few) as small, _filled(setting.fresh("many"), many) as large:
        looks = [_look(k) for k in (small, large)]
        at_few, at_many = interleave(setting.sizes.rounds, *looks)
        detail = f"{NEW} new sessions: {micro(at_few)} among {few:,}, {micro(at_many)} among {many:,}"
        yield Measured("a look of the guard, among many sessions / few", ratio(at_many, at_few), "×", detail, at_most=2)
        yield from _lines(setting, small, few)


def _filled(folder: Path, sessions: int) -> kedge.Kedge:
    """Return a database with a canary and sessions, each with a verdict and a score."""
    k = kedge.open(folder, durability="normal")
    k.deploy("v1", {"support/prompt": "one"})
    k.promote("v1")
    k.deploy("v2", {"support/prompt": "two"}, canary=0.3)
    backend, rng = k._kernel.backend, random.Random(7)
    record = backend.control.load()
    for first in range(0, sessions, AT_ONCE):
        names = [f"s-{number}" for number in range(first, min(first + AT_ONCE, sessions))]
        for name in names:
            backend.control.begin_session(name, record.epoch, assign(record, name), None, after=0, by="bench")
        now = backend.clock.now()
        backend.metrics.store([Sample("resolved", rng.random() < 0.95, now, name) for name in names])
        backend.metrics.store([Sample("helpful", rng.uniform(1, 5), now, name) for name in names])
    return k


def _look(k: kedge.Kedge) -> Action:
    kernel = k._kernel
    now = kernel.backend.clock.now() + LATER_SECONDS
    whole = due(kernel, "v2", METRICS, after=0, now=now, limit=10**9)
    after = whole.units[-NEW - 1].seq
    return lambda: due(kernel, "v2", METRICS, after=after, now=now)


def _lines(setting: Setting, k: kedge.Kedge, sessions: int) -> Iterator[Measured]:
    k.guard.declare(METRICS.values())
    count, stored = setting.sizes.batch, 0

    def store() -> None:
        nonlocal stored
        moment = k._kernel.backend.clock.now()
        given = [
            json.dumps({"session": f"s-{number % sessions}", "metric": "resolved", "value": True, "at": moment})
            for number in range(count)
        ]
        stored += k.guard.observe(given).stored

    def one_by_one() -> None:
        for number in range(10):
            k.observe(session=f"s-{number}", metric="resolved", value=True)

    lines, single = interleave(setting.sizes.rounds, store, one_by_one)
    rate = count / median(lines)
    yield Measured("observations of a file, stored a second", rate, "lines/s", f"{micro(single, 10)} for a single one")
