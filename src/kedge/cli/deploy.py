"""deploy, canary, promote, settle."""

from typing import Annotated

import msgspec
import typer

from kedge.cli import database, manifest
from kedge.cli.app import LAUNCH, app
from kedge.cli.options import By, Db, Json, Name, Yes
from kedge.cli.points import weight_of
from kedge.cli.reconcile import exit_code, tell
from kedge.cli.stopping import accounted
from kedge.cli.terminal import ask, count, decline, emit, listing, may_ask, say, spinner, verb
from kedge.cli.terminal import weight as weight_words
from kedge.deployments.lifecycle import BOTH_MAX, Deployment
from kedge.model.control import Status


@app.command(rich_help_panel=LAUNCH)
def deploy(
    target: Annotated[str, typer.Argument(metavar="NAME|FILE.toml", help="A new deployment's name, or its manifest.")],
    *,
    artifact: Annotated[
        list[str] | None,
        typer.Option("--artifact", "-a", metavar="KEY=TEXT", help="Or KEY=@FILE, or KEY:=JSON. May be repeated."),
    ] = None,
    canary: Annotated[
        str | None, typer.Option(metavar="WEIGHT", help="Start it as a canary: 0.1 or 10%. Without: staged.")
    ] = None,
    independent: Annotated[
        bool, typer.Option("--independent", help="It does not fall with what it overrides.")
    ] = False,
    base: Annotated[
        str | None, typer.Option(metavar="DEPLOYMENT", help="Build on this one, which is not live.")
    ] = None,
    note: Annotated[str | None, typer.Option(metavar="TEXT", help="What it is about.")] = None,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    r"""Stage a deployment, or start it as a canary.

    A deployment is a named set of prompts, models, code digests, embedders. A manifest is TOML: name, canary,
    independent, base, note, and a table \[artifacts] of "agent/prompt" = "text", {file="prompt.txt"}, or
    {uri="…", digest="sha256:…", kind="model", version="7"}.
    """
    wanted = manifest.from_flags(target, artifact or [])
    weight = wanted.canary if canary is None else weight_of(canary)
    with database.for_beginning(db) as k:
        deployed = k.deploy(
            wanted.name,
            wanted.artifacts,
            canary=weight,
            independent=independent or wanted.independent,
            base=base or wanted.base,
            by=by,
            note=wanted.note if note is None else note,
        )
    if as_json:
        emit({"deployment": deployed})
        return
    _say_where(deployed)
    say(f"  {count(len(deployed.artifacts), 'artifact')}: {listing(deployed.artifacts)}")
    say(f"  manifest {deployed.digest}", "dim")
    if deployed.bases:
        say(f"  It rests on {listing(deployed.bases)}: a rollback of that takes it along.")
    for warning in deployed.warnings:
        say(f"  Warning: {warning}", "yellow")
    if deployed.status is Status.STAGED:
        say(f"  Next: kedge canary {deployed.name} 10%", "dim")


@app.command(rich_help_panel=LAUNCH)
def canary(
    name: Name,
    weight: Annotated[str, typer.Argument(metavar="WEIGHT", help="The share of new sessions: 0.1 or 10%.")],
    *,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Show a deployment to a share of new sessions."""
    with database.for_changing(db) as k:
        deployed = k.canary(name, weight_of(weight), by=by)
    if as_json:
        emit({"deployment": deployed})
    else:
        _say_where(deployed)


@app.command(rich_help_panel=LAUNCH)
def promote(name: Name, *, by: By = None, db: Db = None, as_json: Json = False) -> int:
    """Show a deployment to every new session.

    And bring external systems to what it pins, where a kedge.toml says how: kedge reconcile.
    """
    with database.for_moving(db) as k, accounted(k, name, "the promotion"), spinner("promoting", silent=as_json):
        report = k.promote(name, by=by)
    if as_json:
        emit(msgspec.to_builtins(report))
        return exit_code(report.reconciled)
    _say_where(report.deployment)
    for key, owner in sorted(report.shadowed.items()):
        say(f"  Warning: nobody sees its {key}: a newer one stands there, of {owner}", "yellow")
    if report.written_by_both:
        both = len(report.written_by_both)
        keys = f"{'At least ' if both == BOTH_MAX else ''}{count(both, 'key')} {verb(both, 'were')}"
        say(f"  {keys} written both inside and outside it, the newest counts: {listing(report.written_by_both, 3)}")
    tell(report.reconciled)
    return exit_code(report.reconciled)


@app.command(rich_help_panel=LAUNCH)
def settle(name: Name, *, yes: Yes = False, by: By = None, db: Db = None, as_json: Json = False) -> int:
    """Declare a deployment irrevocable."""
    with database.for_changing(db) as k:
        k.deployment(name)
        if may_ask(yes=yes, as_json=as_json, what=f"settle {name!r}"):
            say(f"Settling {name} is for ever: what it wrote can never be hidden again, and every session sees it.")
            if not ask("Settle it?"):
                decline()
        deployed = k.settle(name, by=by)
    if as_json:
        emit({"deployment": deployed})
    else:
        _say_where(deployed)
    return 0


def _say_where(deployed: Deployment) -> None:
    """Say in one sentence where a deployment stands now."""
    meaning = {
        Status.STAGED: "staged; nobody sees it but turns opened with deployment=",
        Status.CANARY: f"canary: {weight_words(deployed.weight)} of new sessions see it",
        Status.LIVE: "live: every new session sees it, running ones finish as they began",
        Status.SETTLED: "settled: it is irrevocable",
        Status.ROLLED_BACK: "rolled back: hidden from everyone",
        Status.PURGED: "purged: gone for good",
    }
    say(f"{deployed.name} is {meaning[deployed.status]}", "bold")
