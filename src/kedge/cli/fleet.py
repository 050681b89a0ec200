"""Command fleet: list the member processes, their state and their epoch."""

import time
from contextlib import suppress
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from kedge.cli import database
from kedge.cli.app import INSPECT, app
from kedge.cli.options import Db, Json
from kedge.cli.status_text import summary
from kedge.cli.terminal import ago, console, emit, grid_of, one_line, printable, say, table
from kedge.errors import InvalidValue
from kedge.face import Kedge
from kedge.fleet.roster import MemberStatus

COLUMNS = ("member", "state", "refreshed", "lease", "serves", "process", "epoch")
_IMPORTANCE = ("member", "state", "epoch", "refreshed", "serves", "process", "lease")
NUMBERS = ("epoch", "lease")
_STYLES = {"serving": "green", "behind": "yellow", "silent": "bold yellow", "expired": "dim"}
WATCH_SECONDS = 0.5


@app.command(rich_help_panel=INSPECT)
def fleet(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh the list until Ctrl-C.")] = False,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """List the member processes, their state and their epoch.

    A member is a process that has joined. A rollback waits for members only.
    """
    if watch and as_json:
        raise InvalidValue("--watch and --json exclude each other; run `kedge fleet --json` repeatedly instead")
    with database.for_reading(db) as k:
        if as_json:
            emit({"epoch": k.epoch, "at": time.time(), "members": k.members()})
        elif watch:
            _watch(k)
        else:
            _tell(k)


def _tell(k: Kedge) -> None:
    members, epoch = k.members(), k.epoch
    if not members:
        say('No members. A process joins with k.join("support-1")')
        return
    table(COLUMNS, (_row(member) for member in members), right=NUMBERS, importance=_IMPORTANCE)
    say(f"{summary(members)} (epoch {epoch})")


def _watch(k: Kedge) -> None:
    with suppress(KeyboardInterrupt), Live(console=console(), auto_refresh=False) as live:
        while True:
            members, epoch = k.members(), k.epoch
            last = Text(printable(f"{summary(members)} (epoch {epoch})"))
            live.update(
                Group(grid_of(COLUMNS, (_row(member) for member in members), right=NUMBERS), last), refresh=True
            )
            time.sleep(WATCH_SECONDS)


def _row(member: MemberStatus) -> list[str | Text]:
    return [
        one_line(member.name),
        Text(member.state, _STYLES[member.state]),
        ago(member.refreshed_at, time.time()),
        f"{member.lease_seconds:g} s",
        one_line(", ".join(member.serves)),
        one_line(f"{member.host}:{member.pid}"),
        str(member.epoch),
    ]
