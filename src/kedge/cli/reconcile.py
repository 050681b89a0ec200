"""Command reconcile: update external systems to the pinned artifacts, once or continuously."""

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated

import typer
from rich.text import Text

from kedge.cli import database
from kedge.cli.app import UNDO, app
from kedge.cli.options import By, Db, Json
from kedge.cli.terminal import emit, one_line, say, spinner, table, utc_short, whisper
from kedge.errors import InvalidValue, Retryable
from kedge.face import Kedge
from kedge.model.reconcile import Reconciled

COLUMNS = ("system", "artifact", "wanted", "actual", "state")
_IMPORTANCE = ("system", "artifact", "state", "wanted", "actual")
FAILED = 1
EVERY_SECONDS = 30.0


@app.command(rich_help_panel=UNDO)
def reconcile(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Reconciler or artifact key. Default: all.")
    ] = None,
    *,
    check: Annotated[bool, typer.Option("--check", help="Compare only; change nothing.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Reconcile until Ctrl-C; print changes.")] = False,
    every: Annotated[
        float,
        typer.Option("--every", metavar="SECONDS", min=0.1, max=86_400, help="With --watch: interval between checks."),
    ] = EVERY_SECONDS,
    forget: Annotated[bool, typer.Option("--forget", help="Remove this reconciler from the database.")] = False,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Update external systems to the pinned artifacts.

    A kedge.toml in the current folder (or KEDGE_CONFIG) configures how to observe and update model servers, alias
    registries and caches.
    """
    if watch and (as_json or check or forget):
        raise InvalidValue("--watch cannot be combined with --json, --check or --forget")
    if forget and (name is None or check):
        raise InvalidValue("--forget needs the name of a reconciler and cannot be combined with --check")
    with database.for_reading(db, database.config()) if check else database.for_reconciling(db) as k:
        if forget and name is not None:
            k.forget_reconciler(name, by=by)
            return _say_declared(k, as_json=as_json)
        if watch:
            _watch(k, name, every, by)
            return 0
        with spinner("querying external systems", silent=as_json):
            outcomes = k.reconcile(name, check=check, by=by)
        declared = k.reconcilers()
    if as_json:
        emit({"reconciled": outcomes, "ok": all(outcome.ok for outcome in outcomes)})
    elif not declared:
        say("No reconciler is configured; add one to a kedge.toml (see `kedge reconcile --help`)")
    else:
        print_outcomes(outcomes)
    return exit_code(outcomes)


def exit_code(outcomes: Iterable[Reconciled]) -> int:
    """Return 1 if an external system is not reconciled, else 0."""
    return 0 if all(outcome.ok for outcome in outcomes) else FAILED


def print_outcomes(outcomes: Iterable[Reconciled]) -> None:
    """Print the state of external systems compared with the pins."""
    found = list(outcomes)
    if found:
        table(COLUMNS, (_row(outcome) for outcome in found), importance=_IMPORTANCE)
    for outcome in found:
        if not outcome.ok:
            say(f"{outcome.name} of {outcome.key}: {outcome.why}", "bold red")


def _say_declared(k: Kedge, *, as_json: bool) -> int:
    declared = k.reconcilers()
    if as_json:
        emit({"reconcilers": declared})
    else:
        say(f"Reconcilers: {', '.join(sorted(declared)) or 'none'}")
    return 0


def _row(outcome: Reconciled) -> list[str | Text]:
    return [
        one_line(outcome.name),
        one_line(outcome.key),
        one_line(outcome.wanted or ("nothing" if outcome.ok else "unknown")),
        one_line(outcome.actual or "nothing"),
        Text(_state(outcome), "green" if outcome.ok else "bold red"),
    ]


def _state(outcome: Reconciled) -> str:
    if not outcome.ok:
        return "NOT RECONCILED"
    if outcome.wanted is None:
        return "no pin, unchanged"
    return "converged" if outcome.changed else "ok"


def _watch(k: Kedge, name: str | None, every: float, by: str | None) -> None:
    """Reconcile at each change of the control record and every `every` seconds; print each changed outcome."""
    changed, reported = threading.Event(), dict[tuple[str, str], tuple[str, str | None]]()
    stop = k.on_change(lambda _epoch: changed.set())
    with suppress(KeyboardInterrupt):
        while True:
            changed.clear()
            try:
                outcomes = k.reconcile(name, by=by)
            except Retryable as error:
                whisper(f"kedge: {error}", "red")
                outcomes = []
            for outcome in outcomes:
                now = (_state(outcome), outcome.wanted)
                if outcome.changed or reported.get((outcome.name, outcome.key)) != now:
                    reported[outcome.name, outcome.key] = now
                    why = "" if outcome.ok else f": {outcome.why}"
                    where = f"{outcome.name} of {outcome.key}, wanted {outcome.wanted or 'nothing'}"
                    say(f"{utc_short(time.time())} {_state(outcome)}: {where}{why}", None if outcome.ok else "bold red")
            changed.wait(every)
    stop()
