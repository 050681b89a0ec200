"""backfill: embedding a corpus into the space of a deployment's embedder."""

import os
import sys
from typing import Annotated

import msgspec
import typer

from kedge.bulk.backfill import BackfillReport
from kedge.bulk.embedder import load
from kedge.cli import database
from kedge.cli.app import LAUNCH, app
from kedge.cli.options import By, Db, Json
from kedge.cli.points import seconds_of
from kedge.cli.terminal import count, duration, emit, listing, one_line, progress_bar, say, whisper
from kedge.errors import InvalidValue

FAILED = 1
_FAILURES_SHOWN = 5
_WHY_COLUMNS = 200
FUNCTION = "package.module:function"


@app.command(rich_help_panel=LAUNCH)
def backfill(
    name: Annotated[
        str | None, typer.Argument(metavar="[DEPLOYMENT]", help="The deployment that brings the embedder.")
    ] = None,
    *,
    embedder: Annotated[str, typer.Option("--embedder", metavar=FUNCTION, help="Texts in, float32 (n, dim) out.")],
    missing: Annotated[
        bool, typer.Option("--missing", help="Without a deployment: what is missing in what is live.")
    ] = False,
    collection: Annotated[
        str | None, typer.Option("--collection", metavar="NAME", help="Default: those that the embedder is for.")
    ] = None,
    corpus: Annotated[
        str | None, typer.Option("--corpus", metavar="KIND", help="documents, or payloads (of the vectors).")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", metavar=FUNCTION, help="Where the text of (id, value) is to be found.")
    ] = None,
    dual: Annotated[
        str | None, typer.Option("--dual", metavar=FUNCTION, help="The embedder of readers outside; feed them, too.")
    ] = None,
    follow: Annotated[
        str | None, typer.Option("--follow", metavar="DURATION", help="Go on with what comes; look this often: 30s.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", metavar="N", help="How many documents in one call.")] = 256,
    rate: Annotated[float | None, typer.Option("--rate", metavar="N", help="At most so many rows a second.")] = None,
    workers: Annotated[int, typer.Option("--workers", metavar="N", help="Embed in so many processes.")] = 0,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Embed a corpus with a deployment's embedder.

    As the deployment itself, so that nobody outside it sees the vectors. It may be stopped anywhere (Ctrl-C) and run
    again: what is done stays done.
    """
    if (name is None) != missing:
        raise InvalidValue(
            "name a deployment, or say --missing for what is live; not both"
            if missing
            else "name the deployment that brings the embedder, or say --missing for what is missing in what is live"
        )
    seconds = None if follow is None else seconds_of(follow)
    if follow is not None and seconds is None:
        raise InvalidValue(f"{follow!r} is no duration; write 30s or 5min")
    _find_modules_here()
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
            on_failure=None if follow is None else _warn,  # who follows waits long for the report
        )
    if as_json:
        emit({**msgspec.to_builtins(report), "ok": report.ok})
    else:
        _tell(report)
    return 0 if report.ok else FAILED


def _find_modules_here() -> None:
    """Let the folder one stands in be searched for modules, as `python -m` does."""
    here = os.getcwd()  # noqa: PTH109 - sys.path holds strings
    if here not in sys.path:
        sys.path.insert(0, here)


def _warn(place: str, why: str) -> None:
    whisper(f"{one_line(place)} could not be embedded: {one_line(why, _WHY_COLUMNS)}", "red")


def _tell(report: BackfillReport) -> None:
    written = report.embedded + report.outside
    where = listing(report.collections)
    inside = "what is live" if report.deployment is None else report.deployment
    rate = f", {written / report.seconds:,.0f} a second" if written and report.seconds > 0 else ""
    say(f"{where}: {count(report.embedded, 'document')} embedded for readers of {inside}", "bold")
    if report.outside:
        say(f"  {count(report.outside, 'document')} embedded for readers outside it")
    say(f"  {report.unchanged:,} had their vector already; it took {duration(report.seconds)}{rate}")
    if report.failed:
        say(f"  {count(len(report.failed), 'document')} could not be embedded; run it again to try those again:", "red")
        for place, why in report.failed[:_FAILURES_SHOWN]:
            say(f"    {one_line(place)}: {one_line(why, _WHY_COLUMNS)}")
        if len(report.failed) > _FAILURES_SHOWN:
            say(f"    and {len(report.failed) - _FAILURES_SHOWN:,} more; --json lists them all")
