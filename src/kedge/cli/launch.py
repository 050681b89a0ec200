"""Command launch: pilot a launch from a release file; pause, resume, abort, approve, recompute, list."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from kedge.cli import database, launch_text
from kedge.cli.app import DEPLOY, app
from kedge.cli.interrupts import Stopped, end_on_term
from kedge.cli.options import By, Db, Json, Reason, Yes
from kedge.cli.terminal import ask, decline, emit, may_ask, say, whisper
from kedge.errors import InvalidValue, KedgeError, nearest
from kedge.face import Kedge
from kedge.guard.launch_report import LaunchStatus
from kedge.guard.launch_state import Phase
from kedge.guard.launches import EVERY_SECONDS
from kedge.guard.pilot import LEASE_SECONDS
from kedge.guard.release import ReleaseFile, read_release

FAILED = 1
_WITH_NAME = ("pause", "abort", "approve", "recompute", "status")
_VERBS = (*_WITH_NAME, "resume", "list")
_GOOD = (Phase.FINISHED, Phase.SETTLED)


@app.command(rich_help_panel=DEPLOY)
def launch(
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE.toml|LAUNCH|VERB",
            help="Release file; a launch that has begun; or pause, resume, abort, approve, status, recompute, list.",
        ),
    ],
    name: Annotated[str | None, typer.Argument(metavar="[LAUNCH]", help="With a verb: the launch.")] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Run the gates, print the plan; change nothing.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Look once and end, as for cron.")] = False,
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", min=0.1, max=86_400, help="Interval between looks.")
    ] = EVERY_SECONDS,
    lease: Annotated[
        float, typer.Option("--lease", metavar="SECONDS", help="Time after which another pilot replaces a killed one.")
    ] = LEASE_SECONDS,
    keep: Annotated[bool, typer.Option("--keep", help="With abort: leave the deployment as it is.")] = False,
    reason: Reason = "",
    yes: Yes = False,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Launch a deployment that watches itself: ramp, promote, or degrade and roll back.

    A release file names the deployment, the ramp and its metrics. The pilot holds a lease: one at a time runs. A launch
    whose pilot has ended stands where it is; the same command goes on with it.

    Exit code 1: a gate failed, the deployment was rolled back, or a decision was not reproduced.
    """
    if target in _VERBS:
        _check_flags(target, name, dry_run=dry_run, once=once, keep=keep)
        return _verb(target, name, keep=keep, reason=reason, yes=yes, by=by, db=db, as_json=as_json)
    if name in _VERBS:
        raise InvalidValue(f"unknown verb {target!r}: the verb comes first; write: kedge launch {name} {target}")
    if name is not None:
        raise InvalidValue(f"unknown verb {target!r}{nearest(target, _VERBS)}; verbs: {', '.join(_VERBS)}")
    if keep:
        raise InvalidValue("--keep is only for `kedge launch abort`; leave it out")
    wanted = read_release(target) if _is_file(target) else None
    if dry_run:
        return _plan(wanted, target, db, as_json=as_json)
    with database.for_creating(db) if wanted is not None and wanted.artifacts else database.for_reconciling(db) as k:
        return _pilot(k, wanted, target, once=once, every=every, lease=lease, by=by, as_json=as_json)


def _is_file(target: str) -> bool:
    """Return whether a target is a release file: by its ending or a folder in it, or because such a file exists."""
    return target.endswith(".toml") or "/" in target or Path(target).is_file()


def _check_flags(verb: str, name: str | None, *, dry_run: bool, once: bool, keep: bool) -> None:
    if verb in _WITH_NAME and name is None:
        raise InvalidValue(
            f"kedge launch {verb} needs the name of a launch; for a release file of this name, write ./{verb}"
        )
    if verb == "list" and name is not None:
        raise InvalidValue(f"kedge launch list takes no name; for one launch: kedge launch status {name}")
    given = [flag for flag, said in (("--dry-run", dry_run), ("--once", once), ("--keep", keep)) if said]
    if given and not (verb == "abort" and given == ["--keep"]):
        raise InvalidValue(f"{given[0]} cannot be combined with {verb}; leave it out")


# ── verbs ──


def _verb(
    verb: str,
    name: str | None,
    *,
    keep: bool,
    reason: str,
    yes: bool,
    by: str | None,
    db: str | None,
    as_json: bool,
) -> int:
    if verb in ("list", "status", "recompute"):
        with database.for_reading(db) as k:
            return _show(k, verb, name or "", as_json=as_json)
    with database.for_changing(db) as k:
        if verb == "resume":
            resumed = k.guard.resume(name, reason=reason, by=by)
            if as_json:
                emit({"resumed": resumed})
            else:
                launch_text.print_resumed(resumed)
            return 0
        status = _act(k, verb, name or "", keep=keep, reason=reason, yes=yes, by=by, as_json=as_json)
    if as_json:
        emit({"launch": status})
    else:
        launch_text.print_status(status)
    return 0


def _act(
    k: Kedge, verb: str, name: str, *, keep: bool, reason: str, yes: bool, by: str | None, as_json: bool
) -> LaunchStatus:
    if verb == "pause":
        return k.guard.pause(name, reason=reason, by=by)
    if verb == "approve":
        return k.guard.approve(name, reason=reason, by=by)
    standing = k.guard.status(name)
    if not keep and not standing.ended and may_ask(yes=yes, as_json=as_json, what=f"abort {name}"):
        say(f"The launch of {name} is at {standing.phase}. Aborting it rolls the deployment back; --keep does not.")
        if not ask(f"Abort {name}?"):
            decline()
    return k.guard.abort(name, reason=reason, keep=keep, by=by)


def _show(k: Kedge, verb: str, name: str, *, as_json: bool) -> int:
    if verb == "list":
        launches = k.guard.launches()
        if as_json:
            emit({"launches": launches})
        else:
            launch_text.print_list(launches)
        return 0
    if verb == "status":
        status = k.guard.status(name)
        if as_json:
            emit({"launch": status})
        else:
            launch_text.print_status(status)
        return 0
    found = k.guard.recompute(name)
    if as_json:
        emit(msgspec.to_builtins(found) | {"ok": found.ok})
    else:
        launch_text.print_recomputed(found)
    return 0 if found.ok else FAILED


# ── the pilot ──


def _plan(wanted: ReleaseFile | None, target: str, db: str | None, *, as_json: bool) -> int:
    if wanted is None:
        raise InvalidValue(f"--dry-run needs a release file, not {target!r}; give one that ends in .toml")
    with database.for_reading(db) as k:
        plan = k.guard.plan(wanted)
    if as_json:
        emit(msgspec.to_builtins(plan) | {"ok": plan.ok})
    else:
        launch_text.print_plan(plan)
    return 0 if plan.ok else FAILED


def _pilot(
    k: Kedge,
    wanted: ReleaseFile | None,
    target: str,
    *,
    once: bool,
    every: float,
    lease: float,
    by: str | None,
    as_json: bool,
) -> int:
    name = target if wanted is None else wanted.release.deployment
    try:
        if not (as_json or once):
            whisper(f"Starting the pilot of {name}; Ctrl-C stops it, not the canary.", "dim")
        with end_on_term(), launch_text.watching(name, silent=as_json) as shown:
            if wanted is None:
                status = k.guard.pilot(name, once=once, every=every, lease=lease, on_event=shown)
            else:
                status = k.guard.launch(wanted, by=by, once=once, every=every, lease=lease, on_event=shown)
    except KeyboardInterrupt:
        raise Stopped(_stopped(k, name, target)) from None
    if as_json:
        emit({"launch": status})
    else:
        launch_text.print_status(status)
    if status.phase == Phase.GATES:
        return FAILED
    return FAILED if status.ended and status.phase not in _GOOD else 0


def _stopped(k: Kedge, name: str, target: str) -> str:
    try:
        return launch_text.say_stopped(k.guard.status(name), target)
    except KedgeError as error:
        return f"stopped; where the launch of {name} stands is not known ({error}): run `kedge launch status {name}`"
