"""Commands status, log, diff and assignment: current state and its history."""

from typing import Annotated

import msgspec
import typer
from rich.text import Text

from kedge.cli import database
from kedge.cli.app import INSPECT, app
from kedge.cli.level_text import entry_document, request_document
from kedge.cli.log_secrets import print_secrets
from kedge.cli.migrate import compare_with
from kedge.cli.options import Db, Json, SessionName
from kedge.cli.parsing import NOW, POINT_HELP, view_of
from kedge.cli.status_text import change_text, print_status
from kedge.cli.tables import status_style
from kedge.cli.terminal import (
    SETTLED_ONLY,
    ago,
    count,
    emit,
    heading,
    listing,
    one_line,
    printable,
    say,
    spinner,
    table,
    utc_short,
)
from kedge.errors import InvalidValue
from kedge.ports.control import Entry
from kedge.reports.diff import KeyChange, SpaceDiff
from kedge.turns.scope import scope_of

_VALUE_COLUMNS = 40
# The status that a change leads to, for its colour.
_LEADS_TO = {
    "stage": "staged", "canary": "canary", "promote": "live", "settle": "settled", "rollback": "rolled back",
    "reinstate": "live", "purge": "purged",
}  # fmt: skip


@app.command(rich_help_panel=INSPECT)
def status(
    *,
    everything: Annotated[bool, typer.Option("--all", help="List every deployment that can still change.")] = False,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Show the state of all deployments on one screen."""
    with database.for_reading(db) as k:
        found = k.status()
        launches = k.guard.launches() if found.schema.schema >= found.schema.latest else []
        readiness = k.guard.readiness()
    if as_json:
        levels = {"entries": map(entry_document, found.entries), "requests": map(request_document, found.requests)}
        running = [each for each in launches if not each.ended or each.blocks]
        emit(
            msgspec.to_builtins(found)
            | {name: list(each) for name, each in levels.items()}
            | {"launches": running, "readiness": readiness}
        )
    else:
        print_status(found, launches, readiness, everything=everything)


@app.command(rich_help_panel=INSPECT)
def log(
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Number of entries, newest first.")] = 20,
    deployment: Annotated[str | None, typer.Option(metavar="NAME", help="Only entries about this deployment.")] = None,
    secrets: Annotated[
        bool, typer.Option("--secrets", help="Only entries that seem to hold a password or a token, of the whole log.")
    ] = False,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """List all changes: what, by whom, why and when."""
    if secrets and deployment is not None:
        raise InvalidValue("--secrets searches the whole log; omit --deployment")
    with database.for_reading(db) as k:
        if secrets:
            return print_secrets(k, as_json=as_json)
        if deployment is None:
            entries = k.log(limit)
        else:
            k.deployment(deployment)
            entries = [e for e in k.log(k.seq) if deployment in (e.deployment, *e.detail.get("names", ()))][:limit]
        now = k.status().at
    if as_json:
        emit({"entries": entries})
        return 0
    table(
        ("change", "by", "reason", "UTC", "ago", "seq"),
        (
            (
                _change(e),
                e.by,
                e.reason,
                utc_short(e.at),
                ago(e.at, now).removesuffix(" ago"),
                str(e.seq),
            )
            for e in entries
        ),
        right=("seq", "ago"),
        importance=("change", "reason", "ago", "by", "seq", "UTC"),
    )
    if len(entries) == limit:
        say(f"Newest {limit} entries; more with --limit.", "dim")
    return 0


def _change(entry: Entry) -> Text:
    """Return a change, coloured by the status that it leads to; steps of a change are indented."""
    text = printable(change_text(entry))
    return Text(f"  {text}") if ":" in entry.kind else Text(text, status_style(_LEADS_TO.get(entry.kind, "")))


@app.command(rich_help_panel=INSPECT)
def diff(
    a: Annotated[
        str | None, typer.Argument(metavar="A", help=f"First view: {POINT_HELP} Or session:NAME, or deployment:NAME.")
    ] = None,
    b: Annotated[
        str,
        typer.Argument(
            metavar="[B]", help="Second view, in the same form. session: and deployment: may end in @POINT."
        ),
    ] = NOW,
    *,
    keys: Annotated[int, typer.Option("--keys", min=0, help="Number of keys to list per space.")] = 5,
    other: Annotated[
        str | None, typer.Option("--with", metavar="URL", help="Compare the whole database with this one.")
    ] = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Compare two views, two points in time, or two databases.

    Print which keys were added, removed and changed from A to B.

    For example: kedge diff 2h; kedge diff before:support-v2 now; kedge diff now deployment:support-v2.
    """
    if (a is None) == (other is None):
        raise InvalidValue("give either a view A or another database with --with, not both")
    if a is None:
        return compare_with(str(other), db, as_json=as_json)
    with database.for_reading(db) as k, spinner("comparing", silent=as_json):
        found = k.diff(view_of(k, a), view_of(k, b))
    if as_json:
        emit({"same": found.same, **msgspec.to_builtins(found)})
        return 0
    say(f"A: {a}, {_seen(found.a_seen, found.a_upto)}")
    say(f"B: {b}, {_seen(found.b_seen, found.b_upto)}")
    differing = [space for space in found.spaces if space.differs]
    if not differing:
        say("No differences.", "bold")
        return 0
    for space in differing:
        if space.store != "memory":
            _print_space(space, keys)
    _print_sessions([space for space in differing if space.store == "memory"], keys)
    unchanged = sum(space.same for space in found.spaces)
    say()
    say(f"{count(unchanged, 'key')} identical in both.")
    return 0


def _seen(names: tuple[str, ...], upto: int | None) -> str:
    point = "" if upto is None else f", up to seq {upto}"
    return f"sees {listing(names) if names else SETTLED_ONLY}{point}"


def _print_space(space: SpaceDiff, most: int) -> None:
    place = f"{space.store} {space.space}".strip()
    heading(f"{place}: {len(space.added):,} added, {len(space.removed):,} removed, {len(space.changed):,} changed")
    for sign, style, changes in (
        ("+", "green", space.added),
        ("-", "red", space.removed),
        ("~", "yellow", space.changed),
    ):
        for change in changes[:most]:
            say(f"  {sign} {_key(change)}", style)
        if len(changes) > most > 0:
            say(f"  {sign} and {len(changes) - most:,} more", style)


def _print_sessions(sessions: list[SpaceDiff], most: int) -> None:
    if not sessions:
        return
    heading(f"memory: the histories of {count(len(sessions), 'session')} differ")
    for session in sessions[:most]:
        added, removed = len(session.added) + len(session.changed), len(session.removed)
        say(f"  ~ {session.space}: {count(added, 'message')} added, {removed:,} removed", "yellow")
    if len(sessions) > most:
        say(f"  ~ and {count(len(sessions) - most, 'more session')}", "yellow")


def _key(change: KeyChange) -> str:
    a, b = one_line(change.a_value, _VALUE_COLUMNS), one_line(change.b_value, _VALUE_COLUMNS)
    if change.a_seq and change.b_seq:
        return f"{change.key}: {a} → {b} (seq {change.a_seq} → {change.b_seq})"
    return f"{change.key}: {a if change.a_seq else b} (seq {change.a_seq or change.b_seq})"


@app.command(rich_help_panel=INSPECT)
def assignment(session: SessionName, *, db: Db = None, as_json: Json = False) -> None:
    """Show which deployments a session sees.

    Read-only. A session is assigned at its first turn, not by this command.
    """
    with database.for_reading(db) as k:
        view = k.view(session=session)
        sees, fixed = sorted(view.seen), scope_of(view).backend.control.session(session)
    if as_json:
        emit({"session": session, "sees": sees, "fixed_at": None if fixed is None else fixed.at})
        return
    names = listing(sees, 20) if sees else SETTLED_ONLY
    if fixed is None:
        say(f"{one_line(session)} has had no turn yet. If it started now, it would see: {names}")
    else:
        say(f"{one_line(session)} sees: {names}")
