"""verdicts: what became of messages between agents, counted."""

import time

from kedge.cli import database
from kedge.cli.app import LOOK, app
from kedge.cli.options import Db, Json
from kedge.cli.terminal import ago, emit, one_line, say, table


@app.command(rich_help_panel=LOOK)
def verdicts(*, db: Db = None, as_json: Json = False) -> None:
    """Count what became of messages between agents.

    Accepted, translated, asked to be sent afresh, or refused; and turns that ran other code than their view pins.
    """
    with database.for_reading(db) as k:
        found = k.verdicts()
    if as_json:
        emit({"verdicts": found})
    elif not found:
        say("Nothing has been counted yet: agents send with turn.send() and take with turn.receive()")
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
        table(("verdict", "agent", "of", "count", "last"), rows, right=("count",))
