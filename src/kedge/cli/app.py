"""The Typer application, the exit codes and the text of `kedge --help`."""

from typing import Annotated

import typer

from kedge import __version__
from kedge.cli.help import PlainGroup
from kedge.cli.terminal import say

EXIT_CODES = {
    0: "success",
    1: "a check failed (fsck, drill, verification, external system, embedding, observation, database comparison)",
    2: "usage error (option, name, value or missing --yes)",
    3: "conflict with the current state: run kedge status, then decide again",
    4: "database busy or unreachable, or disk full: nothing was changed, try again",
    5: "corruption: stop, then run kedge fsck",
    6: "rolled back meanwhile, or outcome unknown: run kedge status before you retry",
    70: "bug in Kedge",
    74: "the output could not be written",
    130: "cancelled (Ctrl-C, or the answer no)",
}
INSPECT, DEPLOY, UNDO, MAINTAIN = "Inspect (read-only)", "Deploy", "Undo", "Maintain"
DISCOVER = "Discover (reads files, needs no database)"
_EPILOG = "Exit codes: " + "; ".join(f"[bold]{code}[/bold] {text}" for code, text in EXIT_CODES.items()) + "."

app = typer.Typer(
    name="kedge",
    cls=PlainGroup,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Roll back an AI deployment and all state that it caused, in every store, at once.

    In an incident: kedge status, then kedge plan NAME, then kedge rollback NAME.
    Every command takes --json. Every command except migrate-store takes --db (or KEDGE_DB).
    """
    if version:
        say(f"kedge {__version__}")
    elif context.invoked_subcommand is None:
        say(context.get_help())
