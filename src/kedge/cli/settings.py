"""snapshot, level, retention, collection, optimize, refresh: what is kept, and how."""

from typing import Annotated

import typer

from kedge.cli import database
from kedge.cli.app import KEEP, app
from kedge.cli.features import warn_of_strangers
from kedge.cli.options import By, Db, Json, Reason, SessionName, Yes
from kedge.cli.points import seconds_of
from kedge.cli.terminal import (
    ask,
    count,
    decline,
    duration,
    emit,
    listing,
    may_ask,
    one_line,
    progress_bar,
    say,
    table,
    when,
)
from kedge.errors import InvalidValue, UnknownName, nearest
from kedge.turns.scope import scope_of

FOR_EVER = ("forever", "for-ever")


@app.command(rich_help_panel=KEEP)
def snapshot(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Take one of this name; without, list them.")
    ] = None,
    *,
    release: Annotated[str | None, typer.Option("--release", metavar="NAME", help="Let go of this one.")] = None,
    yes: Yes = False,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Take, list or release snapshots.

    A snapshot names a point, to read at later. It costs nothing and blocks nobody.
    """
    if name is not None and release is not None:
        raise InvalidValue(f"take {name!r} or release {release!r}, one at a time")
    if release is not None:
        return _release(release, yes=yes, by=by, db=db, as_json=as_json)
    if name is None:
        with database.for_reading(db) as k:
            found, now = k.snapshots(), k.status().at
        if as_json:
            emit({"snapshots": found})
            return 0
        if not found:
            say("There is no snapshot. Take one with: kedge snapshot NAME")
            return 0
        rows = ((s.name, str(s.seq), str(s.epoch), when(s.at, now), s.by) for s in found)
        table(("snapshot", "seq", "epoch", "taken", "by"), rows, right=("seq", "epoch"))
        return 0
    with database.for_changing(db) as k:
        taken = k.snapshot(name, by=by)
    if as_json:
        emit({"snapshot": taken})
    else:
        say(f"{taken.name} is seq {taken.seq:,}, epoch {taken.epoch}", "bold")
    return 0


def _release(name: str, *, yes: bool, by: str | None, db: str | None, as_json: bool) -> int:
    with database.for_changing(db) as k:
        known = [s.name for s in k.snapshots()]
        if name not in known:
            raise UnknownName(f"no snapshot is named {name!r}{nearest(name, known)}; `kedge snapshot` lists them")
        if may_ask(yes=yes, as_json=as_json, what=f"let go of the snapshot {name!r}"):
            say(f"Without the snapshot {name}, its point can be read only back to the horizon, and purges may go on.")
            if not ask("Let go of it?"):
                decline()
        k.release_snapshot(name, by=by)
    if as_json:
        emit({"released": name})
    else:
        say(f"{name} is let go of", "bold")
    return 0


@app.command(rich_help_panel=KEEP)
def level(
    feature: Annotated[str | None, typer.Argument(metavar="[FEATURE]", help="By default named like its agent.")] = None,
    to: Annotated[str | None, typer.Argument(metavar="[LEVEL]", help="full, frozen or off.")] = None,
    *,
    reason: Reason = "",
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """List the features below full, or put one on a level.

    Below full, what the feature's agent derives is refused.
    """
    if feature is None or to is None:
        with database.for_reading(db) as k:
            levels = k.levels()
        if feature is not None:
            levels = {feature: levels[feature]} if feature in levels else {}
    else:
        with database.for_changing(db) as k:
            k.set_level(feature, to, reason=reason, by=by)
            warn_of_strangers(k, [feature])
            levels = k.levels()
    if as_json:
        emit({"levels": dict(sorted(levels.items()))})
        return
    for name, stands in sorted(levels.items()):
        say(f"{one_line(name)}: {stands}", "bold yellow")
    say(f"{'Everything' if not levels else 'Everything else'} is at full.")


@app.command(rich_help_panel=KEEP)
def retention(
    horizon: Annotated[str | None, typer.Argument(metavar="[DURATION]", help="90min, 30d, 4w, or forever.")] = None,
    *,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Show or set how far back any seq can be read.

    Named snapshots reach further.
    """
    if horizon is None:
        with database.for_reading(db) as k:
            seconds = k.status().retention_seconds
    else:
        seconds = None if horizon in FOR_EVER else seconds_of(horizon)
        if seconds is None and horizon not in FOR_EVER:
            raise InvalidValue(f"{horizon!r} is no duration; write 90min, 12h, 30d, 4w, or forever")
        with database.for_changing(db) as k:
            k.set_retention(seconds, by=by)
    if as_json:
        emit({"retention_seconds": seconds})
    elif seconds is None:
        say("The past is kept for ever: any seq can be read.", "bold")
    else:
        say(f"Any seq of the last {duration(seconds)} can be read; before that, only named snapshots.", "bold")


@app.command(rich_help_panel=KEEP)
def collection(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Declare one of this name; without, list them.")
    ] = None,
    *,
    dim: Annotated[int | None, typer.Option("--dim", help="How many dimensions its vectors have.")] = None,
    metric: Annotated[str, typer.Option("--metric", help="cosine, dot or l2.")] = "cosine",
    embedder: Annotated[
        str, typer.Option("--embedder", metavar="KEY", help="The artifact that embeds.")
    ] = "shared/embedder",
    field: Annotated[
        list[str] | None,
        typer.Option("--field", metavar="FIELD", help="A payload field that searches filter by. May be repeated."),
    ] = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Declare or list collections of vectors.

    Declared again, a collection stays as it is, and fields that are new are added.
    """
    if name is None:
        with database.for_reading(db) as k:
            found = k.collections()
        if as_json:
            emit({"collections": found})
        elif not found:
            say("There is no collection. Declare one with: kedge collection NAME --dim 384")
        else:
            rows = (
                (one_line(c.name), str(c.dim), c.metric, one_line(c.embedder), listing(map(one_line, c.fields)))
                for c in found
            )
            table(("collection", "dim", "metric", "embedder", "fields"), rows, right=("dim",))
        return
    if dim is None:
        raise InvalidValue(f"a new collection needs its number of dimensions: kedge collection {name} --dim 384")
    with database.for_beginning(db) as k:
        declared = k.collection(name, dim=dim, metric=metric, embedder=embedder, fields=field or ())
    if as_json:
        emit({"collection": declared})
    else:
        say(
            f"{declared.name}: {count(declared.dim, 'dimension')}, {declared.metric}, embedded by {declared.embedder}",
            "bold",
        )
        if declared.fields:
            say(f"  Filters by {listing(map(one_line, declared.fields), 20)} cost little.")


@app.command(rich_help_panel=KEEP)
def refresh(session: SessionName, *, by: By = None, db: Db = None, as_json: Json = False) -> None:
    """Fix anew what a session sees.

    From its next turn on, it sees what a session that appears now would see.
    """
    with database.for_changing(db) as k:
        known = scope_of(k.view(session=session)).backend.control.session(session)
        if known is None:
            raise UnknownName(
                f"no session is named {session!r}: it has not had a turn yet, so there is nothing to fix anew"
            )
        sees = k.refresh(session, by=by)
    if as_json:
        emit({"session": session, "sees": sees})
    else:
        say(
            f"{one_line(session)} now sees: {listing(sees, 20) or 'no revocable deployment, only what is settled'}",
            "bold",
        )


@app.command(rich_help_panel=KEEP)
def optimize(
    name: Annotated[str | None, typer.Argument(metavar="[COLLECTION]", help="Only this one.")] = None,
    *,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Compact and index vectors, now rather than in the background.

    Compaction gives back the space of what was purged, or superseded before the horizon and every snapshot.
    """
    with database.for_changing(db) as k, progress_bar("optimizing", silent=as_json) as progress:
        done = k.optimize(name, progress=progress)
    if as_json:
        reclaimed = {found: {"rows": one.reclaimed_rows, "bytes": one.reclaimed_bytes} for found, one in done.items()}
        emit({"indexed": {found: one.indexed for found, one in done.items()}, "reclaimed": reclaimed})
    elif not done:
        say("There is no collection to optimize.")
    else:
        numbers = ["rows indexed", "rows reclaimed", "bytes reclaimed"]
        rows = [
            [one_line(found), f"{one.indexed:,}", f"{one.reclaimed_rows:,}", f"{one.reclaimed_bytes:,}"]
            for found, one in done.items()
        ]
        table(["collection", *numbers], rows, right=numbers)
