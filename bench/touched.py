"""Rollback of a deployment that touched many sessions: plan, commit and verification, beside one that touched few."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import kedge
from bench.harness import Measured, Setting, median, ratio, timed
from kedge.recovery.verify import verify

TEXT = "Where is my order? It was to arrive on Friday, and the tracking page has not changed."
BAD = "v2"


def touched(setting: Setting) -> Iterator[Measured]:
    """Measure on two databases that differ only in the number of sessions."""
    many, few = setting.sizes.sessions, setting.sizes.sessions // 100
    places = {sessions: setting.fresh(f"touched-{sessions}") for sessions in (few, many)}
    for sessions, place in places.items():
        setting.say(f"building a database of {sessions:,} sessions")
        _build(place, sessions)
    taken: dict[str, dict[int, list[float]]] = {what: {few: [], many: []} for what in ("plan", "commit", "verify")}
    for _ in range(setting.sizes.flips):
        for sessions, place in places.items():
            with kedge.open(place) as k:
                for what, seconds in _one_round(k).items():
                    taken[what][sessions].append(seconds)
    writes = 11 * many
    yield Measured(
        f"plan of a rollback of {many:,} sessions, {writes:,} writes", median(taken["plan"][many]), "s",
        f"{median(taken['plan'][few]):.2f} s of {few:,}", at_most=1.0,
    )  # fmt: skip
    yield Measured(f"verification of {many:,} sessions", median(taken["verify"][many]), "s", at_most=0.5)
    yield Measured(
        f"commit of a rollback of {many:,} sessions vs one of {few:,}",
        ratio(taken["commit"][many], taken["commit"][few]), "×", f"{median(taken['commit'][many]) * 1e3:.1f} ms",
        at_most=1.5,
    )  # fmt: skip


def _one_round(k: kedge.Kedge) -> dict[str, float]:
    planned: list[float] = []
    verified: list[float] = []
    committed: list[float] = []
    with timed(planned):
        k.plan(BAD)
    control = k._kernel.backend.control
    commit = control.commit

    def timed_commit(change: object) -> object:
        with timed(committed):
            return commit(change)  # type: ignore[arg-type]

    control.commit = timed_commit  # type: ignore[method-assign,assignment]
    k.rollback(BAD, verify=False)
    with timed(verified):
        verify(k._kernel)
    k.reinstate(BAD)
    return {"plan": planned[0], "commit": committed[0], "verify": verified[0]}


def _build(place: Path, sessions: int) -> None:
    """Let an agent that the deployment does not influence write eight times a session, and one that it does thrice."""
    with kedge.open(place, durability="normal") as k:
        k.deploy("v1", {"support/prompt": "one", "triage/prompt": "one"})
        k.promote("v1")
        k.settle("v1")
        k.deploy(BAD, {"support/prompt": "two"})
        k.promote(BAD)
        for number in range(sessions):
            begin = partial(k.turn, f"s-{number:07}")
            with begin(agent="triage") as turn:
                turn.memory.extend([("user", TEXT), ("assistant", TEXT)] * 4)
            with begin(agent="support") as turn:
                turn.memory.extend([("user", TEXT), ("assistant", TEXT)])
                turn.context.put(f"case/{number}", number)
