"""migrate-store, and the half of diff that compares two databases: moving elsewhere, and checking that."""

from typing import Annotated

import msgspec
import typer

from kedge import compare_stores
from kedge import migrate_store as move_store
from kedge.cli import database
from kedge.cli.app import KEEP, app
from kedge.cli.options import By, Json, Yes
from kedge.cli.terminal import (
    ask,
    count,
    decline,
    duration,
    emit,
    heading,
    listing,
    may_ask,
    progress_bar,
    say,
    whisper,
)
from kedge.migration.compare import Difference

DIFFERENT = 1


@app.command("migrate-store", rich_help_panel=KEEP)
def migrate_store(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="The database: a folder, sqlite:///PATH, postgresql://…")
    ],
    target: Annotated[str, typer.Argument(metavar="DST", help="A new file, or an empty database of a server.")],
    *,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Give an unfinished move up, and open SRC for writing again.")
    ] = False,
    yes: Yes = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Move a database to another backend, or another place.

    SRC is in use until little is left to copy. Then it is closed for good: whoever still works with it is told where it
    lies now. Stopped anywhere, the same command goes on.
    """
    tell = (lambda _step: None) if as_json else lambda step: whisper(f"· {step}", "dim")
    question = "Open it for writing again?" if abandon else f"{source} is closed for good once it is copied. Go on?"
    if may_ask(yes=yes, as_json=as_json, what="give a move up" if abandon else "move a database") and not ask(question):
        decline()
    with progress_bar("copying", silent=as_json, unit="seqs") as progress:
        report = move_store(source, target, by=by, abandon=abandon, progress=progress, say=tell)
    if as_json:
        emit({"move": report})
    elif report is None:
        say(f"{source} can be written to again. What lies at {target} is of no use any more: drop it.", "bold")
    elif report.already_done:
        say(f"{report.source} lies at {report.target} already; nothing was left to do.")
    else:
        say(f"Moved to {report.target}, up to seq {report.last_seq:,}.", "bold green")
        say(f"Nobody could write for {duration(report.closed_seconds)}. {report.source} takes no writes any more.")
        say(f"Whether both are the same: kedge diff --with {report.target} --db {report.source}", "dim")


def compare_with(other: str, db: str | None, *, as_json: bool) -> int:
    """Compare two databases whole, for `kedge diff --with`."""
    here = db or database.DEFAULT
    database.for_reading(here).close()  # it must be there
    with progress_bar("comparing", silent=as_json) as progress:
        found = compare_stores(here, other, progress=progress)
    if as_json:
        emit({"same": found.same, **msgspec.to_builtins(found)})
        return 0 if found.same else DIFFERENT
    say(f"a: {found.a}, at seq {found.a_seq:,}")
    say(f"b: {found.b}, at seq {found.b_seq:,}")
    rows = sum(difference.same for difference in found.differences)
    if found.same:
        extent = f"{count(rows, 'row')} and {count(found.views, 'view')}, up to seq {found.upto:,}"
        say(f"Both hold the same: {extent}.", "bold green")
    for difference in found.differences:
        if difference.differs:
            _tell(difference)
    if found.skipped:
        say(f"Not compared, since one of them has gone on: {listing(found.skipped, 20)}.", "dim")
    return 0 if found.same else DIFFERENT


def _tell(difference: Difference) -> None:
    heading(
        f"{difference.what}: {difference.only_a:,} only in a, {difference.only_b:,} only in b, {difference.changed:,} "
        f"different, {difference.same:,} the same"
    )
    for example in difference.examples:
        say(f"  ~ {example}", "yellow")
