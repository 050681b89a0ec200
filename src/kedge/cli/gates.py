"""Command gates: what must hold before the first session of a deployment."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from kedge.cli import database
from kedge.cli.app import INSPECT, app
from kedge.cli.options import Db, Json, Name
from kedge.cli.terminal import emit, say, spinner
from kedge.support.toml_files import read_toml

FAILED = 1


@app.command(rich_help_panel=INSPECT)
def gates(
    name: Name,
    *,
    settings: Annotated[
        Path | None,
        typer.Option("--settings", metavar="FILE", help="TOML file with tables \\[gates.NAME], such as release.toml."),
    ] = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Check what must hold before the first session of a deployment.

    Exits with 1 unless every gate passed. A gate that could not look does not pass.
    """
    table = {} if settings is None else read_toml(settings, "the settings").get("gates", {})
    with database.for_reading(db, database.config()) as k, spinner("checking", silent=as_json):
        found = k.guard.gates(name, table)
    if as_json:
        emit({"ok": found.ok, **msgspec.to_builtins(found)})
        return 0 if found.ok else FAILED
    for result in found.results:
        mark, style = ("passed", "green") if result.passed else ("FAILED", "bold red")
        say(f"{mark}  {result.name}: {result.detail}", style)
    say(str(found), "bold green" if found.ok else "bold red")
    return 0 if found.ok else FAILED
