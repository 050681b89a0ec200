"""Command verdicts: counts of message verdicts and code mismatches."""

import time

from kedge.cli import database
from kedge.cli.app import INSPECT, app
from kedge.cli.options import Db, Json
from kedge.cli.terminal import ago, emit, one_line, say, table

_IMPORTANCE = ("verdict", "agent", "count", "detail", "last")


@app.command(rich_help_panel=INSPECT)
def verdicts(*, db: Db = None, as_json: Json = False) -> None:
    """Count the verdicts on messages between agents.

    A message is accepted, translated, refused, or the sender is asked to send it again. Also counts turns that ran
    other code than their view pins.
    """
    with database.for_reading(db) as k:
        found = k.verdicts()
    if as_json:
        emit({"verdicts": found})
    elif not found:
        say("No verdicts yet. Agents send with turn.send() and receive with turn.receive().")
    else:
        rows = (
            (
                one_line(t.metric),
                one_line(t.agent or ""),
                one_line(t.value),
                f"{t.count:,}",
                ago(t.last_at, time.time()),
            )
            for t in found
        )
        table(("verdict", "agent", "detail", "count", "last"), rows, right=("count",), importance=_IMPORTANCE)
