"""Command readiness: which stores could not be taken back, and how long a rollback would take."""

import os
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from kedge.cli import database
from kedge.cli.app import DISCOVER, app
from kedge.cli.files import write_file
from kedge.cli.options import Json
from kedge.cli.terminal import count, emit, heading, say, spinner, table, whisper
from kedge.discovery.readiness.assess import Readiness
from kedge.discovery.readiness.page import page
from kedge.discovery.readiness.report import readiness as measure
from kedge.discovery.readiness.text import seconds_text, way_text, writers_text
from kedge.errors import InvalidValue
from kedge.model.durations import check_duration
from kedge.model.readiness import Span, StoreReadiness

FAIL_UNDER = 3
FIXES_SHOWN = 5
COLUMNS = ("store", "score", "way back", "likely", "goes back together", "written by")
IMPORTANCE = ("store", "score", "way back", "likely", "written by", "goes back together")


@app.command(rich_help_panel=DISCOVER)
def readiness(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH…", help="Repositories to scan. Default: the current folder.")
    ] = None,
    *,
    traces: Annotated[
        list[Path] | None, typer.Option("--traces", metavar="FILE", help="OTLP or Jaeger JSON. Repeatable.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="TOML file with a table \\[readiness]. Default: kedge.toml of the first PATH.",
        ),
    ] = None,
    env: Annotated[
        list[Path] | None, typer.Option("--env", metavar="FILE", help="Environment that selects stores. Repeatable.")
    ] = None,
    slo: Annotated[
        str | None, typer.Option("--slo", metavar="TIME", help="How long a rollback may take, as 5m.")
    ] = None,
    live: Annotated[
        list[str] | None,
        typer.Option("--live", metavar="STORE=URL", help="Look at a running store, read-only. Repeatable."),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0.1, max=3600, help="Limit of each look.")
    ] = 5.0,
    fail_under: Annotated[
        int | None, typer.Option("--fail-under", metavar="SCORE", min=0, max=100, help="Exit with 3 below this score.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the report as one page.")] = None,
    db: Annotated[
        str | None,
        typer.Option("--db", metavar="URL", help="Kedge database, for what drills and rollbacks there showed."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Say which stores could not be taken back, how long a rollback takes, and what to change first.

    It scans each PATH, imports and runs nothing of it, and writes nothing but --html. Exits with 3 below --fail-under.
    """
    own = _own(db)
    with spinner("scanning", silent=as_json):
        found = measure(
            *(paths or [Path()]),
            traces=traces or (),
            config=config,
            env=env or (),
            slo=None if slo is None else check_duration("--slo", slo),
            live=_urls(live or ()),
            environment=os.environ,
            own=own,
            seconds=timeout,
            now=time.time(),
        )
    if html is not None:
        write_file(html, page(found))
    if as_json:
        emit(msgspec.to_builtins(found))
    else:
        _tell(found)
    below = fail_under is not None and (found.score is None or found.score < fail_under)
    if below and not as_json:
        whisper(f"kedge: readiness is below {fail_under}", "bold red")
    return FAIL_UNDER if below else 0


def _own(db: str | None) -> tuple[StoreReadiness, ...]:
    """Return the stores of a database that is named; none is read otherwise."""
    if db is None:
        return ()
    with database.for_reading(db) as k:
        return k.guard.readiness().stores


def _urls(given: list[str] | tuple[()]) -> dict[str, str]:
    urls = {}
    for each in given:
        store, is_there, url = each.partition("=")
        if not is_there or not url:
            raise InvalidValue(f"invalid --live {each!r}: write STORE=URL, as qdrant=http://localhost:6333")
        urls[store] = url
    return urls


def _tell(found: Readiness) -> None:
    say(f"Readiness of {found.root}: {'not known' if found.score is None else f'{found.score} of 100'}", "bold")
    if found.unread:
        say(f"{found.unread:,} files and folders were not read: `kedge scan` names them.", "yellow")
    if not found.files:
        say("No file was read.", "yellow")
        return
    if not found.stores:
        say("No state of agents was found. `kedge scan` lists what was read, and what could not be.")
        _tell_basis(found)
        return
    heading("Stores (worst first)")
    table(
        COLUMNS,
        map(_row, found.stores),
        right=("score",),
        importance=IMPORTANCE,
    )
    _tell_basis(found)
    _tell_times(found)
    if found.todo:
        heading("Change first")
        for number, fix in enumerate(found.todo[:FIXES_SHOWN], 1):
            say(f"  {number}. {fix.what}" + (f" ({fix.where})" if fix.where else ""))
        more = len(found.todo) - FIXES_SHOWN
        if more > 0:
            say(f"  and {more} more, in --html and --json", "dim")
    say()
    say(str(found), None)


def _tell_basis(found: Readiness) -> None:
    if found.left_out:
        say(f"Left out, as no agent reads them back: {', '.join(found.left_out)}", "dim")
    if found.traces:
        say(f"Traces: {found.traces}", "dim")
    if found.unused:
        have = ", ".join(sorted({each.store for each in found.stores})) or "none"
        say(f"Without effect, as no such store was found: {', '.join(found.unused)}; found: {have}", "yellow")


def _tell_times(found: Readiness) -> None:
    heading("A rollback takes")
    total = found.prediction.total
    say(f"  today     {_whole(total)}")
    say(f"  on Kedge  {_whole(found.with_kedge.total)}")
    say(f"  both with the time until somebody notices: {_whole(found.prediction.detect)}", "dim")
    if found.never:
        say(f"  without {', '.join(found.never)}: cannot be taken back at all", "bold red")
    if found.prediction.dominating:
        say(f"  the slowest store is {found.prediction.dominating}; the service level is {seconds_text(found.within)}")
    if found.assumed:
        say(f"  assumed: {', '.join(found.assumed)}; state them in [readiness] of kedge.toml", "dim")
    for store in found.stores:
        if store.lost_writes:
            say(f"  {store.store}: about {store.lost_writes:,.0f} writes of other deployments are lost", "yellow")
    for line in found.live:
        say(f"  {line}")
    if found.references:
        say(
            f"  {count(len(found.references), 'reference')} to a model, prompt or data set can move meanwhile", "yellow"
        )


def _whole(span: Span) -> str:
    return f"{seconds_text(span.likely)} likely ({seconds_text(span.fast)} to {seconds_text(span.worst)})"


def _row(store: StoreReadiness) -> list[str | Text]:
    style = "green" if store.score >= 80 else "yellow" if store.score >= 50 else "bold red"  # noqa: PLR2004
    return [
        f"{store.store} ({store.kind})",
        Text(str(store.score), style),
        way_text(store),
        "never" if store.span is None else "-" if store.span.worst == 0 else seconds_text(store.span.likely),
        store.unit.partition(" (")[0],
        _writers(store),
    ]


def _writers(store: StoreReadiness) -> str:
    """Return the first writer by its name only: places are in the page and in --json."""
    names = tuple(each.partition(" (")[0] for each in store.writers)
    return writers_text(msgspec.structs.replace(store, writers=names))
