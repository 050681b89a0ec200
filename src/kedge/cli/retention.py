"""Commands retention and optimize."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from kedge.cli import database
from kedge.cli.app import MAINTAIN, app
from kedge.cli.options import By, Db, Json, Yes
from kedge.cli.status_text import policy_text
from kedge.cli.terminal import (
    ask,
    count,
    decline,
    emit,
    may_ask,
    one_line,
    progress_bar,
    say,
    table,
)
from kedge.errors import InvalidValue
from kedge.face import Kedge
from kedge.model.durations import duration, seconds_of
from kedge.model.retention import BOOKKEEPING, RetentionPolicy
from kedge.recovery.retention import ReclaimReport

FOREVER = ("forever", "for-ever")
OFF = "off"


@app.command(rich_help_panel=MAINTAIN)
def retention(
    age: Annotated[str | None, typer.Argument(metavar="[DURATION]", help="90min, 30d, 4w, or forever.")] = None,
    *,
    store: Annotated[str | None, typer.Option("--store", metavar="STORE", help="Set the policy of a store.")] = None,
    space: Annotated[str | None, typer.Option("--space", metavar="SPACE", help="Only of this space of it.")] = None,
    hold: Annotated[bool, typer.Option("--hold", help="Keep everything there, and refuse purges.")] = False,
    lift: Annotated[bool, typer.Option("--lift", help="Remove that policy; with --hold, that hold.")] = False,
    purge_after: Annotated[
        str | None,
        typer.Option("--purge-after", metavar="DURATION", help="Purge what was rolled back so long ago; or off."),
    ] = None,
    yes: Yes = False,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Show or set for how long past states stay readable, and what is kept.

    Named snapshots stay readable for longer. With --store, set for how long the content of superseded writes of a
    store is kept.
    """
    if lift and age is not None:
        raise InvalidValue(f"cannot set {age!r} and lift a policy in one command; run two commands")
    if age is None and purge_after is None and not (hold or lift):
        with database.for_reading(db) as k:
            return _show(k, store, space, as_json=as_json)
    seconds, after = _seconds(age, FOREVER), purge_after if purge_after == OFF else _seconds(purge_after, ())
    if lift and store is None:
        raise InvalidValue("--lift needs --store: say whose policy to remove; `kedge retention` lists them")
    policy = None if store is None else RetentionPolicy(store, space, seconds, hold)
    with database.for_changing(db) as k:
        if may_ask(yes=yes, as_json=as_json, what=_told(age, purge_after, policy, lift=lift)):
            _explain(k, seconds, after, policy, lift=lift)
            if not ask("Change the retention?"):
                decline()
        if lift and store is not None:
            k.drop_retention(store=store, space=space, hold=hold, by=by)
        else:
            k.set_retention(seconds, store=store, space=space, hold=hold, purge_after=after, by=by)
        return _show(k, store, space, as_json=as_json)


def _seconds(text: str | None, names: Sequence[str]) -> float | None:
    found = None if text is None or text in names else seconds_of(text)
    if found is None and text is not None and text not in names:
        raise InvalidValue(f"invalid duration {text!r}; write 90min, 12h, 30d, 4w or {'forever' if names else OFF}")
    return found


def _told(age: str | None, purge_after: str | None, policy: RetentionPolicy | None, *, lift: bool) -> str:
    """Return what is about to be done, for the message that says that nobody can be asked."""
    if purge_after is not None:
        return f"set --purge-after to {purge_after}"
    if policy is None:
        return f"set the retention to {age}"
    what = "hold" if policy.hold else "policy"
    return f"{'lift' if lift else 'set'} the {what} of {policy.scope}"


def _explain(
    k: Kedge, seconds: float | None, after: float | str | None, policy: RetentionPolicy | None, *, lift: bool
) -> None:
    """Say what changes, and what cannot be undone."""
    if after is not None:
        when = "never" if after == OFF else f"{duration(float(after))} after their rollback"
        say(f"Rolled-back deployments will be purged {when}. A purged one cannot be reinstated.")
    elif policy is None:
        before = k.status().retention_seconds
        say(f"The retention changes from {_text(before)} to {_text(seconds)}.")
        say("Older states become unreadable except at named snapshots, and compaction may delete their rows.")
    elif lift and policy.hold:
        say(f"What the hold on {policy.scope} kept may then be reclaimed by other policies, and purged.")
    elif lift:
        say(f"{policy.scope} will follow the next wider policy; without one, it keeps everything.")
    elif policy.store in BOOKKEEPING and not policy.hold:
        kept = _text(seconds)
        say(f"{policy.scope.capitalize()} will be kept: {kept}. What is older and nothing needs is deleted for good.")
    elif policy.hold:
        say(f"All content of {policy.scope} will be kept, and purges of deployments that wrote there refused.")
    else:
        say(f"{policy.scope} will keep superseded content: {_text(seconds)}. What is reclaimed later is gone for good.")


def _text(seconds: float | None) -> str:
    return "forever" if seconds is None else duration(seconds)


def _show(k: Kedge, store: str | None, space: str | None, *, as_json: bool) -> int:
    found = k.status()
    policies = [
        policy
        for policy in k.retention()
        if (store is None or policy.store == store) and (space is None or policy.space in {None, space})
    ]
    if as_json:
        listed = [{"store": p.store, "space": p.space, "seconds": p.seconds, "hold": p.hold} for p in policies]
        shown: dict[str, Any] = {
            "retention_seconds": found.retention_seconds,
            "policies": listed,
            "purge_after_seconds": found.purge_after_seconds,
        }
        emit(shown)
        return 0
    if found.retention_seconds is None:
        say("Retention: forever. Every past seq is readable, except what a policy has reclaimed.", "bold")
    else:
        say(
            f"Retention: {duration(found.retention_seconds)}. Older states are readable only at named snapshots.",
            "bold",
        )
    if not policies:
        say("No policy: the content of every write is kept. To set one: kedge retention 30d --store context")
    for policy in policies:
        say(f"  {policy_text(policy)}")
    if found.purge_after_seconds is not None:
        say(f"Rolled-back deployments are purged after {duration(found.purge_after_seconds)}.")
    return 0


@app.command(rich_help_panel=MAINTAIN)
def optimize(
    name: Annotated[
        str | None, typer.Argument(metavar="[COLLECTION]", help="Collection to optimize. Default: all.")
    ] = None,
    *,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Reclaim superseded content, and compact and index vectors, now and not in the background.

    Content is reclaimed as the policies allow (kedge retention). Compaction reclaims the space of purged rows, and of
    rows overwritten before the retention and every snapshot.
    """
    content = ReclaimReport()
    with database.for_changing(db) as k:
        if name is None:
            with progress_bar("reclaiming", silent=as_json, unit="seqs") as progress:
                content = k.reclaim(progress=progress)
        with progress_bar("optimizing", silent=as_json) as progress:
            done = k.optimize(name, progress=progress)
    if as_json:
        reclaimed = {found: {"rows": one.reclaimed_rows, "bytes": one.reclaimed_bytes} for found, one in done.items()}
        stores = {store: {"writes": part.rows, "bytes": part.bytes} for store, part in content.stores.items()}
        emit(
            {
                "indexed": {found: one.indexed for found, one in done.items()},
                "reclaimed": reclaimed,
                "content": stores,
                "purged": content.purged,
                "not_purged": content.refused,
            }
        )
        return
    _print_content(content)
    if not done:
        say("No collection to optimize.")
        return
    numbers = ["rows indexed", "rows reclaimed", "bytes reclaimed"]
    rows = [
        [one_line(found), f"{one.indexed:,}", f"{one.reclaimed_rows:,}", f"{one.reclaimed_bytes:,}"]
        for found, one in done.items()
    ]
    table(["collection", *numbers], rows, right=numbers)


def _print_content(content: ReclaimReport) -> None:
    for store, part in sorted(content.stores.items()):
        if store in BOOKKEEPING:
            say(f"{store}: {count(part.rows, 'row')} deleted")
            continue
        say(f"{store}: content of {count(part.rows, 'superseded write')} reclaimed, {part.bytes:,} bytes")
    for name in content.purged:
        say(f"{name}: purged, since it was rolled back long ago")
    for name, why in sorted(content.refused.items()):
        say(f"{name}: not purged: {why}", "yellow")
