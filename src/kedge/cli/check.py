"""fsck, drill: whether what is on disk is as it must be, and whether a launch could be undone."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from kedge import drill as drills
from kedge import open as open_database
from kedge.cli import database
from kedge.cli.app import KEEP, app
from kedge.cli.options import Db, Json
from kedge.cli.terminal import console, count, emit, progress_bar, say, whisper
from kedge.drill.corpus import DOCUMENTS_DEFAULT
from kedge.drill.run import SESSIONS_DEFAULT
from kedge.errors import InvalidValue
from kedge.open import server_databases

FAILED = 1
REPORT = Path("drill-report.json")


@app.command(rich_help_panel=KEEP)
def fsck(
    *,
    full: Annotated[bool, typer.Option("--full", help="Check everything, not a sample of the large tables.")] = False,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Check what is on disk against every invariant.

    Writes nothing, and blocks nobody.
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
    extent = "all of it" if report.full else "large tables by sample; --full checks all of it"
    if report.ok:
        say(f"Clean: every invariant holds ({extent}).", "bold green")
        return 0
    for finding in report.findings:
        say(f"  {finding.kind} {finding.where}: {finding.message}", "red")
    say(
        f"{count(len(report.findings), 'finding')} ({extent}). Keep the files as they are, and restore a backup.",
        "bold red",
    )
    return FAILED


@app.command(rich_help_panel=KEEP)
def drill(
    context: typer.Context,
    *,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Rehearse on the database of --db, unseen by its readers.")
    ] = False,
    documents: Annotated[
        int, typer.Option("--docs", min=1, metavar="N", help="How many docstrings to take.")
    ] = DOCUMENTS_DEFAULT,
    sessions: Annotated[
        int, typer.Option("--sessions", min=1, metavar="N", help="How many sessions on a busy day.")
    ] = SESSIONS_DEFAULT,
    server: Annotated[
        str | None,
        typer.Option(
            "--server", metavar="URL", help="Have its databases made on this PostgreSQL server, and dropped at the end."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help=f"Write the report as JSON. Default: {REPORT}.")
    ] = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Rehearse a launch that goes wrong and is undone, with proof.

    On its own data, Python's docstrings, in a folder that is thrown away. With --in-place, on a database of yours: a
    canary that nobody else can see writes to every store, is rolled back, verified and purged.
    """
    if not in_place and _was_typed(context, "db"):
        raise InvalidValue("--db without --in-place would not touch that database; add --in-place, or leave --db out")
    if in_place and server is not None:
        raise InvalidValue("--server is for databases of the drill's own, --in-place for one of yours; leave one out")
    target = report or (None if as_json else REPORT)
    if target is not None:
        _must_be_writable(target)
    tell = (lambda _step: None) if as_json else lambda step: whisper(f"· {step}", "dim")
    found: drills.HelpdeskReport | drills.InPlaceReport
    if in_place:
        database.for_reading(db).close()  # it must be there
        found = drills.rehearse_in_place(open_database, db or database.DEFAULT, say=tell)
    else:
        with nullcontext() if server is None else server_databases(server) as databases:
            found = drills.rehearse_helpdesk(
                open_database, databases=databases, documents=documents, sessions=sessions, say=tell
            )
    document = drills.to_document(found)
    if target is not None:
        _write(target, document)
    if as_json:
        emit(document)
    else:
        drills.print_report(found, console())
        say(f"The report as JSON: {target}", "dim")
    return 0 if found.passed else FAILED


def _was_typed(context: typer.Context, option: str) -> bool:
    """Whether an option stands on the command line: KEDGE_DB may be set for other commands."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _must_be_writable(path: Path) -> None:
    """Refuse a report that could not be written before the drill, not after it."""
    is_new = not path.exists()
    if not is_new and not path.is_file() and not path.is_dir():
        return  # a pipe or a terminal: to open it may have effects
    try:
        path.open("ab").close()
        if is_new:
            path.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


def _write(path: Path, document: dict[str, object]) -> None:
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> InvalidValue:
    return InvalidValue(f"the report {path} cannot be written ({error.strerror}); try another")
