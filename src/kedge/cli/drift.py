"""Command drift: how far the state of a deployment is from the live one."""

from kedge.cli import database
from kedge.cli.app import INSPECT, app
from kedge.cli.options import Db, Json, Name
from kedge.cli.terminal import emit, say, spinner, table


@app.command(rich_help_panel=INSPECT)
def drift(name: Name, *, db: Db = None, as_json: Json = False) -> None:
    """Show how far the state of a deployment is from the live one: facts, sessions, and the hits of mirrored searches.

    Each value is from 0 to 1, from bounded samples. A value that has nothing to rest on is left out.
    """
    with database.for_reading(db) as k, spinner("comparing", silent=as_json):
        found = k.guard.drift(name)
    if as_json:
        emit({"deployment": name, "values": found})
    elif not found:
        say(f"Nothing to compare: {name!r} has no session yet, and there are no facts and no vectors.")
    else:
        table(("value", "share"), ((each, f"{share:.3f}") for each, share in sorted(found.items())), right=("share",))
