"""Commands plan, rollback, reinstate, purge and recover."""

import time
from typing import Annotated, Any

import msgspec
import typer

from kedge.cli import database, plan_text
from kedge.cli.app import INSPECT, UNDO, app
from kedge.cli.feature_check import warn_of_unknown_features
from kedge.cli.indicator_text import indicator_lines
from kedge.cli.interrupts import notice_if_slow, report_interrupt
from kedge.cli.options import By, Db, Json, Name, Reason, Yes
from kedge.cli.terminal import (
    ask,
    ask_for,
    count,
    decline,
    emit,
    heading,
    inputs_to_replay,
    listing,
    may_ask,
    progress_bar,
    say,
    spinner,
    weight,
    whisper,
)
from kedge.face import Kedge
from kedge.recovery.attribution import without_artifacts
from kedge.recovery.plan import RollbackPlan
from kedge.recovery.reinstate import ReinstateReport
from kedge.recovery.rollback_report import RollbackReport

FAILED = 1


@app.command(rich_help_panel=INSPECT)
def plan(
    name: Name,
    *,
    after: Annotated[
        int,
        typer.Option(
            "--after", metavar="TURN", min=0, help="List what came after this turn: `next_turn` of the page before."
        ),
    ] = 0,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Show what a rollback would do; change nothing.

    The plan lists the keys that change, the sessions and agents that are affected, and the work that remains. Counts
    are of the whole rollback; sessions and inputs are listed for 1,000 turns at a time.
    """
    with database.for_reading(db, database.config()) as k:
        if as_json:
            emit(msgspec.to_builtins(k.plan(name, after=after)))
            return
        found = _plan(k, name, after)
        plan_text.print_plan(found, [k.deployment(each) for each in (name, *found.goes_with_it)], time.time())


def _plan(k: Kedge, name: str, after: int = 0) -> RollbackPlan:
    """Print the head of a plan at once, then work it out."""
    plan_text.print_head(k.deployment(name), time.time())
    with spinner("computing the plan", silent=False):
        return k.plan(name, after=after)


@app.command(rich_help_panel=UNDO)
def rollback(
    name: Name,
    *,
    reason: Reason = "",
    hold: Annotated[
        list[str] | None,
        typer.Option(
            "--hold", metavar="FEATURE", help="Freeze this feature until the rollback is verified. Repeatable."
        ),
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(
            "--wait",
            metavar="SECONDS",
            min=0,
            help="Maximum wait for members. Default: until each acknowledges or its lease expires.",
        ),
    ] = None,
    yes: Yes = False,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Hide everything that a deployment caused, in every store, at once.

    Then wait until every member has acknowledged it, and verify it in the stores. To undo: kedge reinstate.
    """
    with database.for_reconciling(db) as k, report_interrupt(k, name, "the rollback"):
        warn_of_unknown_features(k, hold or (), name)
        if may_ask(yes=yes, as_json=as_json, what=f"rollback {name}"):
            plan_text.print_summary(_plan(k, name))
            say(f"  Full plan: kedge plan {name}", "dim")
            if not ask(f"Roll back {name}?"):
                decline()
        with notice_if_slow(
            f"Waiting for running writes to finish; {name} is not rolled back yet…", silent=as_json
        ) as started:

            def tell(step: str) -> None:
                started()
                whisper(f"  {step}")

            told = None if as_json else tell
            report = k.rollback(name, reason=reason, by=by, hold=hold or (), wait=wait, on_step=told)
    if as_json:
        emit({**_with_verdict(report), "ok": report.ok, "verdict": report.verdict})
    else:
        _print_report(report)
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
    """Undo a rollback exactly.

    Everything that the rollback hid becomes visible again, including writes that arrived since.
    """
    with database.for_reconciling(db) as k, report_interrupt(k, name, "the reinstatement"):
        standing = k.deployment(name)
        if may_ask(yes=yes, as_json=as_json, what=f"reinstate {name}"):
            why = f': "{standing.reason}"' if standing.reason else ""
            say(f"{name} is {standing.status}, by {standing.by}{why}.")
            say("Reinstating makes everything that it caused visible again to the sessions that saw it before.")
            if not ask(f"Reinstate {name}?"):
                decline()
        steps: list[str] = []
        with spinner("reinstating", silent=as_json):
            report = k.reinstate(name, reason=reason, by=by, on_step=steps.append)
    if as_json:
        emit({**msgspec.to_builtins(report), "ok": report.ok, "verdict": report.verdict})
    else:
        _print_reinstated(report, steps)
    return 0 if report.ok else FAILED


@app.command(rich_help_panel=UNDO)
def purge(name: Name, *, yes: Yes = False, by: By = None, db: Db = None, as_json: Json = False) -> int:
    """Delete permanently what a rolled-back deployment caused.

    Also deletes what its dependants caused. Asks you to type the deployment's name.
    """
    with database.for_changing(db) as k, report_interrupt(k, name, "the purge"):
        if may_ask(yes=yes, as_json=as_json, what=f"purge {name}"):
            others = _dependants(k, name)
            also = f" and of its dependants: {listing(others)}" if others else ""
            say(f"Purge deletes every write of {name}{also}.", "bold")
            say("This cannot be undone. Only digests remain in the log.", "bold")
            waiting = {item.seq for gone in (name, *others) for item in k.replay_pending(gone)}
            if waiting:
                say(f"{inputs_to_replay(len(waiting))}; run replay first to answer them.", "yellow")
                say("After the purge, replay no longer lists them.", "yellow")
            if not ask_for("Type the deployment's name to continue:", name):
                decline("The name does not match.")
        with progress_bar(f"purging {name}", silent=as_json) as progress:
            report = k.purge(name, confirm=name, by=by, progress=progress)
    if as_json:
        emit(msgspec.to_builtins(report))
        return 0
    say(f"{name} is purged: {count(report.erased_writes, 'write')} permanently deleted", "bold")
    if report.went_with_it:
        say(f"  Also purged: {listing(report.went_with_it)}")
    return 0


@app.command(rich_help_panel=UNDO)
def recover(*, db: Db = None, as_json: Json = False) -> int:
    """Finish interrupted rollbacks, purges and reconciliations.

    An operation is unfinished if its process died, or if a member or external system did not respond in time.
    """
    with database.for_reconciling(db) as k:
        with progress_bar("recovering", silent=as_json) as progress:
            done = k.recover(on_step=None if as_json else whisper, progress=progress)
        left = k.status().unfinished
    if as_json:
        emit({"done": done, "unfinished": left, "ok": not left})
    elif not done:
        say("Nothing to recover.")
    else:
        for line in done:
            say(line, "bold")
    return FAILED if left else 0


def _print_reinstated(report: ReinstateReport, steps: list[str]) -> None:
    at = f" at {weight(report.weight)}" if report.status == "canary" else ""
    visible = count(report.writes_visible, "write")
    say(f"{report.name} is {report.status}{at} again; everything that it caused is visible: {visible}", "bold")
    if report.came_back_with_it:
        say(f"  Also reinstated: {listing(report.came_back_with_it)}")
    if report.still_hidden:
        say(f"  Still hidden, because they depend on another rolled-back deployment: {listing(report.still_hidden)}")
    if report.released:
        say(f"  Released: {listing(report.released)}")
    for step in steps:
        say(f"  {step}")
    found = report.indicators
    if found is None:
        say("  Not verified: run `kedge status`", "yellow")
    elif found.ok:
        say(f"  Verified: {found.keys_checked} keys compared with all writes to them")
    else:
        say("VERIFICATION FAILED: run `kedge fsck --full`", "bold red")
    for waiting in report.waiting:
        say(f"  Waiting for {waiting}", "yellow")
    if not all(outcome.ok for outcome in report.reconciled):
        say("External systems are not reconciled: run `kedge recover`", "bold red")


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


def _print_report(report: RollbackReport) -> None:
    found = report.indicators
    if found is not None:
        heading("Indicators (measured in the stores)")
        for label, value in indicator_lines(found):
            say(f"  {label:<28}{value}")
    say()
    warned = without_artifacts(report.unattributed)
    say(report.verdict, "bold red" if not report.ok else "bold yellow" if warned else "bold green")
    if report.ok:
        say(f"To undo: kedge reinstate {report.deployment}", "dim")
