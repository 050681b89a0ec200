"""Command slo: error budgets and burn rates of rollbacks."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from kedge.cli import database
from kedge.cli.app import MAINTAIN, app
from kedge.cli.options import By, Db, Json
from kedge.cli.terminal import emit, say, table
from kedge.errors import InvalidValue
from kedge.guard.slo import SloReport
from kedge.guard.slo_rules import Burn, ObjectiveStatus
from kedge.model.durations import duration
from kedge.support.toml_files import read_toml

EXIT_CODES = {True: 0, False: 1, None: 2}
_COLUMNS = ("objective", "bound", "last", "worst", "events", "bad", "budget left", "burn rates")
_IMPORTANCE = ("objective", "bound", "budget left", "last", "burn rates", "worst", "bad", "events")


@app.command(rich_help_panel=MAINTAIN)
def slo(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="TOML file with a table \\[slo]. Default: the one in the log.")
    ] = None,
    *,
    keep: Annotated[bool, typer.Option("--set", help="Keep the objectives of FILE in the log.")] = False,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Show error budgets and burn rates: how fast rollbacks completed, and how consistent they left the stores.

    Exits with 0: within budget, 1: a budget is spent or burns too fast, 2: nothing was measured.
    """
    if keep and file is None:
        raise InvalidValue("--set needs a FILE with a table [slo]; name one")
    objectives = None if file is None else _objectives(file)
    if keep:
        with database.for_changing(db) as k:
            k.guard.set_slo(objectives or {}, by=by)
    with database.for_reading(db, database.config()) as k:
        found = k.guard.slo(objectives)
    if as_json:
        emit({"ok": found.ok, "objectives": [_document(status) for status in found.statuses], "at": found.at})
    else:
        _tell(found)
    return EXIT_CODES[found.ok]


def _objectives(file: Path) -> dict[str, object]:
    document = read_toml(file, "the objectives")
    if "slo" not in document:
        raise InvalidValue(f'{file} has no table [slo]; add one, with lines such as rollback_completion = "30s"')
    chosen: dict[str, object] = document["slo"]
    return chosen


def _document(status: ObjectiveStatus) -> dict[str, object]:
    burns = [{**msgspec.to_builtins(burn), "alerts": burn.alerts} for burn in status.burns]
    return {**msgspec.to_builtins(status), "ok": status.ok, "burns": burns}


def _tell(found: SloReport) -> None:
    table(_COLUMNS, map(_row, found.statuses), right=("events", "bad"), importance=_IMPORTANCE)
    for status in found.statuses:
        if status.objective.is_time:
            mark = {True: "feasible", False: "NOT FEASIBLE", None: "unknown"}[status.feasible]
            say(f"{status.objective.name}: {mark}: {status.why}", "yellow" if status.feasible is False else "dim")
    say(str(found), {True: "bold green", False: "bold red", None: "bold yellow"}[found.ok])


def _row(status: ObjectiveStatus) -> list[str | Text]:
    left = status.budget_left
    style = {True: "green", False: "bold red", None: "dim"}[status.ok]
    return [
        status.objective.name,
        f"{'≤' if status.objective.is_time else '≥'} {_value(status, status.objective.bound)}",
        _value(status, status.last),
        _value(status, status.worst),
        str(status.events),
        str(status.bad),
        Text("no data" if left is None else f"{left:.0%}", style),
        ", ".join(_burn(burn) for burn in status.burns if burn.long is not None) or "-",
    ]


def _burn(burn: Burn) -> str:
    mark = f" {burn.action.upper()}" if burn.alerts else ""
    return f"{burn.long:.3g}×/{duration(burn.long_seconds, 1).replace(' ', '')}{mark}"


def _value(status: ObjectiveStatus, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g} s" if status.objective.is_time else f"{value:.4g}"
