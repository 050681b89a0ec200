"""Command health: whether the database, its fleet and what follows it are as the control record says."""

import time

import msgspec

from kedge.cli import database
from kedge.cli.app import INSPECT, app
from kedge.cli.options import Db, Json
from kedge.cli.terminal import ago, emit, say
from kedge.errors import Corruption, KedgeError, Misuse
from kedge.guard.health import Finding, Health, Severity, State

EXIT_CODES = {State.HEALTHY: 0, State.ILL: 1, State.UNKNOWN: 2}
_STYLES = {Severity.ILL: "bold red", Severity.UNKNOWN: "bold yellow", Severity.WARNING: "yellow"}


@app.command(rich_help_panel=INSPECT)
def health(*, db: Db = None, as_json: Json = False) -> int:
    """Say whether the database and its fleet are healthy: a probe for orchestrators.

    Exits with 0: healthy, 1: ill, 2: cannot tell. A check that could not look is never healthy. It asks no external
    system, and writes nothing.
    """
    try:
        with database.for_reading(db) as k:
            found = k.guard.health()
    except Misuse:
        raise  # the address, or there is no database: exit code 2
    except KedgeError as error:
        found = _unread(error)
    if as_json:
        emit({"state": str(found.state), "ok": found.ok, **msgspec.to_builtins(found)})
        return EXIT_CODES[found.state]
    for each in found.findings:
        since = "" if each.since is None else f", since {ago(each.since, found.at)}"
        say(f"{each.severity.upper()}  {each.check}: {each.what}{since}; {each.todo}", _STYLES[each.severity])
    say(str(found), "bold green" if found.ok else "bold red")
    return EXIT_CODES[found.state]


def _unread(error: KedgeError) -> Health:
    """Return the health of a database that cannot be read: ill where it is damaged, else unknown."""
    severity = Severity.ILL if isinstance(error, Corruption) else Severity.UNKNOWN
    why = f"cannot read the database: {type(error).__name__}: {error}"
    finding = Finding("database", severity, why, None, "see whether it runs, and run this again")
    return Health(time.time(), None, {"database": str(severity)}, (finding,))
