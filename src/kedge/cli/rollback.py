"""plan, rollback, reinstate, purge, recover."""

import time
from typing import Annotated, Any

import msgspec
import typer

from kedge.cli import database, summary
from kedge.cli.app import LOOK, UNDO, app
from kedge.cli.features import warn_of_strangers
from kedge.cli.options import By, Db, Json, Name, Reason, Yes
from kedge.cli.stopping import accounted, overdue
from kedge.cli.terminal import (
    ask,
    ask_for,
    count,
    decline,
    emit,
    heading,
    listing,
    may_ask,
    progress_bar,
    say,
    spinner,
    verb,
    weight,
    whisper,
)
from kedge.face import Kedge
from kedge.recovery.rollback import RollbackReport
from kedge.recovery.verify import Indicators

FAILED = 1


@app.command(rich_help_panel=LOOK)
def plan(name: Name, *, db: Db = None, as_json: Json = False) -> None:
    """Say what a rollback would do.

    What vanishes, what falls back to what, whose work it touches, what will be left to do. Changes nothing.
    """
    with database.for_reading(db, database.config()) as k:
        with spinner("working out the plan", silent=as_json):
            found = k.plan(name)
        if as_json:
            emit(msgspec.to_builtins(found))
        else:
            summary.tell(found, k.deployment(name), time.time())


@app.command(rich_help_panel=UNDO)
def rollback(
    name: Name,
    *,
    reason: Reason = "",
    hold: Annotated[
        list[str] | None,
        typer.Option(
            "--hold", metavar="FEATURE", help="Keep this feature frozen until all is found right. Repeatable."
        ),
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option("--wait", metavar="SECONDS", min=0, help="Wait for members so long at most. Default: for all."),
    ] = None,
    yes: Yes = False,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Make all that a deployment caused disappear.

    Everywhere, at once; then wait until every member has recognised it, and verify it in the stores. It can be
    undone: kedge reinstate.
    """
    with database.for_moving(db) as k, accounted(k, name, "the rollback"):
        warn_of_strangers(k, hold or (), name)
        if may_ask(yes=yes, as_json=as_json, what=f"roll back {name!r}"):
            summary.tell_short(k.plan(name), k.deployment(name), time.time())
            say(f"  More: kedge plan {name}", "dim")
            if not ask("Roll it back?"):
                decline()
        with overdue(f"Waiting for writes that are under way; {name} is not rolled back yet…", silent=as_json) as begun:

            def tell(step: str) -> None:
                begun()
                say(f"  {step}")

            told = None if as_json else tell
            report = k.rollback(name, reason=reason, by=by, hold=hold or (), wait=wait, on_step=told)
    if as_json:
        emit({**_with_verdict(report), "ok": report.ok, "verdict": report.verdict})
    else:
        _tell_report(report)
    return 0 if report.ok else FAILED


@app.command(rich_help_panel=UNDO)
def reinstate(
    name: Name,
    *,
    reason: Reason = "",
    yes: Yes = False,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Undo a rollback, exactly.

    What it hid, and what arrived hidden since, is visible again.
    """
    with database.for_moving(db) as k, accounted(k, name, "the reinstatement"):
        standing = k.deployment(name)
        if may_ask(yes=yes, as_json=as_json, what=f"reinstate {name!r}"):
            why = f': "{standing.reason}"' if standing.reason else ""
            say(f"{name} is {standing.status}, by {standing.by}{why}.")
            say("Reinstated, everything that it caused is visible again, to all who saw it before.")
            if not ask("Reinstate it?"):
                decline()
        before = {d.name for d in k.deployments() if d.status == "rolled back"}
        steps: list[str] = []
        with spinner("reinstating", silent=as_json):
            deployed = k.reinstate(name, reason=reason, by=by, on_step=steps.append)
        left = any((e.kind, e.deployment) == ("reinstate", name) for e in k.status().unfinished)
        back = sorted(before - {d.name for d in k.deployments() if d.status == "rolled back"} - {name})
    if as_json:
        emit({"deployment": deployed, "came_back_with_it": back})
        return FAILED if left else 0
    at = f" at {weight(deployed.weight)}" if deployed.status == "canary" else ""
    say(f"{name} is {deployed.status}{at} again; everything that it caused is visible again", "bold")
    if back:
        say(f"  Back with it: {listing(back)}")
    for step in steps:
        say(f"  {step}")
    if left:
        say("External systems do not follow yet: run `kedge recover`", "bold red")
    return FAILED if left else 0


@app.command(rich_help_panel=UNDO)
def purge(name: Name, *, yes: Yes = False, by: By = None, db: Db = None, as_json: Json = False) -> int:
    """Erase for good what a rolled-back deployment caused.

    And what all that rests on it caused. It asks for the name to be typed.
    """
    with database.for_changing(db) as k, accounted(k, name, "the purge"):
        if may_ask(yes=yes, as_json=as_json, what=f"purge {name!r}"):
            others = _dependants(k, name)
            also = f", and of {listing(others)}, which {verb(len(others), 'rest')} on it" if others else ""
            say(
                f"Purging erases every write of {name}{also}. It cannot be undone; the log keeps digests alone.", "bold"
            )
            waiting = {item.seq for gone in (name, *others) for item in k.replay_pending(gone)}
            if waiting:
                inputs = f"{count(len(waiting), 'input')} {verb(len(waiting), 'wait')}"
                say(
                    f"{inputs} for replay, and will be listed no more: replay first, if users shall get answers.",
                    "yellow",
                )
            if not ask_for("Type the deployment's name to go on:", name):
                decline("That is not its name.")
        with progress_bar(f"erasing {name}", silent=as_json) as progress:
            report = k.purge(name, confirm=name, by=by, progress=progress)
    if as_json:
        emit(msgspec.to_builtins(report))
        return 0
    say(f"{name} is purged: {count(report.erased_writes, 'write')} erased for good", "bold")
    if report.went_with_it:
        say(f"  Gone with it: {listing(report.went_with_it)}")
    return 0


@app.command(rich_help_panel=UNDO)
def recover(*, db: Db = None, as_json: Json = False) -> int:
    """Finish what was left unfinished.

    By a process that crashed, or because members or external systems did not follow in time.
    """
    with database.for_moving(db) as k:
        with progress_bar("finishing", silent=as_json) as progress:
            done = k.recover(on_step=None if as_json else whisper, progress=progress)
        left = k.status().unfinished
    if as_json:
        emit({"done": done, "unfinished": left, "ok": not left})
    elif not done:
        say("Nothing was left unfinished.")
    else:
        for line in done:
            say(line, "bold")
    return FAILED if left else 0


def _dependants(k: Kedge, name: str) -> list[str]:
    found = {name}
    for deployed in k.deployments():  # in number order: bases come first
        if not found.isdisjoint(deployed.bases):
            found.add(deployed.name)
    return sorted(found - {name})


def _with_verdict(report: RollbackReport) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(report)
    if report.indicators is not None:
        document["indicators"]["ok"] = report.indicators.ok
    return document


def _tell_report(report: RollbackReport) -> None:
    found = report.indicators
    if found is not None:
        heading("Indicators, computed from the stores")
        for label, value in _indicator_lines(found):
            say(f"  {label:<28}{value}")
    say()
    say(report.verdict, "bold green" if report.ok else "bold red")
    if report.ok:
        say(f"To undo: kedge reinstate {report.deployment}", "dim")


def _indicator_lines(found: Indicators) -> list[tuple[str, str]]:
    lines = [
        ("rollback_commit_seconds", _seconds(found.rollback_commit_seconds)),
        ("rollback_completion_seconds", _seconds(found.rollback_completion_seconds)),
        ("consensus_latency_seconds", _seconds(found.consensus_latency_seconds)),
        ("vector_consistency_ratio", _ratio(found.vector_consistency_ratio, good=1.0)),
        ("memory_divergence_ratio", _ratio(found.memory_divergence_ratio, good=0.0)),
        ("context_divergence_ratio", _ratio(found.context_divergence_ratio, good=0.0)),
        ("hidden_writes_total", f"{found.hidden_writes_total:,}"),
        ("replay_pending_total", f"{found.replay_pending_total:,}"),
    ]
    if found.diverging:
        lines.append(("STILL HELD", listing(found.diverging)))
    if found.leaks:
        lines.append(("LEAKS", listing(found.leaks)))
    return lines


def _seconds(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"


def _ratio(value: float | None, *, good: float) -> str:
    if value is None:
        return "nothing to measure"
    return f"{value:.4f}" + ("" if value == good else f"  (must be {good:.0f})")
