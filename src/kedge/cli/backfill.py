"""Command backfill: embed existing documents with a deployment's embedder."""

import os
import sys
from typing import Annotated

import msgspec
import typer

from kedge.bulk.backfill import BackfillReport
from kedge.bulk.embedder import load
from kedge.cli import database
from kedge.cli.app import DEPLOY, app
from kedge.cli.options import By, Db, Json
from kedge.cli.terminal import count, emit, listing, one_line, progress_bar, say, whisper
from kedge.errors import InvalidValue
from kedge.model.durations import duration, seconds_of

FAILED = 1
_FAILURES_SHOWN = 5
_WHY_COLUMNS = 200
FUNCTION = "package.module:function"


@app.command(rich_help_panel=DEPLOY)
def backfill(
    name: Annotated[
        str | None, typer.Argument(metavar="[DEPLOYMENT]", help="Deployment that contains the embedder.")
    ] = None,
    *,
    embedder: Annotated[
        str, typer.Option("--embedder", metavar=FUNCTION, help="Function from texts to float32 (n, dim).")
    ],
    missing: Annotated[
        bool, typer.Option("--missing", help="Instead of a deployment: embed what lacks a vector in live state.")
    ] = False,
    collection: Annotated[
        str | None, typer.Option("--collection", metavar="NAME", help="Default: the collections of this embedder.")
    ] = None,
    corpus: Annotated[
        str | None, typer.Option("--corpus", metavar="KIND", help="Text source: documents, or payloads of the vectors.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", metavar=FUNCTION, help="Function from (id, value) to the text.")
    ] = None,
    dual: Annotated[
        str | None,
        typer.Option(
            "--dual", metavar=FUNCTION, help="Embedder of readers outside the deployment; embed for them too."
        ),
    ] = None,
    follow: Annotated[
        str | None,
        typer.Option(
            "--follow", metavar="DURATION", help="Keep running for new documents; poll at this interval, such as 30s."
        ),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", metavar="N", help="Documents per call of the embedder.")] = 256,
    rate: Annotated[float | None, typer.Option("--rate", metavar="N", help="Rate limit, rows per second.")] = None,
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", help="Worker processes; 0 embeds in this process.")
    ] = 0,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Embed existing documents with a deployment's embedder.

    The vectors belong to the deployment, so readers outside it do not see them. Interrupt it at any time (Ctrl-C) and
    run it again: it continues where it stopped.
    """
    if (name is None) != missing:
        raise InvalidValue(
            "a deployment and --missing exclude each other; give one of them"
            if missing
            else "no deployment given; name the one that contains the embedder, or use --missing for live state"
        )
    seconds = None if follow is None else seconds_of(follow)
    if follow is not None and seconds is None:
        raise InvalidValue(f"invalid duration {follow!r}; write 30s or 5min")
    find_modules_here()
    with database.for_changing(db) as k, progress_bar("embedding", silent=as_json, unit="documents") as progress:
        report = k.backfill(
            name,
            embedder,
            collection=collection,
            source=None if source is None else load(source),
            corpus=corpus,
            batch=batch,
            rate=rate,
            workers=workers,
            dual=dual,
            follow=seconds,
            by=by,
            progress=progress,
            on_failure=None if follow is None else _warn,  # with --follow, the final report comes late
        )
    if as_json:
        emit({**msgspec.to_builtins(report), "ok": report.ok})
    else:
        _tell(report)
    return 0 if report.ok else FAILED


def find_modules_here() -> None:
    """Add the current folder to the module search path, as `python -m` does."""
    here = os.getcwd()  # noqa: PTH109 - sys.path holds strings
    if here not in sys.path:
        sys.path.insert(0, here)


def _warn(place: str, why: str) -> None:
    whisper(f"could not embed {one_line(place)}: {one_line(why, _WHY_COLUMNS)}", "red")


def _tell(report: BackfillReport) -> None:
    written = report.embedded + report.outside
    where = listing(report.collections)
    inside = "live state" if report.deployment is None else report.deployment
    rate = f", {written / report.seconds:,.0f} a second" if written and report.seconds > 0 else ""
    say(f"{where}: {count(report.embedded, 'document')} embedded for readers of {inside}", "bold")
    if report.outside:
        say(f"  {count(report.outside, 'document')} embedded for readers outside {inside}")
    say(f"  {report.unchanged:,} already had a vector; took {duration(report.seconds)}{rate}")
    if report.failed:
        say(f"  {count(len(report.failed), 'document')} failed; run the command again to retry:", "red")
        for place, why in report.failed[:_FAILURES_SHOWN]:
            say(f"    {one_line(place)}: {one_line(why, _WHY_COLUMNS)}")
        if len(report.failed) > _FAILURES_SHOWN:
            say(f"    and {len(report.failed) - _FAILURES_SHOWN:,} more; --json lists them all")
