"""Command ladder: level entries, requests for approval, and the rights of levels."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from kedge.cli import database
from kedge.cli.app import MAINTAIN, app
from kedge.cli.feature_check import warn_of_unknown_features
from kedge.cli.level_text import entry_document, entry_text, request_document, request_text
from kedge.cli.options import By, Db, Json, Reason
from kedge.cli.terminal import emit, listing, one_line, say, table
from kedge.errors import ApprovalNeeded, InvalidValue, nearest
from kedge.face import Kedge
from kedge.model.durations import span_of
from kedge.model.levels import LEVELS
from kedge.model.rights import REVERSIBILITIES, Presets

ACTIONS = ("list", "tighten", "loosen", "approve", "deny", "presets", "two-persons")
WAITS = 3  # the exit code where another person must approve first


@app.command(rich_help_panel=MAINTAIN)
def ladder(
    action: Annotated[str, typer.Argument(metavar="[ACTION]", help=f"{', '.join(ACTIONS)}.")] = "list",
    what: Annotated[
        str | None, typer.Argument(metavar="[WHAT]", help="LEVEL, entry ID, request ID, FILE, or on and off.")
    ] = None,
    scope: Annotated[
        str | None, typer.Argument(metavar="[SCOPE]", help="For tighten: everything, or KIND:NAME.")
    ] = None,
    *,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="DURATION", help="Lift it after so long: 30min, 12h, 2d.")
    ] = None,
    break_glass: Annotated[
        bool, typer.Option("--break-glass", help="Loosen without the second person; needs --reason.")
    ] = False,
    reason: Reason = "",
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """List level entries, tighten, loosen, or approve.

    tighten LEVEL [SCOPE]: a scope is everything (the default), feature:NAME, deployment:NAME, tool:NAME, session:NAME
    or cohort:LOW-HIGH. loosen ID lifts an entry. approve ID and deny ID decide a request. presets [FILE] shows or sets
    what each level permits. two-persons on|off.

    For example: kedge ladder tighten off feature:support -m "wrong refunds"; kedge ladder loosen L7 -m "fixed".
    """
    if action not in ACTIONS:
        raise InvalidValue(f"invalid action {action!r}{nearest(action, ACTIONS)}: must be one of {', '.join(ACTIONS)}")
    _check(action, what, scope, expires, break_glass=break_glass)
    if action == "list" or (action == "presets" and what is None):
        with database.for_reading(db) as k:
            return _list(k, as_json=as_json) if action == "list" else _show_presets(k.ladder.presets(), as_json=as_json)
    with database.for_changing(db) as k:
        try:
            return _change(k, action, str(what), scope, _Told(expires, break_glass, reason, by, as_json))
        except ApprovalNeeded as error:
            if as_json:
                emit({"request": request_document(error.request)})
            else:
                say(f"Not done yet: {error.request.what}.", "bold yellow")
                say(f"Another person approves it within 15 min: kedge ladder approve {error.request.id}")
            return WAITS


class _Told:
    """The options of a change."""

    def __init__(self, expires: str | None, break_glass: bool, reason: str, by: str | None, as_json: bool) -> None:  # noqa: FBT001 - as the command has them
        self.expires = None if expires is None else span_of(expires, "--expires")
        self.break_glass, self.reason, self.by, self.as_json = break_glass, reason, by, as_json


def _check(action: str, what: str | None, scope: str | None, expires: str | None, *, break_glass: bool) -> None:
    needed = {"tighten": "a LEVEL", "loosen": "the ID of an entry", "approve": "the ID of a request"}
    needed |= {"deny": "the ID of a request", "two-persons": "on or off"}
    if what is None and action in needed:
        raise InvalidValue(f"`kedge ladder {action}` needs {needed[action]}; `kedge ladder` lists what there is")
    if what is not None and action == "list":
        raise InvalidValue(f"`kedge ladder list` takes no argument such as {what!r}; omit it")
    if action != "tighten" and (scope is not None or expires is not None):
        raise InvalidValue("a SCOPE and --expires are for `kedge ladder tighten`; omit them")
    if action != "loosen" and break_glass:
        raise InvalidValue("--break-glass is for `kedge ladder loosen`; omit it")


def _change(k: Kedge, action: str, what: str, scope: str | None, told: _Told) -> int:
    who: dict[str, Any] = {"reason": told.reason, "by": told.by}
    acts: dict[str, Callable[[], int]] = {
        "tighten": lambda: _tighten(k, what, scope, told),
        "loosen": lambda: _loosen(k, what, told),
        "approve": lambda: _decide(k, what, told, approve=True),
        "deny": lambda: _decide(k, what, told, approve=False),
        "presets": lambda: _show_presets(k.ladder.set_presets(Path(what), **who), as_json=told.as_json),
        "two-persons": lambda: _two_persons(k, what, told),
    }
    return acts[action]()


def _tighten(k: Kedge, level: str, scope: str | None, told: _Told) -> int:
    entry = k.ladder.tighten(
        level, scope or "everything", reason=told.reason, by=told.by, expires=told.expires  # type: ignore[arg-type] # Kedge checks it
    )  # fmt: skip
    if entry.scope.kind == "feature":
        warn_of_unknown_features(k, [entry.scope.name])
    if told.as_json:
        emit({"entry": entry_document(entry)})
    else:
        say(f"{entry.id}: {entry_text(entry, k.status().at)}", "bold yellow")
        say(f"To lift it: kedge ladder loosen {entry.id}")
    return 0


def _loosen(k: Kedge, ident: str, told: _Told) -> int:
    entry = k.ladder.loosen(ident, reason=told.reason, by=told.by, break_glass=told.break_glass)
    if told.as_json:
        emit({"lifted": entry_document(entry)})
    else:
        say(f"Lifted {entry.id}: {entry.level} of {one_line(str(entry.scope))}", "bold")
        left = [other.id for other in k.ladder.list(entry.scope)]
        if left:
            say(f"Other entries of {one_line(str(entry.scope))} stand: {listing(left)}")
    return 0


def _decide(k: Kedge, ident: str, told: _Told, *, approve: bool) -> int:
    decided = (k.ladder.approve if approve else k.ladder.deny)(ident, by=told.by)
    if told.as_json:
        emit({"request": request_document(decided)})
    else:
        done = {"approved": "Approved, once", "used": "Approved and done", "denied": "Denied"}[decided.status]
        say(f"{done}: {decided.what}", "bold")
    return 0


def _two_persons(k: Kedge, what: str, told: _Told) -> int:
    if what not in ("on", "off"):
        raise InvalidValue(f"invalid value {what!r}: must be on or off")
    k.ladder.require_two_persons(what == "on", reason=told.reason, by=told.by)
    if told.as_json:
        emit({"two_persons": what == "on"})
    else:
        say(_TWO if what == "on" else "One person loosens every level.", "bold")
    return 0


_TWO = "Two persons loosen off and fallback, and what the guard set."


def _list(k: Kedge, *, as_json: bool) -> int:
    entries, requests, two, now = k.ladder.list(), k.ladder.requests(), k.ladder.two_persons, k.status().at
    if as_json:
        emit(
            {
                "entries": [entry_document(entry) for entry in entries],
                "requests": [request_document(request) for request in requests],
                "two_persons": two,
            }
        )
        return 0
    for entry in entries:
        say(f"{one_line(entry.id)}: {entry_text(entry, now)}", "bold yellow")
    if not entries:
        say("Everything is full.")
    for request in requests:
        say(f"Request {request.id}: {request_text(request, now)}", "yellow")
    if entries:
        say("To lift an entry: kedge ladder loosen ID", "dim")
    if any(request.status == "pending" for request in requests):
        say("To decide a request: kedge ladder approve ID, or deny ID", "dim")
    if two:
        say(_TWO)
    return 0


def _show_presets(presets: Presets, *, as_json: bool) -> int:
    if as_json:
        emit({"presets": {str(level): presets.of(level) for level in LEVELS}})
        return 0
    rows = []
    for level in LEVELS:
        rights = presets.of(level)
        acts = [str(getattr(rights, each)) for each in REVERSIBILITIES]
        rows.append((str(level), str(rights.learn), *acts, str(rights.generate), str(rights.speak)))
    table(("level", "learn", *REVERSIBILITIES, "generate", "speak"), rows)
    return 0
