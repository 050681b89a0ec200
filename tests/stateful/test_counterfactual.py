"""Counterfactual: a rollback leaves what would exist had every turn stopped at its first influenced read."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

import kedge
from tests.stateful.programs import Result, Run, Step, histories
from tests.stateful.share import SECONDS, share

SESSIONS = ("s1", "s2")


def without(gone: set[str], steps: list[Step], results: list[Result], twin: Run) -> None:
    """Let a history happen in the twin, which never has these deployments: their turns stop before they are influenced.

    What an influenced turn wrote as source stays. What the others read must be what they read before.
    """
    for step, result in zip(steps, results, strict=True):
        influenced = bool(result.lineage & gone)
        if result.refused or (step.kind in ("deploy", "control") and step.name in gone):
            continue
        if step.kind == "begin":
            twin.step(Step(**(vars(step) | {"name": "" if step.name in gone else step.name})))
        elif step.kind == "call":
            if twin.step(step).refused:  # as in `write_as_source`
                twin.step(Step("begin", step.what, slot=step.to, session=twin.turns[step.slot].session))
        elif not influenced:
            assert twin.step(step) == result
        elif step.source and result.wrote and step.what not in ("upsert", "drop", "swap", "rephrase"):
            write_as_source(twin, step, result.wrote)
        elif step.source and step.what == "swap":
            write_as_source(twin, Step(**(vars(step) | {"what": "put"})), result.wrote)


def write_as_source(twin: Run, step: Step, value: str) -> None:
    """Write what an influenced turn wrote as source."""
    running = twin.turns[step.slot]
    try:
        twin.write(running.turn, step, value)
    except kedge.RolledBack:  # it began on an older release, which what is left out had covered: gone by now
        with twin.k.turn(running.session, agent="clerk") as turn:
            twin.write(turn, step, value)


@pytest.mark.soak
@pytest.mark.timeout(SECONDS)
@share(100)
@given(steps=histories, pick=st.integers(0, 4))
def test_a_rollback_leaves_what_would_be_there_without_the_deployment(steps: list[Step], pick: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="kedge-twins-"))
    try:
        with (
            kedge.open(folder / "real", durability="normal") as k,
            kedge.open(folder / "twin", durability="normal") as other,
        ):
            run, twin = Run(k), Run(other)
            results = [run.step(step) for step in steps]
            standing = [d for d in k.deployments() if d.status in ("staged", "canary", "live")]
            if not standing:
                return
            culprit = standing[pick % len(standing)].name
            gone = {culprit}
            for deployment in standing:  # each stands only on earlier ones
                if gone & set(deployment.bases):
                    gone.add(deployment.name)
            k.rollback(culprit, verify=False)
            if culprit == "r0":
                other.rollback("r0", verify=False)
            event(f"{sum(bool(r.lineage & gone) for r in results) // 5 * 5}+ influenced steps")
            without(gone, steps, results, twin)
            for session in (None, *SESSIONS):
                assert run.shown(session) == twin.shown(session)
            run.end()
            twin.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
