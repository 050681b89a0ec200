"""Command traces: who reads and writes which store, folded from OpenTelemetry and Jaeger traces."""

import itertools
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from kedge.cli.app import DISCOVER, app
from kedge.cli.options import Json
from kedge.cli.terminal import count, emit, heading, say, table, utc
from kedge.discovery.traces import TraceReport, Traffic, read_traces
from kedge.errors import UnknownName, nearest
from kedge.model.durations import duration

_COLUMNS = ("agent", "store", "access", "deployment", "calls", "per s", "errors", "sessions")
_IMPORTANCE = ("agent", "store", "access", "calls", "deployment", "errors", "sessions", "per s")
_SERVICE = "service"


@app.command(rich_help_panel=DISCOVER)
def traces(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="FILE|DIR", help="OTLP/JSON (one document, or one a line) or Jaeger JSON; also gzip."),
    ],
    *,
    deployment: Annotated[
        str | None, typer.Option("--deployment", metavar="NAME", help="Only the calls of this deployment or version.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Show which agents read and write which stores, as recorded traces tell it.

    It reads files only. What the instrumentations cannot observe is listed: a store that is not shown may still be
    used.
    """
    found = read_traces(*paths)
    if deployment is not None:
        found = _only(found, deployment)
    if as_json:
        emit(msgspec.to_builtins(found))
    else:
        _tell(found)
    return 0


def _only(found: TraceReport, deployment: str) -> TraceReport:
    known = sorted({each.deployment for each in found.traffic if each.deployment})
    if deployment not in known:
        names = ", ".join(known) or "none"
        raise UnknownName(
            f"no call of deployment {deployment!r} in these traces{nearest(deployment, known)}; there are: {names}"
        )
    rows = tuple(each for each in found.traffic if each.deployment == deployment)
    return msgspec.structs.replace(found, traffic=rows)


def _tell(found: TraceReport) -> None:
    if found.traffic:
        table(
            _COLUMNS, map(_row, found.traffic), right=("calls", "per s", "errors", "sessions"), importance=_IMPORTANCE
        )
    else:
        say("No call of a store in these traces.", "yellow")
    if any(each.agent_by == _SERVICE for each in found.traffic):
        say("* no span names an agent: the name of the service, or unknown", "dim")
    if found.handovers:
        heading("Agents that call agents")
        for handover in found.handovers:
            how = "" if handover.by == "call" else ", by a span link"
            say(f"  {handover.agent} → {handover.to}: {count(handover.times, 'time')}{how}")
    if found.externals:
        heading("Other systems")
        for external in found.externals:
            say(f"  {external.agent} → {external.kind} {external.name}: {count(external.calls, 'call')}")
    heading("Not observable (that these are not shown says nothing about them)")
    for scope, spots in itertools.groupby(found.blind, key=lambda each: each.scope):
        say(f"  {scope or 'all traces'}", "dim")
        for spot in spots:
            say(f"    {spot.what}")
    _tell_coverage(found)


def _tell_coverage(found: TraceReport) -> None:
    heading("Coverage")
    window = "no times"
    if found.first is not None:
        window = f"{utc(found.first)}, {duration(found.seconds, units=1) if found.seconds else '0 s'} long"
    say(f"  {count(found.files, 'file')}, {count(found.spans, 'span')} of {count(found.traces, 'trace')}; {window}")
    say(f"  services: {', '.join(found.services) or 'none named'}")
    for number, what in (
        (found.duplicates, "spans that were there twice, counted once"),
        (found.orphans, "spans whose parent is in none of the files: their agent may be missing"),
        (found.inner, "spans inside a call of a store: parts of that call"),
        (found.neither, "calls that neither read nor write, as BEGIN"),
    ):
        if number:
            say(f"  {number:,} {what}")
    if found.bad_parts:
        say(f"  {count(found.bad_parts, 'part')} could not be read:", "bold yellow")
        for bad in found.bad:
            say(f"    {bad.file}, {bad.place}: {bad.reason}", "yellow")
        if found.bad_parts > len(found.bad):
            say(f"    and {found.bad_parts - len(found.bad):,} more", "yellow")


def _row(each: Traffic) -> list[str]:
    rate = "-" if each.per_second is None else f"{each.per_second:.3g}"
    return [
        each.agent + (" *" if each.agent_by == _SERVICE else ""),
        str(each.store),
        each.access,
        each.deployment or "-",
        f"{each.calls:,}",
        rate,
        f"{each.errors:,}",
        f"{each.sessions:,}",
    ]
