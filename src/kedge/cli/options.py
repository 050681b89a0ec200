"""Arguments and options that commands share, each said once."""

from typing import Annotated

import typer

Db = Annotated[
    str | None,
    typer.Option(
        "--db",
        envvar="KEDGE_DB",
        metavar="URL",
        help="The database: a folder, sqlite:///PATH or postgresql://… Default: .kedge/ here.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document, errors included.")]
By = Annotated[str | None, typer.Option("--by", metavar="WHO", help="Who does this. Default: your user name.")]
Reason = Annotated[str, typer.Option("--reason", "-m", metavar="WHY", help="Why; kept in the log.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Name = Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="The deployment's name.")]
SessionName = Annotated[str, typer.Argument(metavar="SESSION", help="The session's name.")]
OfSession = Annotated[str | None, typer.Option("--session", metavar="SESSION", help="As this session sees it.")]
InDeployment = Annotated[
    str | None, typer.Option("--deployment", metavar="NAME", help="As a turn inside this deployment sees it.")
]
