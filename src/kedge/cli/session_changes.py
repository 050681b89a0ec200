"""Commands that change one session: end-session, fork-session, rewind, undo-rewind."""

from typing import Annotated

import msgspec
import typer

from kedge.cli import database
from kedge.cli.app import MAINTAIN, UNDO, app
from kedge.cli.options import By, Db, Json, SessionName, Yes
from kedge.cli.terminal import ask, decline, emit, may_ask, say
from kedge.deployments.session_changes import Rewind


@app.command(rich_help_panel=MAINTAIN)
def end_session(session: SessionName, *, yes: Yes = False, by: By = None, db: Db = None, as_json: Json = False) -> int:
    """End a session: its next turn begins it anew, as a new session. Its memory stays."""
    with database.for_changing(db) as k:
        if may_ask(yes=yes, as_json=as_json, what=f"end {session}"):
            say(f"The next turn of {session} begins it anew: with another assignment, and other settings.")
            if not ask(f"End {session}?"):
                decline()
        ended = k.end_session(session, by=by)
    if as_json:
        emit({"session": ended})
    else:
        say(f"{session} has ended; its next turn begins it anew", "bold")
    return 0


@app.command(rich_help_panel=MAINTAIN)
def fork_session(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Session to copy.")],
    session: Annotated[str, typer.Argument(metavar="SESSION", help="Name of the fork, a new session.")],
    *,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Begin a session as a copy of another: with its view, its memory and its keyed stores."""
    with database.for_changing(db) as k:
        forked = k.fork_session(source, session, by=by)
    if as_json:
        emit(msgspec.to_builtins(forked))
    else:
        say(f"{forked}", "bold")
    return 0


@app.command(rich_help_panel=UNDO)
def rewind(
    session: SessionName,
    to: Annotated[int, typer.Argument(metavar="SEQ", help="Last seq to keep: kedge show memory lists them.")],
    *,
    yes: Yes = False,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Take a session back to a seq: delete what was written to it since, restore what was deleted since.

    kedge undo-rewind undoes it.
    """
    with database.for_changing(db) as k:
        if may_ask(yes=yes, as_json=as_json, what=f"rewind {session}"):
            later = sum(message.seq > to for message in k.view(session=session).memory.history())
            say(f"Of the messages of {session}, {later:,} are later than seq {to}.")
            if not ask(f"Rewind {session}?"):
                decline()
        done = k.rewind(session, to, by=by)
    _print(done, as_json=as_json)
    return 0


@app.command(rich_help_panel=UNDO)
def undo_rewind(
    ident: Annotated[str, typer.Argument(metavar="ID", help="Id that kedge rewind printed.")],
    *,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Undo a rewind. What was written since stays."""
    with database.for_changing(db) as k:
        done = k.undo_rewind(ident, by=by)
    _print(done, as_json=as_json)
    return 0


def _print(done: Rewind, *, as_json: bool) -> None:
    if as_json:
        emit(msgspec.to_builtins(done))
        return
    say(f"{done}", "bold")
    say(f"  To undo it: kedge undo-rewind {done.id}", "dim")
