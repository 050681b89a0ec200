"""Command drill: rehearse a bad deployment and its rollback."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from kedge import drill as drills
from kedge import open as open_database
from kedge.cli import database
from kedge.cli.app import MAINTAIN, app
from kedge.cli.files import write_file
from kedge.cli.options import By, Db, Json
from kedge.cli.terminal import console, emit, indented, say, say_whole, whisper
from kedge.drill.corpus import DOCUMENTS_DEFAULT
from kedge.drill.pilot_process import STEPS
from kedge.drill.run import SESSIONS_DEFAULT
from kedge.errors import InvalidValue
from kedge.open import server_databases
from kedge.turns.kernel import actor

FAILED = 1
REPORT, STOP_REPORT = Path("drill-report.json"), Path("stop-drill.json")


@app.command(rich_help_panel=MAINTAIN)
def drill(
    context: typer.Context,
    *,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Rehearse on the database of --db, hidden from its readers.")
    ] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="Rehearse a stop and its release, and write the evidence.")
    ] = False,
    by: By = None,
    auto: Annotated[
        bool, typer.Option("--auto", help="Rehearse a launch that finds its bad release and rolls it back by itself.")
    ] = False,
    kill_at: Annotated[
        str | None,
        typer.Option(
            "--kill-at", metavar="STEP", help=f"With --auto: kill the pilot at a step: all, {', '.join(STEPS)}."
        ),
    ] = None,
    documents: Annotated[
        int, typer.Option("--docs", min=1, metavar="N", help="Number of docstrings to use.")
    ] = DOCUMENTS_DEFAULT,
    sessions: Annotated[
        int, typer.Option("--sessions", min=1, metavar="N", help="Number of sessions per busy day.")
    ] = SESSIONS_DEFAULT,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="URL",
            help="Create temporary databases on this PostgreSQL server; drop them at the end.",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help=f"File for the JSON report. Default: {REPORT}.")
    ] = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Rehearse a bad deployment and its rollback, and verify the result.

    By default it uses its own data (Python's docstrings) in a temporary folder. With --in-place it uses your database:
    a hidden deployment writes to every store, is rolled back, verified and purged. With --auto, a launch finds its bad
    release by itself, degrades it and rolls it back; then the drill replays. With --stop it stops agents in several
    processes on a temporary database, lets an agent try to release it, and writes the evidence as JSON and as text.
    """
    _check_combination({"--in-place": in_place, "--auto": auto, "--stop": stop}, kill_at=kill_at, server=server)
    if not in_place and _was_typed(context, "db"):
        raise InvalidValue("--db has no effect without --in-place; add --in-place, or omit --db")
    if stop:
        return _rehearse_stop(server, report, by, as_json=as_json)
    target = report or (None if as_json else REPORT)
    if target is not None:
        _must_be_writable(target)
    report_step = (lambda _step: None) if as_json else lambda step: whisper(f"· {step}", "dim")
    found: drills.HelpdeskReport | drills.InPlaceReport | drills.AutomaticReport
    if in_place:
        database.for_reading(db).close()  # raises if it does not exist
        found = drills.rehearse_in_place(open_database, db or database.DEFAULT, say=report_step)
    elif auto:
        with nullcontext() if server is None else server_databases(server) as databases:
            found = drills.rehearse_automatically(
                open_database, databases=databases, documents=documents, kill_at=kill_at, say=report_step
            )
    else:
        with nullcontext() if server is None else server_databases(server) as databases:
            found = drills.rehearse_helpdesk(
                open_database, databases=databases, documents=documents, sessions=sessions, say=report_step
            )
    document = drills.to_document(found)
    if target is not None:
        write_file(target, indented(document) + b"\n")
    if as_json:
        emit(document)
    else:
        drills.print_report(found, console())
        say(f"JSON report: {target}", "dim")
    return 0 if found.passed else FAILED


def _rehearse_stop(server: str | None, report: Path | None, by: str | None, *, as_json: bool) -> int:
    target = report or (None if as_json else STOP_REPORT)
    text = None if target is None else target.with_suffix(".md")
    for path in filter(None, (target, text)):
        _must_be_writable(path)
    report_step = (lambda _step: None) if as_json else lambda step: whisper(f"· {step}", "dim")
    with nullcontext() if server is None else server_databases(server) as databases:
        found = drills.rehearse_stop(open_database, authority=actor(by), databases=databases, say=report_step)
    document = drills.to_document(found)
    if target is not None and text is not None:
        write_file(target, indented(document) + b"\n")
        write_file(text, drills.evidence_text(found))
    if as_json:
        emit(document)
    else:
        say_whole(drills.evidence_text(found))
        say(f"Evidence: {target} and {text}", "dim")
    return 0 if found.passed else FAILED


def _check_combination(rehearsals: dict[str, bool], *, kill_at: str | None, server: str | None) -> None:
    """Raise `InvalidValue` for two rehearsals at once, and for an option that has no effect on the one."""
    chosen = [option for option, is_chosen in rehearsals.items() if is_chosen]
    if len(chosen) > 1:
        raise InvalidValue(f"{chosen[0]} and {chosen[1]} exclude each other; omit one of them")
    if chosen == ["--in-place"] and server is not None:
        raise InvalidValue("--server and --in-place exclude each other; omit one of them")
    if kill_at is not None and chosen != ["--auto"]:
        raise InvalidValue(f"--kill-at {kill_at} has no effect without --auto; add --auto, or omit --kill-at")


def _was_typed(context: typer.Context, option: str) -> bool:
    """Whether an option was typed, not taken from KEDGE_DB, which may be set for other commands."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _must_be_writable(path: Path) -> None:
    """Raise before the drill if the report file cannot be written."""
    is_new = not path.exists()
    if not is_new and not path.is_file() and not path.is_dir():
        return  # opening a pipe or a terminal can have side effects
    try:
        path.open("ab").close()
        if is_new:
            path.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> InvalidValue:
    return InvalidValue(f"cannot write the report {path} ({error.strerror}); choose another file")
