"""Units of a launch equal a naive recomputation from all sessions and samples, on random histories."""

from __future__ import annotations

import random
from typing import Any

import pytest

import kedge
from kedge.errors import UnknownName
from kedge.guard import units as streams
from kedge.guard.metrics import Metric, parse_metrics
from kedge.guard.units import Unit, due, hard_events
from kedge.model import assignment, draws
from kedge.ports.metrics import Sample
from kedge.turns.kernel import Kernel
from tests.contract.conftest import HandClock

METRICS = parse_metrics(
    {
        "resolved": {"kind": "success", "deadline": 40},
        "error": {"kind": "failure", "deadline": 10, "absent": False},
        "helpful": {"kind": "score", "low": 1, "high": 5, "deadline": 20},
        "wait": {"kind": "latency", "timeout": 9, "deadline": 20},
        "retries": {"kind": "count", "high": 4, "deadline": 30},
        "cost": {"kind": "ratio", "high": 3, "deadline": 30},
        "leak": {"kind": "event"},
    }
)
TESTED = {name: metric for name, metric in METRICS.items() if metric.is_tested}
LONGEST = 40.0
VALUES: dict[str, list[Any]] = {
    "resolved": [True, True, False], "error": [False, True], "helpful": [1, 2.5, 5], "wait": [0.5, 12.0],
    "retries": [0, 1, 3], "cost": [[1, 2], [5, 1], [1, 0]],
}  # fmt: skip


class History:
    """A random history on one database, and what a naive reader knows of it."""

    def __init__(self, k: kedge.Kedge, clock: HandClock, seed: int) -> None:
        self.k, self.clock, self.rng, self.seed = k, clock, random.Random(seed), seed
        self.kernel: Kernel = k._kernel
        self.begun: list[dict[str, Any]] = []  # each session that began, and began again after its end
        self.open: dict[str, dict[str, Any]] = {}
        self.samples: list[Sample] = []
        self.changes: list[tuple[float, str, bool]] = []  # when a session's arm became which

    def chance(self, unit: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, float] | None:
        """Return phase and share: what the draw alone would change, by trying both ends of it."""
        record = self.kernel.backend.control.load()
        deployment = next((d for d in record.deployments if d.name == "v2"), None)
        if deployment is None:
            return None
        found = []
        for end in (0.0, 1.0 - 1e-12):
            with monkeypatch.context() as patch:
                real = draws.drawn
                patch.setattr(assignment, "drawn", lambda d, u, e=end, real=real: e if d == "v2" else real(d, u))
                found.append(deployment.number in assignment.assign(record, unit, None, self.kernel.lists_of(record)))
        if found != [True, False]:
            return None
        is_live = deployment.status is kedge.Status.LIVE
        return ("holdback", 1 - deployment.holdback) if is_live else ("canary", deployment.weight)

    def step(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock.time += self.rng.choice([0.0, 0.5, 1.0, 4.0])
        act = self.rng.random()
        if act < 0.4:
            self.begin(monkeypatch)
            self.observe("resolved")
        elif act < 0.85:
            self.observe()
        elif act < 0.95 and self.open:
            self.leave(self.rng.choice(list(self.open)[-3:]))
        else:
            self.control()

    def begin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        name = f"s-{self.rng.randrange(60)}"
        if name in self.open:
            return
        again = [session for session in self.begun if session["name"] == name]
        unit_id = again[-1]["unit_id"] if again else self.rng.choice([None, f"u-{self.rng.randrange(6)}"])
        opened = self.rng.random() < 0.05 and self.is_canary()
        phase_share = None if opened else self.chance(unit_id or name, monkeypatch)
        with self.k.turn(session=name, agent="support", unit_id=unit_id, deployment="v2" if opened else None):
            pass
        standing = self.kernel.backend.control.session(name)
        assert standing is not None
        number = self.kernel.backend.control.number_of("v2")
        session = {
            "name": name, "unit_id": unit_id, "seq": standing.seq, "at": standing.at, "drawn": phase_share,
            "canary": number in standing.base, "number": standing.generation, "until": float("inf"),
        }  # fmt: skip
        for earlier in again:
            earlier["until"] = min(earlier["until"], standing.at)
        self.open[name] = session
        self.begun.append(session)

    def leave(self, name: str) -> None:
        """End a session, or refresh it, which may change its arm."""
        if self.rng.random() < 0.5:
            self.k.end_session(name)
            del self.open[name]
            return
        if self.is_canary():
            self.k.canary("v2", self.rng.choice([0.05, 0.95]))
        self.k.refresh(name)
        standing = self.kernel.backend.control.session(name)
        assert standing is not None
        for session in self.begun:
            number = self.kernel.backend.control.number_of("v2")
            if session["name"] == name and session["canary"] != (number in standing.base):
                session["until"] = min(session["until"], standing.at)
        self.clock.time += 0.5
        self.store("error", True, self.clock.time, name, None)

    def observe(self, metric: str | None = None) -> None:
        if not self.begun:
            return
        session = self.begun[-1] if metric is not None else self.rng.choice(self.begun[-25:])
        metric = metric or self.rng.choice(sorted(TESTED))
        at = self.clock.time - self.rng.choice([0.0, 0.0, 1.0, 5.0])
        value = self.rng.choice([*VALUES[metric], "nonsense"])
        self.store(metric, value, at, session["name"], self.rng.choice([None, self.clock.time]))

    def store(self, metric: str, value: Any, at: float, session: str, recorded_at: float | None) -> None:
        sample = Sample(metric, value, at, session, recorded_at=recorded_at)
        self.kernel.backend.metrics.observe(sample)
        self.samples.append(sample)

    def is_canary(self) -> bool:
        return any(d.name == "v2" and d.status is kedge.Status.CANARY for d in self.k.deployments())

    def control(self) -> None:
        k, rng = self.k, self.rng
        status = {d.name: d.status for d in k.deployments()}
        if "v2" not in status:
            if self.seed % 2:  # it comes first, so those who join it cannot join v2
                k.deploy("rival", {"support/prompt": "three"}, canary=0.4)
            else:  # v2 rests on it, so those held back from it cannot join v2
                k.deploy("v1", {"support/prompt": "one"})
                k.promote("v1", holdback=0.3)
            k.deploy("v2", {"support/prompt": "two"}, canary=0.3, allow=["u-1"], deny=["s-3"])
        elif status["v2"] is kedge.Status.CANARY:
            what = rng.random()
            if what < 0.6:
                k.canary("v2", rng.choice([0.0, 0.2, 0.5, 0.8, 1.0]))
            elif what < 0.75:
                k.rollback("v2", reason="test")
            elif what < 0.9:
                k.canary("v2", 0.5, allow=[], deny=["u-2"])
            else:
                k.promote("v2", holdback=0.4)
        elif status["v2"] is kedge.Status.ROLLED_BACK:
            k.reinstate("v2", reason="test")

    def naive(self, now: float, deadline: float = LONGEST) -> list[Unit]:
        found: list[Unit] = []
        drawn = [s for s in sorted(self.begun, key=lambda s: s["seq"]) if s["drawn"] and 0 < s["drawn"][1] < 1]
        for at, session in enumerate(drawn):
            if session["at"] + deadline + 1.0 > now:
                break
            earlier = [
                s for s in drawn[:at] if self.unit(s) == self.unit(session) and s["drawn"][0] == session["drawn"][0]
            ]
            verdicts = {}
            for name, metric in TESTED.items():
                verdict = self.verdict(metric, session)
                was_bad = any(metric.is_binary and self.bad(metric, each) for each in earlier)
                if not earlier or (metric.is_binary and not was_bad and self.bad(metric, session)):
                    verdicts[name] = verdict
            if verdicts:
                phase, share = session["drawn"]
                arm = "canary" if session["canary"] else "baseline"
                found.append(
                    Unit(
                        session["seq"], self.unit(session), session["name"], arm, share, session["at"], verdicts,
                        not earlier, phase,
                    )
                )  # fmt: skip
        return found

    def unit(self, session: dict[str, Any]) -> str:
        return str(session["unit_id"] or session["name"])

    def verdict(self, metric: Metric, session: dict[str, Any]) -> Any:
        values = []
        for sample in self.samples:
            arrived = sample.at if sample.recorded_at is None else sample.recorded_at
            is_own = sample.session == session["name"] and sample.metric == metric.name and sample.value != "nonsense"
            starts = session["at"] if session["number"] > 1 else 0.0
            if is_own and starts <= sample.at < session["until"] and arrived <= session["at"] + metric.deadline:
                values.append(sample.value)
        return metric.verdict(values)

    def bad(self, metric: Metric, session: dict[str, Any]) -> bool:
        verdict = self.verdict(metric, session)
        if verdict is None:
            return not session["canary"]
        return bool(verdict is (metric.kind == "failure"))


def _keys(units: list[Unit]) -> list[Any]:
    return [(u.seq, u.unit, u.session, u.arm, u.share, u.at, u.verdicts, u.is_first, u.phase) for u in units]


@pytest.mark.parametrize("seed", range(1, 5))
def test_units_equal_a_naive_recomputation(
    k: kedge.Kedge, clock: HandClock, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(k, clock, seed)
    rng = random.Random(seed)
    monkeypatch.setattr(streams, "PAGE", 7)
    taken: list[Unit] = []
    after = 0
    for _ in range(250):
        history.step(monkeypatch)
        if rng.random() < 0.05:
            part = (
                due(history.kernel, "v2", METRICS, after=after, now=clock.time, limit=rng.choice([1, 3, 100]))
                if (history.kernel.backend.control.number_of("v2"))
                else None
            )
            if part is not None:
                taken, after = [*taken, *part.units], part.upto
    end = clock.time + 2 * LONGEST
    expected = _keys(history.naive(end))
    assert _keys(list(due(history.kernel, "v2", METRICS, after=0, now=end, limit=10_000).units)) == expected
    taken += list(due(history.kernel, "v2", METRICS, after=after, now=end, limit=10_000).units)
    assert _keys(taken) == expected, "in parts, as time goes on"
    middle = clock.time - 5.0
    assert _keys(list(due(history.kernel, "v2", METRICS, after=0, now=middle, limit=10_000).units)) == _keys(
        history.naive(middle)
    )
    arms = {unit.arm for unit in taken}
    assert arms == {"canary", "baseline"}
    assert any(not unit.is_first for unit in taken)


def test_one_bad_value_of_a_hard_metric_is_an_event_of_the_deployments_that_its_session_sees(
    k: kedge.Kedge, clock: HandClock
) -> None:
    kernel = k._kernel
    k.deploy("v2", {"support/prompt": "two"}, canary=1.0)
    with k.turn(session="in", agent="support") as turn:
        turn.observe("leak", False)
        turn.observe("leak", True)
    k.canary("v2", 0.0)
    with k.turn(session="out", agent="support") as turn:
        turn.observe("leak", True)
    hard = parse_metrics(
        {"leak": {"kind": "event"}, "safe": {"kind": "success", "hard": True}, "soft": {"kind": "success"}}
    )
    found = hard_events(kernel, "v2", hard)
    assert [(event.metric, event.session) for event in found] == [("leak", "in")]
    clock.time += 60.0
    kernel.backend.metrics.store(
        [Sample(name, False, clock.time - 30.0, "in", recorded_at=clock.time) for name in ("safe", "soft")]
    )
    assert [event.metric for event in hard_events(kernel, "v2", hard, after=found[0].number, since=clock.time)] == [
        "safe"
    ]
    assert hard_events(kernel, "v2", {"soft": hard["soft"]}) == []
    far = kernel.backend.metrics.newest() + streams.LOOK_BACK
    assert hard_events(kernel, "v2", hard, after=far) == [], "those that were looked at do not come for ever"


def test_units_of_an_unknown_deployment_and_of_one_that_no_session_was_shown(k: kedge.Kedge) -> None:
    k.deploy("v22", {"support/prompt": "two"})
    with pytest.raises(UnknownName, match="did you mean 'v22'"):
        due(k._kernel, "v2", METRICS, after=0, now=1e12)
    assert due(k._kernel, "v22", METRICS, after=0, now=1e12).units == ()


def test_a_look_reads_what_is_new(k: kedge.Kedge, clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, read = k._kernel, list[int]()
    k.deploy("v2", {"support/prompt": "two"}, canary=0.5)

    def begin(first: int, count: int) -> None:
        for number in range(first, first + count):
            with k.turn(session=f"s-{number}", agent="support", unit_id=f"u-{number % 20}") as turn:
                turn.observe("resolved", True)

    def counted(call: Any) -> Any:
        def look(*arguments: Any) -> Any:
            found = call(*arguments)
            read.append(len(found))
            return found

        return look

    begin(0, 40)
    clock.time += 60.0
    before = due(kernel, "v2", METRICS, after=0, now=clock.time)
    assert len(before.units) >= 20
    begin(40, 2)
    clock.time += 60.0
    for port, name in (
        (kernel.backend.assignments, "assigned"), (kernel.backend.assignments, "generations"),
        (kernel.backend.assignments, "of_units"), (kernel.backend.metrics, "of_sessions"),
    ):  # fmt: skip
        monkeypatch.setattr(port, name, counted(getattr(port, name)))
    due(kernel, "v2", METRICS, after=before.upto, now=clock.time)
    assert 0 < sum(read) <= 1 + 2 + 2 + 2 * 2 + 2 * 2 + 2 * 3, "the two, and the earlier sessions of their two users"
    read.clear()
    assert due(kernel, "v2", METRICS, after=before.upto + 10_000, now=clock.time).units == ()
    assert sum(read) == 0
