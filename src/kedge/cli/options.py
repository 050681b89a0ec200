"""Arguments and options shared by several commands."""

from typing import Annotated

import typer

from kedge.cli.help import complete_deployment

Db = Annotated[
    str | None,
    typer.Option(
        "--db",
        envvar="KEDGE_DB",
        metavar="URL",
        help="Database: a folder, sqlite:///PATH or postgresql://… Default: .kedge/ in the current folder.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, also for errors.")]
By = Annotated[str | None, typer.Option("--by", metavar="WHO", help="Name for the log. Default: your user name.")]
Reason = Annotated[str, typer.Option("--reason", "-m", metavar="WHY", help="Reason for the log.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Name = Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Deployment name.", autocompletion=complete_deployment)]
SessionName = Annotated[str, typer.Argument(metavar="SESSION", help="Session name.")]
OfSession = Annotated[str | None, typer.Option("--session", metavar="SESSION", help="Use the view of this session.")]
InDeployment = Annotated[
    str | None, typer.Option("--deployment", metavar="NAME", help="Use the view of a turn inside this deployment.")
]
Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="UNIT", help="Always in the canary: a unit_id or session; @FILE. Repeatable."),
]
Deny = Annotated[
    list[str] | None, typer.Option("--deny", metavar="UNIT", help="Never in the canary; also @FILE. Repeatable.")
]
