"""reconcile: bring external systems to what is pinned, once or for ever."""

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
FAILED = 1
EVERY_SECONDS = 30.0


@app.command(rich_help_panel=UNDO)
def reconcile(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A reconciler, or an artifact's key. Default: all.")
    ] = None,
    *,
    check: Annotated[bool, typer.Option("--check", help="Only look; change nothing.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C; say what changes.")] = False,
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", min=0.1, help="With --watch: look so often, at least.")
    ] = EVERY_SECONDS,
    forget: Annotated[bool, typer.Option("--forget", help="Wait for this system no more.")] = False,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Bring external systems to what is pinned.

    Model servers, alias registries, caches: what a kedge.toml here (or KEDGE_CONFIG) says how to observe and converge.
    """
    if watch and (as_json or check or forget):
        raise InvalidValue("--watch goes with none of --json, --check and --forget; leave one of them out")
    if forget and (name is None or check):
        raise InvalidValue("--forget needs the name of a reconciler, and goes with nothing else")
    with database.for_reading(db, database.config()) if check else database.for_moving(db) as k:
        if forget and name is not None:
            k.forget_reconciler(name, by=by)
            return _say_declared(k, as_json=as_json)
        if watch:
            _watch(k, name, every, by)
            return 0
        with spinner("asking external systems", silent=as_json):
            outcomes = k.reconcile(name, check=check, by=by)
        declared = k.reconcilers()
    if as_json:
        emit({"reconciled": outcomes, "ok": all(outcome.ok for outcome in outcomes)})
    elif not declared:
        say("No external system follows an artifact here; write a kedge.toml: see `kedge reconcile --help`")
    else:
        tell(outcomes)
    return exit_code(outcomes)


def exit_code(outcomes: Iterable[Reconciled]) -> int:
    """Return 1 where an external system does not follow."""
    return 0 if all(outcome.ok for outcome in outcomes) else FAILED


def tell(outcomes: Iterable[Reconciled]) -> None:
    """Tell how external systems stand to the pins."""
    found = list(outcomes)
    if found:
        table(COLUMNS, (_row(outcome) for outcome in found))
    for outcome in found:
        if not outcome.ok:
            say(f"{outcome.name} of {outcome.key}: {outcome.why}", "bold red")


def _say_declared(k: Kedge, *, as_json: bool) -> int:
    declared = k.reconcilers()
    if as_json:
        emit({"reconcilers": declared})
    else:
        say(f"Declared now: {', '.join(sorted(declared)) or 'none'}")
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
        return "left as it is"
    return "converged" if outcome.changed else "ok"


def _watch(k: Kedge, name: str | None, every: float, by: str | None) -> None:
    """Reconcile at each change of the control record, and every so many seconds; say what is other than it was."""
    moved, told = threading.Event(), dict[tuple[str, str], tuple[str, str | None]]()
    stop = k.on_change(lambda _epoch: moved.set())
    with suppress(KeyboardInterrupt):
        while True:
            moved.clear()
            try:
                outcomes = k.reconcile(name, by=by)
            except Retryable as error:
                whisper(f"kedge: {error}", "red")
                outcomes = []
            for outcome in outcomes:
                now = (_state(outcome), outcome.wanted)
                if outcome.changed or told.get((outcome.name, outcome.key)) != now:
                    told[outcome.name, outcome.key] = now
                    why = "" if outcome.ok else f": {outcome.why}"
                    where = f"{outcome.name} of {outcome.key}, wanted {outcome.wanted or 'nothing'}"
                    say(f"{utc_short(time.time())} {_state(outcome)}: {where}{why}", None if outcome.ok else "bold red")
            moved.wait(every)
    stop()
