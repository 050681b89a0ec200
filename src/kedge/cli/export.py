"""Command export: write the vectors of a collection to a file."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from kedge.cli import database
from kedge.cli.app import INSPECT, app
from kedge.cli.options import Db, InDeployment, Json, OfSession
from kedge.cli.parsing import POINT_HELP, view_at
from kedge.cli.terminal import count, emit, one_line, progress_bar, say, say_whole
from kedge.errors import InvalidValue
from kedge.face import LOAD_ROWS


@app.command(rich_help_panel=INSPECT)
def export(
    collection: Annotated[str, typer.Argument(metavar="COLLECTION", help="Collection name.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help=".npy, .parquet, .arrow or .feather.")],
    *,
    where: Annotated[
        str | None, typer.Option("--where", metavar="JSON", help="Only rows whose payload matches this filter.")
    ] = None,
    at: Annotated[str | None, typer.Option("--at", metavar="POINT", help=POINT_HELP)] = None,
    session: OfSession = None,
    deployment: InDeployment = None,
    batch: Annotated[int, typer.Option("--batch", metavar="ROWS", min=1, help="Rows per batch.")] = LOAD_ROWS,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite existing files.")] = False,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Write the vectors of a collection, with ids and payloads, to a file that load reads.

    Default view: what a new session sees.
    """
    chosen = None if where is None else _filter(where)
    with (
        database.for_reading(db) as k,
        progress_bar(f"exporting {one_line(collection, 30)}", silent=as_json, unit="rows") as progress,
    ):
        view = view_at(k, at, session, deployment)
        report = k.export(
            collection, file, view=view, where=chosen, batch=batch, overwrite=overwrite, progress=progress
        )
    if as_json:
        emit({"export": report})
        return
    say(f"{one_line(collection)}: {count(report.rows, 'row')} in {report.seconds:.1f} s", "bold")
    for name in report.files:
        say_whole(f"  {name}")
    if report.unembedded:
        say(f"  {count(report.unembedded, 'key')} skipped: no vector in this embedding space", "yellow")


def _filter(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise InvalidValue(
            f'--where {text!r:.80} is not valid JSON ({error}); write it as \'{{"lang": "en"}}\''
        ) from None
