"""Commands snapshot, level, collection and refresh."""

from typing import Annotated

import typer

from kedge.cli import database
from kedge.cli.app import MAINTAIN, app
from kedge.cli.feature_check import warn_of_unknown_features
from kedge.cli.options import By, Db, Json, Reason, SessionName, Yes
from kedge.cli.terminal import (
    SETTLED_ONLY,
    ask,
    count,
    decline,
    emit,
    listing,
    may_ask,
    one_line,
    say,
    table,
    when,
)
from kedge.errors import InvalidValue, UnknownName, nearest
from kedge.turns.scope import scope_of


@app.command(rich_help_panel=MAINTAIN)
def snapshot(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Snapshot to take. Default: list all.")] = None,
    *,
    release: Annotated[str | None, typer.Option("--release", metavar="NAME", help="Release this snapshot.")] = None,
    yes: Yes = False,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Take, list or release snapshots.

    A snapshot names the current point so that it stays readable. Taking one copies nothing and blocks no writer.
    """
    if name is not None and release is not None:
        raise InvalidValue(f"cannot take {name!r} and release {release!r} in one command; run two commands")
    if release is not None:
        return _release(release, yes=yes, by=by, db=db, as_json=as_json)
    if name is None:
        with database.for_reading(db) as k:
            found, now = k.snapshots(), k.status().at
        if as_json:
            emit({"snapshots": found})
            return 0
        if not found:
            say("No snapshots. To take one: kedge snapshot NAME")
            return 0
        rows = ((s.name, when(s.at, now), s.by, str(s.epoch), str(s.seq)) for s in found)
        table(("snapshot", "taken", "by", "epoch", "seq"), rows, right=("seq", "epoch"))
        return 0
    with database.for_changing(db) as k:
        taken = k.snapshot(name, by=by)
    if as_json:
        emit({"snapshot": taken})
    else:
        say(f"Snapshot {taken.name} taken at epoch {taken.epoch}, seq {taken.seq:,}", "bold")
    return 0


def _release(name: str, *, yes: bool, by: str | None, db: str | None, as_json: bool) -> int:
    with database.for_changing(db) as k:
        known = [s.name for s in k.snapshots()]
        if name not in known:
            raise UnknownName(f"no snapshot named {name!r}{nearest(name, known)}; list them with `kedge snapshot`")
        if may_ask(yes=yes, as_json=as_json, what=f"release snapshot {name}"):
            say(f"Without {name}, its point is readable only within the retention, and purges are no longer blocked.")
            if not ask(f"Release {name}?"):
                decline()
        k.release_snapshot(name, by=by)
    if as_json:
        emit({"released": name})
    else:
        say(f"{name} is released", "bold")
    return 0


@app.command(rich_help_panel=MAINTAIN)
def level(
    feature: Annotated[
        str | None, typer.Argument(metavar="[FEATURE]", help="Feature; by default the agent's name.")
    ] = None,
    to: Annotated[
        str | None, typer.Argument(metavar="[LEVEL]", help="full, supervised, frozen, cautious, fallback or off.")
    ] = None,
    *,
    reason: Reason = "",
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """List degraded features, or set the level of one.

    The short form of `kedge ladder`: it changes what persons set. Below supervised, Kedge rejects derived writes of the
    feature's agent.
    """
    if feature is None or to is None:
        with database.for_reading(db) as k:
            levels = k.levels()
        if feature is not None:
            levels = {feature: levels[feature]} if feature in levels else {}
    else:
        with database.for_changing(db) as k:
            k.set_level(feature, to, reason=reason, by=by)  # type: ignore[arg-type]  # Kedge checks it
            warn_of_unknown_features(k, [feature])
            levels = k.levels()
    if as_json:
        emit({"levels": dict(sorted(levels.items()))})
        return
    for name, stands in sorted(levels.items()):
        say(f"{one_line(name)}: {stands}", "bold yellow")
    say("Every feature is full." if not levels else "All other features are full.")


@app.command(rich_help_panel=MAINTAIN)
def collection(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Collection to declare. Default: list all.")
    ] = None,
    *,
    dim: Annotated[int | None, typer.Option("--dim", help="Dimensions of its vectors.")] = None,
    metric: Annotated[str, typer.Option("--metric", help="cosine, dot or l2.")] = "cosine",
    embedder: Annotated[str, typer.Option("--embedder", metavar="KEY", help="Embedder artifact.")] = "shared/embedder",
    field: Annotated[
        list[str] | None,
        typer.Option("--field", metavar="FIELD", help="Payload field to filter by. Repeatable."),
    ] = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Declare or list vector collections.

    Declaring a collection again keeps its settings and adds new fields.
    """
    if name is None:
        with database.for_reading(db) as k:
            found = k.collections()
        if as_json:
            emit({"collections": found})
        elif not found:
            say("No collections. To declare one: kedge collection NAME --dim 384")
        else:
            rows = (
                (one_line(c.name), str(c.dim), c.metric, one_line(c.embedder), listing(map(one_line, c.fields)))
                for c in found
            )
            table(("collection", "dim", "metric", "embedder", "fields"), rows, right=("dim",))
        return
    if dim is None:
        raise InvalidValue(f"no dimension for the collection {name!r}; give it: kedge collection {name} --dim 384")
    with database.for_creating(db) as k:
        declared = k.collection(
            name,
            dim=dim,
            metric=metric,  # type: ignore[arg-type]  # Kedge checks it
            embedder=embedder,
            fields=field or (),
        )
    if as_json:
        emit({"collection": declared})
    else:
        say(
            f"{declared.name}: {count(declared.dim, 'dimension')}, {declared.metric}, embedder {declared.embedder}",
            "bold",
        )
        if declared.fields:
            say(f"  Indexed fields: {listing(map(one_line, declared.fields), 20)}")


@app.command(rich_help_panel=MAINTAIN)
def refresh(session: SessionName, *, by: By = None, db: Db = None, as_json: Json = False) -> None:
    """Assign a running session anew.

    From its next turn on, it sees what a new session sees.
    """
    with database.for_changing(db) as k:
        known = scope_of(k.view(session=session)).backend.control.session(session)
        if known is None:
            raise UnknownName(f"no session named {session!r}: only a session that has had a turn can be refreshed")
        sees = k.refresh(session, by=by)
    if as_json:
        emit({"session": session, "sees": sees})
    else:
        say(
            f"{one_line(session)} now sees: {listing(sees, 20) or SETTLED_ONLY}",
            "bold",
        )
