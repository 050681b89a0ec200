"""Command stop: turn everything off, or less; by a file first, which needs no database."""

import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kedge.cli.app import UNDO, app
from kedge.cli.interrupts import Stopped
from kedge.cli.options import By, Db, Json, Reason
from kedge.cli.terminal import emit, say, say_whole, whisper
from kedge.errors import ApprovalNeeded, KedgeError, UnknownName
from kedge.model.address import is_server, locate
from kedge.model.ladder import Scope, parse_scope
from kedge.model.stop_file import StopLine, check_stop_level
from kedge.turns.stop_files import Written, stop_by_file

if TYPE_CHECKING:
    from kedge.guard.stopping import StopReport

DEFAULT = ".kedge"
IN_PART = 1
WAITS = 3  # the exit code where another person must approve first
_NAMES_MAX = 10


@app.command(rich_help_panel=UNDO)
def stop(
    scope: Annotated[
        str,
        typer.Argument(
            metavar="[SCOPE]",
            help="everything, feature:NAME, tool:NAME, session:NAME, deployment:NAME or cohort:LOW-HIGH.",
        ),
    ] = "everything",
    *,
    level: Annotated[str, typer.Option("--level", metavar="LEVEL", help="The level to set.")] = "off",
    release: Annotated[bool, typer.Option("--release", help="Lift this stop again. Agents cannot.")] = False,
    stop_file: Annotated[
        Path | None,
        typer.Option("--file", metavar="PATH", help="Stop file of this host. Default: STOP beside the database."),
    ] = None,
    wait: Annotated[
        float, typer.Option("--wait", min=0, metavar="SECONDS", help="Wait so long for members to confirm.")
    ] = 5.0,
    reason: Reason = "",
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Turn everything off at once, or SCOPE, or to another LEVEL.

    It writes a file that every process of this host reads, also where the database is locked, full or down. Then it
    records the stop in the database, for the processes of all hosts, and says which members have confirmed it.
    """
    where, url = parse_scope(scope), db or DEFAULT
    if release:
        return _release(url, where, stop_file, reason=reason, by=by, as_json=as_json)
    chosen = check_stop_level(level)
    _must_be_there(url)
    note = f"by {by or _user()}{f': {reason}' if reason else ''}"
    line = StopLine(where, chosen, note)
    written = stop_by_file(url, line, stop_file)  # before anything else is imported, or opened
    if not as_json:
        _tell_file(line, written)
        whisper("Recording it in the database, for all hosts …", "dim")
    report = _record(url, line, written, stop_file, reason=reason, by=by, wait=wait)
    if report is None:
        return IN_PART
    if as_json:
        emit(report.document)
    else:
        _tell_record(report)
    return 0 if report.ok else IN_PART


def _must_be_there(url: str) -> None:
    """Raise for a folder that is not there: a stop file in a mistyped place would stop nothing."""
    if not is_server(url) and not (folder := locate(url).parent).is_dir():
        raise UnknownName(f"no database at {locate(url)}: there is no folder {folder}; check --db, or KEDGE_DB")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _record(
    url: str, line: StopLine, written: Written, stop_file: Path | None, *, reason: str, by: str | None, wait: float
) -> "StopReport | None":
    """Record the stop; None where this installation is too broken to open a database."""
    try:
        from kedge.open import record_stop  # noqa: PLC0415 - the file comes first, whatever becomes of this

        return record_stop(url, line, written, stop_file=stop_file, reason=reason, by=by, wait=wait)
    except KedgeError:
        raise
    except KeyboardInterrupt:
        here = f"{written.path} holds on this host" if written.is_stopped else "nothing is stopped on this host"
        raise Stopped(
            f"interrupted: {here}; whether it is recorded for other hosts is not known. Run the same command again"
        ) from None
    except Exception as error:  # noqa: BLE001 - a library that is missing or broken must not hide that the file is there
        whisper(f"Not recorded: Kedge itself is broken here ({type(error).__name__}: {error}).", "bold red")
        return None


def _tell_file(line: StopLine, written: Written) -> None:
    if written.is_stopped:
        say_whole(f"This host: {line.level} for {line.scope} by {written.path}.", "bold green")
    if written.error is not None:
        whisper(f"Stop file: {written.error}.", "yellow")


def _tell_record(report: "StopReport") -> None:
    if report.recorded is None:
        whisper(f"Not recorded: {report.record_error}", "bold red")
        if not report.stopped:
            whisper("Nothing is stopped. Run it again, with --file PATH too, or stop the processes.", "bold red")
        elif report.scope.startswith("deployment:") and "is named" in (report.record_error or ""):
            whisper(f"The stop file holds. To take this back: kedge stop --release {report.scope}", "bold red")
        else:
            whisper("Other hosts go on. Run the same command there, or again here, until it is recorded.", "bold red")
        return
    say(f"All hosts: {report.recorded}.", "bold green")
    if (other := report.recorded.resembles) is not None:
        name = report.recorded.entry.scope.name
        whisper(f"No artifact belongs to an agent {name!r}: did you mean {other!r}?", "bold yellow")
    late = report.recorded.recognition.unconfirmed
    for member in late[:_NAMES_MAX]:
        whisper(f"Unconfirmed: {member.name} on {member.host}, process {member.pid}: {member.why}.", "bold red")
    if len(late) > _NAMES_MAX:
        whisper(f"… and {len(late) - _NAMES_MAX} more: kedge fleet", "bold red")


def _release(url: str, scope: Scope, stop_file: Path | None, *, reason: str, by: str | None, as_json: bool) -> int:
    from kedge.open import release  # noqa: PLC0415 - as above

    try:
        report = release(url, scope, reason=reason, by=by, stop_file=stop_file)
    except ApprovalNeeded as error:
        if as_json:
            emit({"request": {"id": error.request.id, "what": error.request.what}})
        else:
            say(f"Not done yet: {error.request.what}. The stop file is as it was.", "bold yellow")
            say_whole(f"Another person approves it within 15 min: kedge ladder approve {error.request.id}")
            say("Then run the same command again: it takes the scope out of the stop file.")
        return WAITS
    if as_json:
        emit({"release": report})
    else:
        say_whole(f"{report}."[:1].upper() + f"{report}."[1:])
    return IN_PART if report.file_errors else 0
