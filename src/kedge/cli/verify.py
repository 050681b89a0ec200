"""Command verify: the indicators now, and those of the last rollbacks and drills."""

import time
from contextlib import suppress
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from kedge.cli import database
from kedge.cli.app import INSPECT, app
from kedge.cli.indicator_text import indicator_lines
from kedge.cli.options import Db, Json
from kedge.cli.terminal import count, emit, heading, say, table, utc_short, whisper
from kedge.errors import InvalidValue, Retryable
from kedge.face import Kedge
from kedge.guard.indicator_runs import IndicatorRun
from kedge.recovery.verify import Indicators

FAULT = 1
_COLUMNS = ("UTC", "deployment", "verified", "commit", "consensus", "vectors", "memory", "context", "completion")
_IMPORTANCE = ("deployment", "verified", "UTC", "vectors", "memory", "context", "consensus", "commit", "completion")


@app.command(rich_help_panel=INSPECT)
def verify(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Measure until Ctrl-C; print one line each time.")] = False,
    every: Annotated[
        float,
        typer.Option(
            "--every", metavar="SECONDS", min=0.1, max=86_400, help="With --watch: interval between measurements."
        ),
    ] = 10.0,
    runs: Annotated[int, typer.Option("--runs", metavar="N", min=1, help="Runs to show: the newest N.")] = 10,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Compare what readers get with what all writes say, on samples, and show what the last rollbacks measured.

    Exits with 0: no fault found, 1: a fault found. It writes nothing.
    """
    if watch and as_json:
        raise InvalidValue("--watch and --json exclude each other; run `kedge verify --json` repeatedly instead")
    with database.for_reading(db) as k:
        if watch:
            return _watch(k, every)
        found, newest = k.verify(), k.guard.indicator_runs(runs)
    if as_json:
        emit({"ok": found.ok, "indicators": msgspec.to_builtins(found), "runs": msgspec.to_builtins(newest)})
    else:
        _tell(found, newest)
    return 0 if found.ok else FAULT


def _tell(found: Indicators, runs: list[IndicatorRun]) -> None:
    heading(f"Now: {count(found.keys_checked, 'key')} compared")
    for label, value in indicator_lines(found):
        if value != "not measured":  # times are measured by a rollback only
            say(f"  {label:<28}{value}")
    heading("Last rollbacks and drills (newest first)")
    if runs:
        table(_COLUMNS, map(_row, runs), right=_COLUMNS[3:], importance=_IMPORTANCE)
    else:
        say("  None has been verified yet. To rehearse one: kedge drill --in-place")
    say()
    say(*_verdict(found))


def _verdict(found: Indicators) -> tuple[str, str]:
    if not found.ok:
        return "A FAULT was found: run `kedge fsck --full`", "bold red"
    if not found.keys_checked:
        return "nothing is stored: nothing was compared", "bold yellow"
    return f"no fault found in {count(found.keys_checked, 'key')}", "bold green"


def _row(run: IndicatorRun) -> list[str | Text]:
    values = run.indicators
    return [
        utc_short(run.at),
        run.deployment,
        Text("yes" if run.ok else "FAILED", "green" if run.ok else "bold red"),
        _seconds(values["rollback_commit_seconds"]),
        _seconds(values["consensus_latency_seconds"]),
        _ratio(values["vector_consistency_ratio"]),
        _ratio(values["memory_divergence_ratio"]),
        _ratio(values["context_divergence_ratio"]),
        _seconds(values["rollback_completion_seconds"]),
    ]


def _watch(k: Kedge, every: float) -> int:
    """Measure again and again; return `FAULT` if any measurement found one."""
    faults = 0
    say("UTC                  vectors  memory  context  hidden  to replay  verdict", "bold")
    with suppress(KeyboardInterrupt):
        while True:
            try:
                faults += not _tell_line(k.verify())
            except Retryable as error:
                whisper(f"kedge: {error}", "red")
            time.sleep(every)
    return FAULT if faults else 0


def _tell_line(found: Indicators) -> bool:
    ratios = (found.vector_consistency_ratio, found.memory_divergence_ratio, found.context_divergence_ratio)
    vectors, memory, context = map(_ratio, ratios)
    text, style = _verdict(found)
    say(
        f"{utc_short(time.time())}  {vectors:>7}  {memory:>6}  {context:>7}  {found.hidden_writes_total:>6,}  "
        f"{found.replay_pending_total:>9,}  {text}",
        style,
    )
    return found.ok


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g} s"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
