"""Command fsck: check every invariant of the database."""

from typing import Annotated

import msgspec
import typer

from kedge.cli import database
from kedge.cli.app import MAINTAIN, app
from kedge.cli.options import Db, Json
from kedge.cli.terminal import count, emit, progress_bar, say

FAILED = 1


@app.command(rich_help_panel=MAINTAIN)
def fsck(
    *,
    full: Annotated[
        bool, typer.Option("--full", help="Check all rows; default: a sample of the large tables.")
    ] = False,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Check every invariant of the database.

    Read-only; does not block readers or writers.
    """
    with database.for_reading(db) as k, progress_bar("checking", silent=as_json) as progress:
        report = k.fsck(full=full, progress=progress)
    if as_json:
        emit({"ok": report.ok, **msgspec.to_builtins(report)})
        return 0 if report.ok else FAILED
    for what, number in report.checked.items():
        say(f"  {what:<28}{number:>12,}", "dim")
    for note in report.notes:
        say(f"  {note.kind} {note.where}: {note.message}", "yellow")
    extent = "full check" if report.full else "large tables sampled; --full checks every row"
    if report.ok:
        say(f"Clean: every invariant holds ({extent}).", "bold green")
        return 0
    for finding in report.findings:
        say(f"  {finding.kind} {finding.where}: {finding.message}", "red")
    say(
        f"{count(len(report.findings), 'finding')} ({extent}). Keep a copy of the files, then restore a backup.",
        "bold red",
    )
    return FAILED
