"""The application that commands join, and what `kedge --help` says beside them."""

from typing import Annotated

import typer

from kedge import __version__

EXIT_CODES = {
    0: "done, and every check passed",
    1: "a check failed (fsck, a drill, a verification, an external system, an embedding, a comparison of databases)",
    2: "wrong usage (an option, a name, a value, a missing --yes)",
    3: "conflict: look at what holds, decide anew",
    4: "busy or full: nothing was done, try again",
    5: "corruption: stop and look, kedge fsck says where",
    6: "rolled back meanwhile, or the answer was lost: find out before you repeat it",
    70: "a defect in Kedge",
    130: "stopped by you (Ctrl-C, or a no)",
}
LOOK, LAUNCH, UNDO, KEEP = "Look (changes nothing)", "Launch", "Undo", "Keep"
_EPILOG = "Exit codes: " + "; ".join(f"[bold]{code}[/bold] {text}" for code, text in EXIT_CODES.items()) + "."

app = typer.Typer(
    name="kedge",
    add_completion=False,
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
    """Undo an AI launch: the state that a bad deployment caused disappears, everywhere, at once.

    At three in the morning: kedge status, then kedge plan NAME, then kedge rollback NAME.
    Every command takes --db (or KEDGE_DB) and --json; migrate-store names its two databases.
    """
    if version:
        typer.echo(f"kedge {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
