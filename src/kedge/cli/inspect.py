"""status, log, diff, assignment: how things stand, and how they came to."""

from typing import Annotated

import msgspec
import typer

from kedge.cli import database
from kedge.cli.app import LOOK, app
from kedge.cli.migrate import compare_with
from kedge.cli.options import Db, Json, SessionName
from kedge.cli.overview import tell, what
from kedge.cli.points import NOW, POINT_HELP, view_of
from kedge.cli.terminal import ago, count, emit, heading, listing, one_line, say, spinner, table, utc_short
from kedge.errors import InvalidValue
from kedge.reports.diff import KeyChange, SpaceDiff
from kedge.turns.scope import scope_of


@app.command(rich_help_panel=LOOK)
def status(
    *,
    everything: Annotated[bool, typer.Option("--all", help="List every deployment that can still change.")] = False,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Say how things stand, on one screen."""
    with database.for_reading(db) as k:
        found = k.status()
    if as_json:
        emit(msgspec.to_builtins(found))
    else:
        tell(found, everything=everything)


@app.command(rich_help_panel=LOOK)
def log(
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many entries, the newest first.")] = 20,
    deployment: Annotated[str | None, typer.Option(metavar="NAME", help="Only what concerned this one.")] = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Show who changed what, when and why."""
    with database.for_reading(db) as k:
        if deployment is None:
            entries = k.log(limit)
        else:
            k.deployment(deployment)
            entries = [e for e in k.log(k.seq) if deployment in (e.deployment, *e.detail.get("names", ()))][:limit]
        now = k.status().at
    if as_json:
        emit({"entries": entries})
        return
    table(
        ("seq", "UTC", "ago", "what", "who", "why"),
        (
            (
                str(e.seq),
                utc_short(e.at),
                ago(e.at, now).removesuffix(" ago"),
                f"  {what(e)}" if ":" in e.kind else what(e),
                e.by,
                e.reason,
            )
            for e in entries
        ),
        right=("seq", "ago"),
    )
    if len(entries) == limit:
        say(f"The newest {limit}; more with --limit.", "dim")


@app.command(rich_help_panel=LOOK)
def diff(
    a: Annotated[
        str | None, typer.Argument(metavar="A", help=f"A view. {POINT_HELP} Or session:NAME, deployment:NAME.")
    ] = None,
    b: Annotated[str, typer.Argument(metavar="[B]", help="Another; any of them may end in @POINT.")] = NOW,
    *,
    keys: Annotated[int, typer.Option("--keys", min=0, help="How many keys to name for each space.")] = 5,
    other: Annotated[
        str | None, typer.Option("--with", metavar="URL", help="Compare the whole database with another one instead.")
    ] = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Compare two views, two points in time, or two databases.

    Say what was added, removed and changed from A to B.

    For example: kedge diff 2h; kedge diff before:support-v2 now; kedge diff now deployment:support-v2.
    """
    if (a is None) == (other is None):
        raise InvalidValue("name a view to compare, or another database by --with; one of the two")
    if a is None:
        return compare_with(str(other), db, as_json=as_json)
    with database.for_reading(db) as k, spinner("comparing", silent=as_json):
        found = k.diff(view_of(k, a), view_of(k, b))
    if as_json:
        emit({"same": found.same, **msgspec.to_builtins(found)})
        return 0
    say(f"a: {a}, {_seen(found.a_seen, found.a_upto)}")
    say(f"b: {b}, {_seen(found.b_seen, found.b_upto)}")
    differing = [space for space in found.spaces if space.differs]
    if not differing:
        say("Both see the same everywhere.", "bold")
        return 0
    for space in differing:
        if space.store != "memory":
            _tell_space(space, keys)
    _tell_sessions([space for space in differing if space.store == "memory"], keys)
    untouched = sum(space.same for space in found.spaces)
    say()
    say(f"{count(untouched, 'key')} the same in both.")
    return 0


def _seen(names: tuple[str, ...], upto: int | None) -> str:
    upto_text = "as it is now" if upto is None else f"up to seq {upto}"
    return f"{upto_text}, sees {listing(names)}" if names else f"{upto_text}, sees no revocable deployment"


def _tell_space(space: SpaceDiff, most: int) -> None:
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


def _tell_sessions(sessions: list[SpaceDiff], most: int) -> None:
    if not sessions:
        return
    heading(f"memory: the histories of {count(len(sessions), 'session')} differ")
    for session in sessions[:most]:
        added, removed = len(session.added) + len(session.changed), len(session.removed)
        say(f"  ~ {session.space}: {count(added, 'message')} added, {removed:,} removed", "yellow")
    if len(sessions) > most:
        say(f"  ~ and {count(len(sessions) - most, 'more session')}", "yellow")


def _key(change: KeyChange) -> str:
    both = change.a_seq and change.b_seq
    return f"{change.key} (seq {f'{change.a_seq} → {change.b_seq}' if both else change.a_seq or change.b_seq})"


@app.command(rich_help_panel=LOOK)
def assignment(session: SessionName, *, db: Db = None, as_json: Json = False) -> None:
    """Say which deployments a session sees.

    Fixes nothing: a session is assigned at its first turn.
    """
    with database.for_reading(db) as k:
        view = k.view(session=session)
        sees, fixed = sorted(view.seen), scope_of(view).backend.control.session(session)
    if as_json:
        emit({"session": session, "sees": sees, "fixed_at": None if fixed is None else fixed.at})
        return
    names = listing(sees, 20) if sees else "no revocable deployment, only what is settled"
    if fixed is None:
        say(f"{one_line(session)} has not appeared yet; if it did now, it would see: {names}")
    else:
        say(f"{one_line(session)} sees: {names}")
