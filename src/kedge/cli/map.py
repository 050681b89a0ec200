"""Command map: the context boundary map of agents, stores, systems and deployments."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from kedge.cli import database
from kedge.cli.app import DISCOVER, app
from kedge.cli.files import write_file
from kedge.cli.map_text import print_map
from kedge.cli.options import Json
from kedge.cli.terminal import emit, printable, say, spinner
from kedge.discovery.map import context_map
from kedge.discovery.map.mermaid import mermaid
from kedge.discovery.map.page import page
from kedge.errors import InvalidValue


@app.command("map", rich_help_panel=DISCOVER)
def map_(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="PATH…", help="Folders of code to scan.")] = None,
    *,
    scans: Annotated[
        list[Path] | None,
        typer.Option("--scan", metavar="FILE|DIR", help="Document of kedge scan --json, or a folder. Repeatable."),
    ] = None,
    traces: Annotated[
        list[Path] | None, typer.Option("--traces", metavar="FILE|DIR", help="Traces, as kedge traces. Repeatable.")
    ] = None,
    db: Annotated[
        str | None,
        typer.Option("--db", metavar="URL", help="Database of Kedge to read. Default: none, also if KEDGE_DB is set."),
    ] = None,
    deployment: Annotated[
        str | None, typer.Option("--deployment", metavar="NAME", help="Show what this deployment can and did reach.")
    ] = None,
    env: Annotated[
        list[Path] | None,
        typer.Option("--env", metavar="FILE", help="Variables that select stores: .env or Compose file. Repeatable."),
    ] = None,
    as_mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid flowchart.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write one page that needs no network.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Map which agents reach which stores, and where context crosses from one to another.

    Joins the code (static), recorded traces (observed) and the database (journaled), as far as each is given.
    """
    if as_json and as_mermaid:
        raise InvalidValue("--json and --mermaid both print the map: give one of them")
    opened = None if db is None else database.for_reading(db)
    try:
        with spinner("mapping", silent=as_json):
            found = context_map(
                scans=[*(paths or ()), *(scans or ())],
                traces=traces or (),
                k=opened,
                env=env or (),
                deployment=deployment,
            )
    finally:
        if opened is not None:
            opened.close()
    if html is not None:
        write_file(html, page(found))
    if as_json:
        emit(msgspec.to_builtins(found))
    elif as_mermaid:
        sys.stdout.write(mermaid(found))
    elif html is None:
        print_map(found)
    else:
        say(f"Wrote {printable(str(html))}: open it in a browser.")
    return 0
