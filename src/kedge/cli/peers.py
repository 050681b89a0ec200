"""Command peers: the unsigned peers, their registration, and what happens to those that were rolled back."""

from typing import Annotated

import typer

from kedge.cli import database
from kedge.cli.app import INSPECT, app
from kedge.cli.options import By, Db, Json
from kedge.cli.terminal import emit, one_line, say, table


@app.command(rich_help_panel=INSPECT)
def peers(
    *,
    register: Annotated[str | None, typer.Option(metavar="NAME", help="Register this peer.")] = None,
    rolled_back: Annotated[
        str | None,
        typer.Option(metavar="POLICY", help="rejoin or refuse: new messages of peers that were rolled back."),
    ] = None,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """List the peers whose messages came without a valid signature.

    Each is a pseudo-deployment, external:NAME, which can be rolled back. The first 256 register themselves.
    """
    if register is None and rolled_back is None:
        with database.for_reading(db) as k:
            found = k.peers()
    else:
        with database.for_changing(db) as k:
            if register is not None:
                k.register_peer(register, by=by)
            if rolled_back is not None:
                k.set_rolled_back_peers(rolled_back, by=by)
            found = k.peers()
    if as_json:
        emit({"peers": found})
    elif not found:
        say("No peers yet. A message without a valid signature registers its sender.")
    else:
        table(("peer", "status", "reason"), ((one_line(d.name), str(d.status), one_line(d.reason)) for d in found))
