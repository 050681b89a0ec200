"""The engine of a launch, in simulated worlds: what it promotes, rolls back, degrades, and holds for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kedge.guard.engine import advance
from kedge.guard.evidence import decode_units, encode_units
from kedge.guard.launch_state import Gate, LaunchUnit, Phase, State
from kedge.guard.measure import Measure, MeasureState
from kedge.model.control import Status
from tests.unit.launches import RESOLVED, Simulated, rates, release_of

GOOD, BAD = rates(0.95), rates(0.5)


def rung(simulated: Simulated) -> str:
    return str(simulated.state.rung)


def why(simulated: Simulated) -> str:
    return "; ".join(simulated.state.why)


def test_a_good_canary_is_promoted_and_its_watch_ends() -> None:
    simulated = Simulated(release_of(), GOOD)
    assert simulated.to() is Phase.FINISHED
    assert simulated.done == ["snapshot", "canary", "canary", "promote", "release"]
    assert min(simulated.state.watched) > 0


@pytest.mark.parametrize("seed", range(5))
def test_a_bad_canary_is_rolled_back_before_its_promotion(seed: int) -> None:
    simulated = Simulated(release_of(), BAD, seed=seed)
    assert simulated.to() is Phase.ROLLED_BACK
    assert simulated.state.blocks, "promotions pause after an automatic rollback"
    assert "promote" not in simulated.done
    assert sum(simulated.state.seen) < 300


def test_settling_follows_the_watch() -> None:
    simulated = Simulated(release_of(settle_after="2h"), GOOD)
    assert simulated.to() is Phase.SETTLED
    assert simulated.done[-2:] == ["settle", "release"]
    assert simulated.now >= simulated.since + 7200


def test_a_canary_that_becomes_bad_after_its_promotion_is_rolled_back() -> None:
    simulated = Simulated(release_of(holdback=0.3, watch="3d"), GOOD)
    assert simulated.to(Phase.WATCH) is Phase.WATCH
    simulated.verdicts = BAD
    assert simulated.to() is Phase.ROLLED_BACK
    assert "holdback" in why(simulated)


def test_a_service_level_only_degrades() -> None:
    metric = RESOLVED | {"slo": 0.9}
    simulated = Simulated(release_of(holdback=0.3, watch="1d", metrics={"resolved": metric}), GOOD)
    assert simulated.to(Phase.WATCH) is Phase.WATCH
    simulated.verdicts = rates(0.5, 0.5)  # a drift that both versions share
    for _ in simulated.run(60):
        if "tighten" in simulated.done:
            break
    assert simulated.done[-1] == "tighten"
    assert simulated.state.phase is Phase.WATCH
    assert "roll_back" not in simulated.done


# ── promotion needs evidence ──


def test_without_evidence_of_its_metric_nothing_is_promoted() -> None:
    metric = RESOLVED | {"margin": 0.001}  # no number of sessions here can show that
    simulated = Simulated(release_of(metrics={"resolved": metric}), GOOD)
    assert simulated.to(looks=120) is Phase.RAMP
    assert "not shown to be no worse" in why(simulated)
    assert "promote" not in simulated.done


def test_a_canary_worse_by_the_margin_is_never_promoted() -> None:
    promoted = 0
    for seed in range(20):
        simulated = Simulated(release_of(alpha=0.05), rates(0.84), seed=seed)  # margin 0.1: the null holds
        simulated.to(Phase.WATCH, looks=150)
        promoted += "promote" in simulated.done
    assert promoted <= 1


def test_approval_is_the_last_gate_and_a_person_gives_it() -> None:
    simulated = Simulated(release_of(approval=True), GOOD)
    assert simulated.to(Phase.APPROVAL) is Phase.APPROVAL
    simulated.look()
    assert simulated.state.phase is Phase.APPROVAL
    assert "promote" not in simulated.done
    simulated.look(requests=(simulated.ask("approve"),))
    assert simulated.done[-1] == "promote"


def test_promotions_wait_after_the_rollback_of_another_launch() -> None:
    simulated = Simulated(release_of(), GOOD)
    assert simulated.to(looks=80) is not Phase.GATES
    simulated = Simulated(release_of(), GOOD)
    for _ in simulated.run(120, blocked="v1"):
        pass
    assert "promote" not in simulated.done
    assert "'v1' was rolled back" in why(simulated)
    assert simulated.to(Phase.WATCH) is Phase.WATCH


def test_a_stage_takes_its_sessions_and_its_soak() -> None:
    simulated = Simulated(release_of(soak=["5min", 0], min_sessions=[40, 40]), GOOD)
    began = simulated.now
    for _ in simulated.run():
        if simulated.done.count("canary") == 2:
            break
    assert simulated.now - began >= 300
    assert "canary at 50%" in simulated.events[-1]


# ── faults of the data: it holds, it never passes ──


def _hold(simulated: Simulated, words: str, looks: int = 120) -> None:
    for _ in simulated.run(looks):
        pass
    assert simulated.state.phase is Phase.RAMP
    assert words in why(simulated)
    assert simulated.done.count("canary") == 1, "it passed a stage"


def test_it_holds_without_data_of_one_metric() -> None:
    metrics = {"resolved": RESOLVED, "speed": {"kind": "latency", "timeout": 10, "deadline": 60}}
    _hold(Simulated(release_of(metrics=metrics), GOOD), "no data of speed")


def test_it_holds_for_a_sample_ratio_mismatch() -> None:
    simulated = Simulated(release_of(), GOOD)
    simulated.look()
    for _ in range(30):
        units = [unit for unit in simulated.sessions(20) if unit.arm == "baseline" or simulated.draw.random() < 0.3]
        simulated.look(units)
    assert simulated.state.phase is Phase.RAMP
    assert "sample-ratio mismatch" in why(simulated)


def test_it_holds_where_verdicts_are_missing_unequally() -> None:
    def verdicts(arm: str, draw: Any) -> dict[str, Any]:
        return {"resolved": None if arm == "canary" and draw.random() < 0.5 else draw.random() < 0.95}

    metric = RESOLVED | {"max_missing": 0.9}
    _hold(Simulated(release_of(metrics={"resolved": metric}, min_sessions=200), verdicts), "missing unequally")


def test_it_holds_where_too_many_verdicts_are_missing() -> None:
    def verdicts(_arm: str, draw: Any) -> dict[str, Any]:
        return {"resolved": None if draw.random() < 0.3 else True}

    _hold(Simulated(release_of(), verdicts), "too many verdicts")


def test_it_holds_without_traffic() -> None:
    simulated = Simulated(release_of(idle="1min"), GOOD)
    for _ in range(3):
        simulated.look()
    for _ in range(30):
        simulated.look(units=0)
    assert simulated.state.phase is Phase.RAMP
    assert "no traffic" in why(simulated)


def test_it_holds_while_the_clock_is_behind_its_sessions() -> None:
    simulated = Simulated(release_of(), GOOD)
    simulated.look()
    simulated.look()
    simulated.now -= 3600
    simulated.look(0)
    assert "clock went back by 3590 s" in why(simulated)


def test_it_holds_for_what_others_found() -> None:
    simulated = Simulated(release_of(), GOOD)
    for _ in simulated.run(60, findings=("a member is behind",)):
        pass
    assert simulated.done.count("canary") == 1
    assert "a member is behind" in why(simulated)


def test_a_canary_that_vanished_has_failed() -> None:
    simulated = Simulated(release_of(), lambda arm, _draw: {"resolved": None if arm == "canary" else True})
    assert simulated.to() is Phase.ROLLED_BACK
    assert "vanished" in why(simulated)


def test_a_safety_event_acts_at_once() -> None:
    simulated = Simulated(release_of(), GOOD)
    simulated.look()
    simulated.look(units=0, hard=("leaked",))
    assert simulated.done[-1] == "roll_back"
    assert "leaked" in why(simulated)


def test_failed_gates_start_no_canary() -> None:
    simulated = Simulated(release_of(), GOOD)
    simulated.look(gates=(Gate("embedding", False, "norms differ"),))
    assert simulated.done == []
    assert simulated.state.phase is Phase.GATES
    assert "embedding failed: norms differ" in why(simulated)


# ── steps ──


def _evidence(simulated: Simulated, failures: int) -> None:
    """Let so many canary sessions fail in a row."""
    units = [LaunchUnit("canary", simulated.weight, simulated.era, {"resolved": False}) for _ in range(failures)]
    units += [LaunchUnit("baseline", simulated.weight, simulated.era, {"resolved": True})]
    simulated.look(units)


def test_the_steps_are_freeze_then_half_the_weight_and_supervised_then_rollback() -> None:
    simulated = Simulated(release_of(alpha=0.001), GOOD)
    simulated.look()
    _evidence(simulated, 2)
    assert rung(simulated) == "hold"
    assert simulated.weight == 0.2
    _evidence(simulated, 1)
    assert rung(simulated) == "degrade"
    assert simulated.done[-2:] == ["tighten", "canary"]
    assert simulated.weight == 0.1
    _evidence(simulated, 10)
    assert simulated.done[-1] == "roll_back"


def test_the_weight_is_halved_while_the_promotion_waits_too() -> None:
    simulated = Simulated(release_of(alpha=0.001, approval=True), GOOD)
    assert simulated.to(Phase.APPROVAL) is Phase.APPROVAL
    for _ in range(100):
        if "tighten" in simulated.done:
            break
        simulated.look([LaunchUnit("canary", 0.5, simulated.era, {"resolved": False})])
    assert simulated.done[-2:] == ["tighten", "canary"]
    assert simulated.weight == 0.25


def test_a_person_who_resumes_as_it_is_rolled_back_lifts_no_level_of_the_guard() -> None:
    simulated = Simulated(release_of(alpha=0.001), GOOD)
    simulated.look()
    _evidence(simulated, 3)
    _evidence(simulated, 10)
    assert simulated.done[-1] == "roll_back"
    simulated.look(0, requests=(simulated.ask("resume"),))
    assert simulated.state.phase is Phase.ROLLED_BACK
    assert "loosen" not in simulated.done, "the guard may not, so that its pilot would never end"


def _good(simulated: Simulated, looks: int) -> None:
    for _ in range(looks):
        units = [LaunchUnit("baseline", simulated.weight, simulated.era, {"resolved": False})] * 5
        units += [LaunchUnit("canary", simulated.weight, simulated.era, {"resolved": True})] * 20
        simulated.look(units)


def test_the_guard_steps_back_one_rung_after_a_calm_time_and_two_flips_a_day_latch() -> None:
    simulated = Simulated(release_of(alpha=0.001, dwell=60, recover_sessions=40), GOOD)
    simulated.look()
    _evidence(simulated, 3)
    assert rung(simulated) == "degrade"
    for _ in range(40):
        before = rung(simulated)
        if before == "none":
            break
        _good(simulated, 1)
        if before == "degrade" and rung(simulated) != before:
            assert rung(simulated) == "hold", "one rung at a time"
            assert simulated.now - simulated.looks[1][1].now >= 60
    assert rung(simulated) == "none"
    assert "loosen" in simulated.done
    for _ in range(12):
        _evidence(simulated, 4)
        if rung(simulated) != "none":
            break
    assert simulated.state.latched
    _good(simulated, 60)
    assert rung(simulated) != "none"
    assert "a person must resume" in why(simulated)
    simulated.look(requests=(simulated.ask("resume"),))
    assert not simulated.state.latched


def test_a_signal_freezes_the_ramp_and_no_more() -> None:
    metrics = {"resolved": RESOLVED, "cost": RESOLVED | {"role": "signal"}}

    def verdicts(arm: str, draw: Any) -> dict[str, Any]:
        return {"resolved": draw.random() < 0.95, "cost": arm == "baseline"}

    simulated = Simulated(release_of(metrics=metrics), verdicts)
    for _ in simulated.run(60):
        pass
    assert simulated.state.phase is Phase.RAMP
    assert rung(simulated) == "hold"
    assert not {"tighten", "roll_back", "promote"} & set(simulated.done)


# ── people ──


def test_a_paused_launch_stays_and_is_still_rolled_back() -> None:
    simulated = Simulated(release_of(), GOOD)
    simulated.look()
    simulated.look(requests=(simulated.ask("pause", reason="lunch"),))
    for _ in range(60):
        simulated.look()
    assert simulated.done.count("canary") == 1
    assert "paused by ann (lunch)" in why(simulated)
    simulated.verdicts = BAD
    assert simulated.to() is Phase.ROLLED_BACK


def test_an_abort_rolls_back_or_keeps_the_deployment_and_blocks_nobody() -> None:
    simulated = Simulated(release_of(), GOOD)
    simulated.look()
    simulated.look(requests=(simulated.ask("abort"),))
    assert simulated.to() is Phase.ROLLED_BACK
    assert not simulated.state.blocks
    kept = Simulated(release_of(), GOOD)
    kept.look()
    kept.look(requests=(kept.ask("abort", keep=True),))
    assert kept.state.phase is Phase.ABORTED
    assert "roll_back" not in kept.done


def test_an_abort_changes_nothing_of_a_rollback_that_has_begun() -> None:
    for keep in (False, True):
        simulated = Simulated(release_of(), GOOD)
        simulated.look()
        simulated.look(hard=("leaked",))
        simulated.status = Status.CANARY  # it was refused
        simulated.look(requests=(simulated.ask("abort", keep=keep),), trouble="roll_back was not done")
        assert simulated.to() is Phase.ROLLED_BACK
        assert simulated.state.blocks, "the guard rolled it back: promotions wait for a person"


def test_a_weight_that_is_refused_is_not_tried_again_while_it_is_paused() -> None:
    simulated = Simulated(release_of(), GOOD)
    simulated.look()
    simulated.status, simulated.weight = Status.STAGED, 0.0
    simulated.look(0, requests=(simulated.ask("pause"),), trouble="canary was not done")
    for _ in range(20):
        simulated.look(0, trouble="canary was not done")
    assert simulated.weight == 0
    simulated.look(0, requests=(simulated.ask("resume"),), trouble="canary was not done")
    assert simulated.weight == 0.2


def test_a_weight_that_a_person_sets_pauses_the_launch() -> None:
    simulated = Simulated(release_of(), GOOD)
    simulated.look()
    simulated.weight = 0.7
    simulated.look(by="ann")
    assert "ann set the weight to 70%" in simulated.state.paused
    simulated.look(requests=(simulated.ask("resume"),))
    simulated.look()
    assert simulated.weight == 0.2


@pytest.mark.parametrize("status", [Status.ROLLED_BACK, Status.SETTLED])
def test_what_a_person_did_with_the_deployment_ends_the_launch(status: Status) -> None:
    simulated = Simulated(release_of(), GOOD)
    simulated.look()
    simulated.status = status
    simulated.look(by="ann")
    assert simulated.state.phase in (Phase.ROLLED_BACK, Phase.SETTLED)
    assert not simulated.state.blocks


def test_an_action_that_cannot_be_done_is_tried_again_and_not_taken_for_a_person() -> None:
    simulated = Simulated(release_of(), GOOD)
    simulated.look()
    simulated.status, simulated.weight = Status.STAGED, 0.0  # the canary was refused
    for _ in range(20):
        simulated.look(units=0, trouble="canary was not done: it rests on 'v1'")
        simulated.status, simulated.weight = Status.STAGED, 0.0
    assert simulated.state.paused == ""
    assert simulated.done.count("canary") in (3, 4, 5), "once a minute"
    assert "rests on 'v1'" in why(simulated)


# ── it is pure ──


def test_the_same_looks_from_the_stored_state_give_the_same_decisions() -> None:
    simulated = Simulated(release_of(), BAD)
    simulated.to()
    state = State()
    for units, world, outcome in simulated.looks:
        logged = decode_units(msgspec.json.decode(msgspec.json.encode(encode_units(units))))
        again = advance(simulated.release, state, logged, world)
        assert msgspec.json.encode(again) == msgspec.json.encode(outcome)
        state = msgspec.json.decode(msgspec.json.encode(again.state), type=State)


def test_units_in_the_log_are_compact_and_come_back() -> None:
    units = [
        LaunchUnit("canary", 0.25, 2, {"resolved": True, "score": 0.5}),
        LaunchUnit("baseline", 0.25, 2, {"resolved": None}, is_first=False),
        LaunchUnit("baseline", 0.5, 3, {"score": None}, is_promoted=True),
    ]
    document = msgspec.json.encode(encode_units(units))
    assert decode_units(msgspec.json.decode(document)) == units
    many = encode_units(units[:2] * 500)
    assert len(msgspec.json.encode(many["arms"])) + len(msgspec.json.encode(many["values"]["resolved"])) < 2_100


# ── missing verdicts ──


def test_a_missing_verdict_counts_good_for_the_canary_and_bad_for_the_baseline() -> None:
    release = release_of()
    metric = release.compared[0]

    def measure() -> Measure:
        return Measure(metric, release.limits["resolved"], release, MeasureState())

    one, other = measure(), measure()
    one.take("canary", 0.5, None, is_promoted=False)
    other.take("canary", 0.5, True, is_promoted=False)
    assert one.harm.log_e == other.harm.log_e == 0.0
    one.take("baseline", 0.5, None, is_promoted=False)
    other.take("baseline", 0.5, False, is_promoted=False)
    assert one.harm.log_e == other.harm.log_e < 0.0
    assert (one.missing, one.margin.sessions) == ([1, 1], (0, 0))


def test_sessions_of_the_ramp_that_become_due_after_the_promotion_are_not_taken_for_the_watch() -> None:
    release = release_of()
    measure = Measure(release.compared[0], release.limits["resolved"], release, MeasureState())
    measure.take("canary", 0.5, False, is_promoted=False)
    assert (measure.harm.sessions, measure.watch.sessions) == ((1, 0), (0, 0))
    measure.take("canary", 0.9, False, is_promoted=True)
    assert (measure.harm.sessions, measure.watch.sessions) == ((1, 0), (1, 0))
