"""Command sessions: the sessions that see a deployment or do not yet, and their refresh in bulk."""

from shlex import quote
from typing import Annotated

import msgspec
import typer

from kedge.cli import database
from kedge.cli.app import INSPECT, app
from kedge.cli.options import By, Db, Json, Yes
from kedge.cli.terminal import (
    SETTLED_ONLY,
    ask,
    count,
    decline,
    emit,
    listing,
    may_ask,
    printable,
    say,
    spinner,
    table,
    when,
)
from kedge.deployments.drainage import SessionInfo

_LIMIT = 20


@app.command(rich_help_panel=INSPECT)
def sessions(
    prefix: Annotated[str, typer.Argument(metavar="[PREFIX]", help="Only sessions whose names begin so.")] = "",
    *,
    seeing: Annotated[
        str | None, typer.Option(metavar="DEPLOYMENT", help="Only sessions that see this deployment.")
    ] = None,
    not_seeing: Annotated[
        str | None, typer.Option(metavar="DEPLOYMENT", help="Only sessions that do not see it yet.")
    ] = None,
    after: Annotated[str | None, typer.Option(metavar="SESSION", help="Continue after this session.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to list.")] = _LIMIT,
    refresh: Annotated[bool, typer.Option("--refresh", help="Assign all of them anew.")] = False,
    yes: Yes = False,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """List sessions, or assign them anew in bulk.

    With --refresh, each sees from its next turn on what a new session sees. That drains a deployment.
    """
    if refresh:
        return _refresh(prefix, seeing, not_seeing, yes=yes, by=by, db=db, as_json=as_json)
    with database.for_reading(db) as k:
        found = k.sessions(prefix, after=after, limit=limit + 1, seeing=seeing, not_seeing=not_seeing)
        now = k.status().at
    _print(found[:limit], now, more=len(found) > limit, as_json=as_json)
    return 0


def _print(found: list[SessionInfo], now: float, *, more: bool, as_json: bool) -> None:
    if as_json:
        emit({"sessions": found, "more": more})
    elif not found:
        say("No such session.")
    else:
        table(
            ("session", "assigned", "sees"),
            ((printable(s.session), when(s.assigned_at, now), _sees(s)) for s in found),
        )
        if more:
            say(f"and more: kedge sessions --after {quote(printable(found[-1].session))}", "dim")


def _sees(session: SessionInfo) -> str:
    return "ended" if session.ended else listing(session.sees, 3) or SETTLED_ONLY


def _refresh(
    prefix: str,
    seeing: str | None,
    not_seeing: str | None,
    *,
    yes: bool,
    by: str | None,
    db: str | None,
    as_json: bool,
) -> int:
    with database.for_changing(db) as k:
        name = seeing or not_seeing
        if name is not None and may_ask(yes=yes, as_json=as_json, what="refresh sessions"):
            some = k.sessions(prefix, limit=_LIMIT + 1, seeing=seeing, not_seeing=not_seeing)
            many = f"more than {count(_LIMIT, 'session')}" if len(some) > _LIMIT else count(len(some), "session")
            say(f"{many} {'see' if seeing else 'do not see'} {name}.")
            say("From their next turn on, they see what new sessions see.")
            if not ask("Refresh them?"):
                decline()
        with spinner("refreshing", silent=as_json):
            done = k.refresh_sessions(prefix, seeing=seeing, not_seeing=not_seeing, by=by)
    if as_json:
        emit(msgspec.to_builtins(done))
    else:
        say(f"{done}", "bold")
    return 0
