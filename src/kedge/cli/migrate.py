"""Command migrate-store, and `kedge diff --with`: move a database, and compare two databases."""

from typing import Annotated

import msgspec
import typer

from kedge import compare_stores
from kedge import migrate_store as move_store
from kedge.cli import database
from kedge.cli.app import MAINTAIN, app
from kedge.cli.options import By, Json, Yes
from kedge.cli.terminal import (
    ask,
    count,
    decline,
    emit,
    heading,
    listing,
    may_ask,
    progress_bar,
    say,
    whisper,
)
from kedge.migration.compare import Difference
from kedge.model.durations import duration
from kedge.model.secrets import public_address

DIFFERENT = 1


@app.command("migrate-store", rich_help_panel=MAINTAIN)
def migrate_store(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="Source database: a folder, sqlite:///PATH or postgresql://…")
    ],
    target: Annotated[
        str, typer.Argument(metavar="DST", help="Target: a new file or folder, or an empty database on a server.")
    ],
    *,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Cancel an unfinished move and reopen SRC for writing.")
    ] = False,
    yes: Yes = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Move a database to another backend or location.

    SRC stays writable until the last part is copied, then it becomes read-only forever. Processes that still use it get
    an error with the new location. To resume after an interruption, run the same command again.
    """
    tell = (lambda _step: None) if as_json else lambda step: whisper(f"· {step}", "dim")
    from_here, to_there = public_address(source), public_address(target)
    question = (
        f"Cancel the move and reopen {from_here} for writing?"
        if abandon
        else f"{from_here} becomes read-only forever after the copy. Continue?"
    )
    action = "cancel the move of" if abandon else "move"
    if may_ask(yes=yes, as_json=as_json, what=f"{action} {from_here}") and not ask(question):
        decline()
    with progress_bar("copying", silent=as_json, unit="seqs") as progress:
        report = move_store(source, target, by=by, abandon=abandon, progress=progress, say=tell)
    if as_json:
        emit({"move": report})
    elif report is None:
        say(f"{from_here} is writable again. {to_there} is an incomplete copy: delete it.", "bold")
    elif report.already_done:
        say(f"{report.source} was already moved to {report.target}; nothing to do.")
    else:
        say(f"Moved to {report.target}, up to seq {report.last_seq:,}.", "bold green")
        say(f"Writes were blocked for {duration(report.closed_seconds)}. {report.source} is now read-only.")
        say(f"To compare both: kedge diff --with {report.target} --db {report.source}", "dim")


def compare_with(other: str, db: str | None, *, as_json: bool) -> int:
    """Compare two whole databases, for `kedge diff --with`."""
    here = db or database.DEFAULT
    database.for_reading(here).close()  # raises if it does not exist
    with progress_bar("comparing", silent=as_json) as progress:
        found = compare_stores(here, other, progress=progress)
    if as_json:
        emit({"same": found.same, **msgspec.to_builtins(found)})
        return 0 if found.same else DIFFERENT
    say(f"A: {found.a}, at seq {found.a_seq:,}")
    say(f"B: {found.b}, at seq {found.b_seq:,}")
    rows = sum(difference.same for difference in found.differences)
    if found.same:
        extent = f"{count(rows, 'row')} and {count(found.views, 'view')}, up to seq {found.upto:,}"
        say(f"No differences: {extent}.", "bold green")
    for difference in found.differences:
        if difference.differs:
            _print_difference(difference)
    if found.skipped:
        say(f"Not compared, because one database has newer writes: {listing(found.skipped, 20)}.", "dim")
    return 0 if found.same else DIFFERENT


def _print_difference(difference: Difference) -> None:
    heading(
        f"{difference.what}: {difference.only_a:,} only in A, {difference.only_b:,} only in B, {difference.changed:,} "
        f"different, {difference.same:,} identical"
    )
    for example in difference.examples:
        say(f"  ~ {example}", "yellow")
