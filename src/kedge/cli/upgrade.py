"""Command upgrade: finish the upgrade of a database that an older Kedge made."""

import msgspec

from kedge.cli import database
from kedge.cli.app import MAINTAIN, app
from kedge.cli.options import Db, Json
from kedge.cli.terminal import count, emit, progress_bar, say


@app.command(rich_help_panel=MAINTAIN)
def upgrade(*, db: Db = None, as_json: Json = False) -> None:
    """Upgrade a database that an older Kedge made.

    Afterwards, processes that still run the older Kedge cannot write: restart them first. To resume after an
    interruption, run the same command again.
    """
    with database.for_reading(db) as k:
        found = k.status().schema.schema  # opening it for writing expands it
    with database.for_changing(db) as k, progress_bar("upgrading", silent=as_json, unit="rows") as progress:
        report = k.upgrade(progress=progress)
    report = msgspec.structs.replace(report, before=msgspec.structs.replace(report.before, schema=found))
    if as_json:
        emit({"upgrade": report})
    elif report.before.is_current:
        say(f"Nothing to do: schema {found} is current.")
    else:
        filled = f"{count(report.rows, 'row')} filled in. " if report.rows else ""
        say(f"Upgraded from schema {found} to schema {report.after.schema}.", "bold green")
        say(f"{filled}Processes that run an older Kedge can no longer write here; restart them.")
