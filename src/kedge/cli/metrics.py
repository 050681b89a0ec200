"""Commands metrics and observe: declared metrics, and observations from outside."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from kedge.cli import database
from kedge.cli.app import INSPECT, MAINTAIN, app
from kedge.cli.interrupts import Stopped
from kedge.cli.options import By, Db, Json, Reason
from kedge.cli.terminal import ago, count, emit, one_line, progress_bar, say, table
from kedge.errors import InvalidValue
from kedge.guard.declaring import MetricReport
from kedge.model.durations import duration
from kedge.model.observations import ObserveReport
from kedge.support.toml_files import read_toml

REFUSED = 1
STDIN = "-"
_WHY_COLUMNS = 200
_COLUMNS = ("metric", "kind", "deadline", "values", "last", "missing", "refused")
_IMPORTANCE = ("metric", "refused", "missing", "values", "kind", "last", "deadline")


@app.command(rich_help_panel=INSPECT)
def metrics(
    *,
    declare: Annotated[
        Path | None, typer.Option("--declare", metavar="FILE", help="Declare the metrics of a TOML file.")
    ] = None,
    withdraw: Annotated[
        str | None, typer.Option("--withdraw", metavar="NAME", help="Withdraw the declaration of a metric.")
    ] = None,
    reason: Reason = "",
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """List the declared metrics, how many values they have and how many were refused; or declare some.

    A declared metric is a table [metrics.NAME] with its kind: success, failure, score, latency, count, ratio or event.
    Values that do not fit their metric are refused, counted and shown here.
    """
    if declare is not None and withdraw is not None:
        raise InvalidValue("--declare and --withdraw exclude each other; run two commands")
    if declare is None and withdraw is None:
        with database.for_reading(db) as k:
            found, now = k.guard.metrics(), k.status().at
    else:
        tables = None if declare is None else _tables(declare)
        with database.for_changing(db) as k:
            if tables is not None:
                k.guard.declare(tables, reason=reason, by=by)
            else:
                k.guard.withdraw(f"{withdraw}", reason=reason, by=by)
            found, now = k.guard.metrics(), k.status().at
    if as_json:
        emit({"metrics": found})
    elif not found:
        say("No metrics are declared. To declare those of a file: kedge metrics --declare metrics.toml")
    else:
        rows = [_row(report, now) for report in found]
        table(_COLUMNS, rows, right=("values", "missing"), importance=_IMPORTANCE)


def _row(report: MetricReport, now: float) -> tuple[str, ...]:
    metric = report.metric
    refused = ", ".join(f"{number:,} {one_line(why)}" for why, number in sorted(report.refused.items()))
    return (
        one_line(report.name),
        "not declared" if metric is None else f"{metric.kind}{', signal' if metric.role == 'signal' else ''}",
        "" if metric is None else duration(metric.deadline),
        f"{report.values:,}",
        "" if report.last_at is None else ago(report.last_at, now),
        "" if report.missing is None else f"{report.missing:.0%}",
        refused,
    )


def _tables(path: Path) -> Any:
    """Return the tables of metrics of a TOML file, or raise `InvalidValue`."""
    document = read_toml(path)
    if "metrics" not in document:
        raise InvalidValue(f'{path} declares no metrics; write tables such as [metrics.resolved] kind = "success"')
    return document["metrics"]


@app.command(rich_help_panel=MAINTAIN)
def observe(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON lines; - for standard input.")],
    *,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Store observations of sessions, such as the verdicts of judges that answer later.

    Each line is an object with session, metric and value, and optionally at (when it was observed), agent and
    idempotency. Lines that cannot be stored are counted and shown with their number; the rest is stored. To resume
    after an interruption, run the same command again: lines already stored are not stored twice.
    """
    report = ObserveReport()
    opened = nullcontext(sys.stdin.buffer) if file == STDIN else _open(file)
    label = "observing" if file == STDIN else f"observing {one_line(Path(file).name, 30)}"
    try:
        with opened as lines, database.for_changing(db) as k, progress_bar(label, silent=as_json, unit="line") as show:

            def keep(so_far: ObserveReport) -> None:
                nonlocal report
                report = so_far
                show(so_far.stored + so_far.repeated + so_far.purged + so_far.refused, 0)

            report = k.guard.observe(_lines(lines), progress=keep)
    except KeyboardInterrupt:
        again = "send the same lines again" if file == STDIN else "run the same command again"
        raise Stopped(f"stopped: {report}. To go on, {again}: what is stored is not stored twice") from None
    if as_json:
        emit({"observe": report})
    else:
        _say(report)
    return REFUSED if report.refused else 0


def _open(file: str) -> BinaryIO:
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise InvalidValue(f"{file} cannot be read ({error.strerror}); check the path, or use - for stdin") from error


def _lines(lines: BinaryIO) -> Iterator[bytes]:
    yield from lines


def _say(report: ObserveReport) -> None:
    say(f"{count(report.stored, 'observation')} stored", "bold")
    if report.repeated:
        say(f"  {report.repeated:,} stored before: not stored again")
    if report.purged:
        say(f"  {report.purged:,} of sessions that saw a purged deployment: left out")
    for refusal in report.refusals:
        say(f"  line {refusal.line}: {one_line(refusal.why, _WHY_COLUMNS)}", "yellow")
    if report.refused > len(report.refusals):
        say(f"  … and {count(report.refused - len(report.refusals), 'more line')} refused", "yellow")
