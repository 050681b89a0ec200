"""Commands of a deployment's life cycle: deploy, canary, promote, settle."""

from typing import Annotated

import msgspec
import typer

from kedge.cli import database, manifest
from kedge.cli.app import DEPLOY, app
from kedge.cli.help import complete_deployment
from kedge.cli.interrupts import report_interrupt
from kedge.cli.options import Allow, By, Db, Deny, Json, Name, Yes
from kedge.cli.parsing import units_of, view_of, weight_of
from kedge.cli.reconcile import exit_code, print_outcomes
from kedge.cli.tables import status_style
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
    spinner,
    verb,
)
from kedge.cli.terminal import weight as weight_words
from kedge.deployments.lifecycle import BOTH_MAX, Deployment
from kedge.errors import DuplicateName, InvalidValue
from kedge.model.control import Status
from kedge.model.durations import duration, span_of
from kedge.model.transitions import check_holdback, check_weight


@app.command(rich_help_panel=DEPLOY)
def deploy(
    target: Annotated[
        str, typer.Argument(metavar="NAME|FILE.toml", help="Name of the new deployment, or its TOML manifest.")
    ],
    *,
    artifact: Annotated[
        list[str] | None,
        typer.Option("--artifact", "-a", metavar="KEY=TEXT", help="Artifact; also KEY=@FILE or KEY:=JSON. Repeatable."),
    ] = None,
    canary: Annotated[
        str | None, typer.Option(metavar="WEIGHT", help="Start as a canary: 0.1 or 10%. Default: staged.")
    ] = None,
    independent: Annotated[
        bool, typer.Option("--independent", help="Not rolled back with the deployment that it overrides.")
    ] = False,
    base: Annotated[
        str | None, typer.Option(metavar="DEPLOYMENT", help="Build on this deployment, and be rolled back with it.")
    ] = None,
    derived_from: Annotated[
        str | None,
        typer.Option(
            metavar="VIEW",
            help="Its model was trained on state of this view: be rolled back with what it saw. now, a snapshot, "
            "session:NAME or deployment:NAME, as for kedge diff.",
        ),
    ] = None,
    attribution: Annotated[
        str | None,
        typer.Option(metavar="reads|view", help="Influence turns that read it (default), or every turn that sees it."),
    ] = None,
    settle_after: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Settle it so long after its promotion: 12h, 30d.")
    ] = None,
    allow: Allow = None,
    deny: Deny = None,
    note: Annotated[str | None, typer.Option(metavar="TEXT", help="Note for the log.")] = None,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    r"""Stage a deployment, or start it as a canary.

    Deploying the same manifest again changes nothing.

    A deployment is a named set of artifacts: prompts, models, code digests, embedders. A manifest is a TOML file with
    name, canary, allow, deny, independent, base, derived_from, note, attribution, settle_after and a table
    \[artifacts]. Its entries are "agent/prompt" = "text", {file="prompt.txt"} or {uri="…", digest="sha256:…",
    kind="model", version="7"}.
    """
    wanted, repeated = manifest.from_flags(target, artifact or []), False
    given = {
        "canary": None if canary is None else weight_of(canary),
        "independent": independent or None,
        "base": base,
        "derived_from": derived_from,
        "attribution": attribution,
        "note": note,
        "settle_after": settle_after,
        "allow": units_of(allow),
        "deny": units_of(deny),
    }
    wanted = msgspec.structs.replace(wanted, **{field: said for field, said in given.items() if said is not None})
    if wanted.canary is not None:
        check_weight(wanted.canary)  # before a database is created
    settles = None if wanted.settle_after is None else span_of(wanted.settle_after, "--settle-after")
    with database.for_creating(db) as k:
        view = None if wanted.derived_from is None else view_of(k, wanted.derived_from)
        try:
            deployed = k.deploy(
                wanted.name,
                wanted.artifacts,
                canary=wanted.canary,
                independent=wanted.independent,
                base=wanted.base,
                attribution=wanted.attribution,  # type: ignore[arg-type]  # it is checked there
                by=by,
                note=wanted.note,
                settle_after=settles,
                derived_from=view,
                allow=wanted.allow,
                deny=wanted.deny,
            )
        except DuplicateName:
            deployed, repeated = manifest.find_same(k, wanted, view), True
            if wanted.canary is not None and deployed.status is Status.STAGED:  # an earlier run may have ended before
                deployed, repeated = k.canary(wanted.name, wanted.canary, by=by), False
    if as_json:
        emit({"deployment": deployed, "repeated": repeated})
        return
    _print_deployed(deployed, wanted if repeated else None)


def _print_deployed(deployed: Deployment, repeated: manifest.Manifest | None) -> None:
    if repeated is not None:
        say(f"{deployed.name} exists already with the same manifest; nothing was changed")
    _print_status(deployed)
    remark = "" if repeated is None else manifest.weight_not_set(repeated, deployed)
    if remark:
        say(f"  {remark}", "yellow")
    say(f"  {count(len(deployed.artifacts), 'artifact')}: {listing(deployed.artifacts)}")
    say(f"  manifest {deployed.digest}", "dim")
    if deployed.bases:
        say(f"  It depends on {listing(deployed.bases)}. Rolling that back rolls this back too.")
        if repeated is None:
            say("  If it fixes what it overrides, deploy it under another name with --independent.", "dim")
    derived = None if deployed.declared is None else deployed.declared.derived_from
    if derived is not None:
        saw = listing(derived.saw) if derived.saw else SETTLED_ONLY
        say(f"  Its model was derived from state of the view {one_line(derived.view)}, which saw: {saw}.")
    if deployed.settle_after is not None:
        say(f"  It settles {duration(deployed.settle_after)} after its promotion.")
    if deployed.attribution == "view":
        say("  It influences every agent's turn that sees it, whatever the turn reads.")
    for warning in deployed.warnings:
        say(f"  Warning: {warning}", "yellow")
    if deployed.status is Status.STAGED:
        say(f"  Next: kedge canary {deployed.name} 10%", "dim")


@app.command(rich_help_panel=DEPLOY)
def canary(
    name: Name,
    weight: Annotated[str, typer.Argument(metavar="WEIGHT", help="Share of new sessions: 0.1 or 10%.")],
    *,
    allow: Allow = None,
    deny: Deny = None,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Show a deployment to a share of new sessions, and to the units that are allowed.

    --allow and --deny replace the lists that it has.
    """
    with database.for_changing(db) as k:
        deployed = k.canary(name, weight_of(weight), allow=units_of(allow), deny=units_of(deny), by=by)
    if as_json:
        emit({"deployment": deployed})
    else:
        _print_status(deployed)


@app.command(rich_help_panel=DEPLOY)
def promote(
    name: Name,
    *,
    holdback: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Hold it back from this share of sessions, until it is settled.")
    ] = None,
    yes: Yes = False,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Show a deployment to every new session.

    Also update the external systems that a kedge.toml configures (see kedge reconcile).
    """
    held = None if holdback is None else check_holdback(weight_of(holdback))
    with database.for_reconciling(db) as k, report_interrupt(k, name, "the promotion"):
        standing = k.deployment(name)
        if may_ask(yes=yes, as_json=as_json, what=f"promote {name}"):
            at = f" at {weight_words(standing.weight)}" if standing.status is Status.CANARY else ""
            rest = "" if held is None else f", except {weight_words(held)} of them"
            say(f"{name} is {standing.status}{at}. Promoting shows it to every new session{rest}.")
            if not ask(f"Promote {name}?"):
                decline()
        with spinner("promoting", silent=as_json):
            report = k.promote(name, holdback=held, by=by)
    if as_json:
        emit(msgspec.to_builtins(report))
        return exit_code(report.reconciled)
    _print_status(report.deployment)
    for key, owner in sorted(report.shadowed.items()):
        say(f"  Warning: its {key} has no effect: {owner} is newer and overrides it", "yellow")
    if report.written_by_both:
        both = len(report.written_by_both)
        keys = f"{'At least ' if both == BOTH_MAX else ''}{count(both, 'key')} {verb(both, 'were')}"
        say(f"  {keys} written both inside and outside it; the newest write wins: {listing(report.written_by_both, 3)}")
    print_outcomes(report.reconciled)
    return exit_code(report.reconciled)


@app.command(rich_help_panel=DEPLOY)
def settle(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[DEPLOYMENT]", help="Deployment name.", autocompletion=complete_deployment),
    ] = None,
    *,
    due: Annotated[bool, typer.Option("--due", help="Settle all whose settle-after has passed.")] = False,
    yes: Yes = False,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> int:
    """Make a deployment permanent: it can no longer be rolled back."""
    if (name is None) != due:
        raise InvalidValue("which deployment to settle is not clear: give its name, or --due for all that are due")
    with database.for_changing(db) as k:
        if name is None:
            settled = k.settle_due()
            if as_json:
                emit({"deployments": settled})
            elif not settled:
                say("No deployment is due.")
            for deployed in () if as_json else settled:
                _print_status(deployed)
            return 0
        k.deployment(name)
        if may_ask(yes=yes, as_json=as_json, what=f"settle {name}"):
            say(
                f"Settling {name} cannot be undone. It can no longer be rolled back, and every session sees its writes."
            )
            if not ask(f"Settle {name}?"):
                decline()
        deployed = k.settle(name, by=by)
    if as_json:
        emit({"deployment": deployed})
    else:
        _print_status(deployed)
    return 0


def _print_status(deployed: Deployment) -> None:
    """Print the status of a deployment in one sentence."""
    meaning = {
        Status.STAGED: "staged; only turns opened with deployment= see it",
        Status.CANARY: f"canary: {weight_words(deployed.weight)} of new sessions see it",
        Status.LIVE: f"live: new sessions see it{_held(deployed)}; running sessions keep their view",
        Status.SETTLED: "settled: it can no longer be rolled back",
        Status.ROLLED_BACK: "rolled back: hidden from every reader",
        Status.PURGED: "purged: permanently deleted",
    }
    say(f"{deployed.name} is {meaning[deployed.status]}", f"bold {status_style(deployed.status)}".strip())
    if deployed.status in {Status.STAGED, Status.CANARY}:
        for verb_, units in (("shown", deployed.allow), ("not shown", deployed.deny)):
            if units:
                say(f"  Whatever its weight, its canary is {verb_} to {listing(units, 3)}.")


def _held(deployed: Deployment) -> str:
    return f", except {weight_words(deployed.holdback)} of them" if deployed.holdback else ""
