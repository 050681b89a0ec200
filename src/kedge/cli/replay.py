"""Command replay: list the inputs whose results are hidden, or process them again with a function."""

from collections import Counter
from importlib import import_module
from typing import Annotated

import msgspec
import typer

from kedge.cli import database
from kedge.cli.app import UNDO, app
from kedge.cli.backfill import FUNCTION, find_modules_here
from kedge.cli.options import Db, Json
from kedge.cli.terminal import count, emit, inputs_to_replay, listing, one_line, progress_bar, say, table
from kedge.errors import InvalidValue, nearest
from kedge.recovery.replay import Handler, ReplayInput, ReplayReport

FAILED = 1
_WHY_COLUMNS = 200
_FAILURES_SHOWN = 5


@app.command(rich_help_panel=UNDO)
def replay(
    handler: Annotated[
        str | None,
        typer.Argument(metavar="[HANDLER]", help=f"Function from (turn, input), as {FUNCTION}. Without it: list."),
    ] = None,
    *,
    show_only: Annotated[bool, typer.Option("--list", help="Only list the inputs; call nothing.")] = False,
    deployment: Annotated[
        str | None, typer.Option("--deployment", metavar="NAME", help="Only inputs of this deployment's rollback.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Maximum number of inputs.")] = None,
    agent: Annotated[
        str | None,
        typer.Option("--agent", metavar="NAME", help="Agent of inputs whose original turn had no agent."),
    ] = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Process the user inputs again whose answers a rollback hid.

    Without a handler, list them. The handler gets a turn that ranks at the input, and the input.
    """
    if handler is None or show_only:
        with database.for_reading(db) as k:
            _list(k.replay_pending(deployment), limit, as_json=as_json)
        return 0
    find_modules_here()
    act = load_handler(handler)
    with database.for_changing(db) as k, progress_bar("replaying", silent=as_json, unit="inputs") as progress:
        report = k.replay(act, deployment, limit=limit, agent=agent, progress=progress)
    if as_json:
        emit({**msgspec.to_builtins(report, enc_hook=repr), "ok": not report.failed})
    else:
        _tell(report)
    return FAILED if report.failed else 0


def load_handler(name: str) -> Handler:
    """Return the function that a name such as package.module:function stands for, or raise `InvalidValue`."""
    module, colon, function = name.partition(":")
    if not colon or not module or not function:
        raise InvalidValue(f"invalid handler {name!r}: write {FUNCTION}")
    try:
        found = import_module(module)
    except ImportError as error:
        raise InvalidValue(f"cannot import {module!r} ({error}); run kedge where Python finds the module") from error
    handler = getattr(found, function, None)
    if not callable(handler):
        raise InvalidValue(f"{module!r} has no function {function!r}{nearest(function, dir(found))}")
    return handler  # type: ignore[no-any-return]


def _list(pending: list[ReplayInput], limit: int | None, *, as_json: bool) -> None:
    shown = pending if limit is None else pending[:limit]
    if as_json:
        emit({"pending": len(pending), "inputs": shown})
        return
    if not pending:
        say("No user input needs replay.")
        return
    table(
        ("session", "agent", "store", "key", "seq"),
        (
            (
                one_line(item.session or ""),
                one_line(item.agent or "none: use --agent"),
                item.store,
                "" if item.store == "memory" else one_line(f"{item.space}/{item.key}"),
                str(item.seq),
            )
            for item in shown
        ),
        right=("seq",),
    )
    say(inputs_to_replay(len(pending)))
    say(f"To process them: kedge replay {FUNCTION}", "dim")


def _tell(report: ReplayReport) -> None:
    by_store = Counter(item.store for item in report.replayed)
    if not (report.replayed or report.skipped or report.failed or report.pending):
        say("No user input needs replay.")
        return
    parts = listing([f"{number:,} from {store}" for store, number in sorted(by_store.items())])
    say(f"{count(len(report.replayed), 'input')} replayed" + (f": {parts}" if parts else ""), "bold")
    if report.skipped:
        say(f"  {count(len(report.skipped), 'input')} skipped: another process replays or has replayed them")
    if report.failed:
        say(f"  {count(len(report.failed), 'input')} failed and still pending; run the command again to retry:", "red")
        for item, why in report.failed[:_FAILURES_SHOWN]:
            say(
                f"    {item.store} {one_line(item.session or item.key)} (seq {item.seq}): {one_line(why, _WHY_COLUMNS)}"
            )
        if len(report.failed) > _FAILURES_SHOWN:
            say(f"    and {len(report.failed) - _FAILURES_SHOWN:,} more; --json lists them all")
    if report.pending:
        say(f"  {inputs_to_replay(report.pending)}", "yellow")
