"""Text of `kedge status`, of the fleet summary, and of log entries."""

from collections.abc import Sequence

from rich.text import Text

from kedge.cli.launch_text import print_running
from kedge.cli.level_text import LEVEL_KINDS, change_of_level, print_levels
from kedge.cli.tables import status_style
from kedge.cli.terminal import ago, count, inputs_to_replay, listing, say, say_whole, table, utc, weight, when
from kedge.deployments.lifecycle import Deployment
from kedge.fleet.roster import MemberStatus
from kedge.guard.launch_report import LaunchStatus
from kedge.guard.own_readiness import OwnReadiness
from kedge.model.calls import UNRECEIVED
from kedge.model.control import EXTERNAL, Status
from kedge.model.durations import duration
from kedge.model.retention import RetentionPolicy
from kedge.model.upgrade import SchemaState
from kedge.ports.control import Entry
from kedge.recovery.attribution import without_artifacts
from kedge.reports.status import SystemStatus

_ORDER = (Status.CANARY, Status.LIVE, Status.STAGED, Status.ROLLED_BACK)
_ROWS_MAX = 8
READY = 80  # of 100
REVOCABLE_MANY = 50  # so many deployments that can be rolled back are worth a warning


def print_status(
    found: SystemStatus, launches: Sequence[LaunchStatus], readiness: OwnReadiness, *, everything: bool
) -> None:
    """Print the status on one screen; with `everything`, list all deployments."""
    say_whole(found.url, "bold")
    _print_deployments(found, everything=everything)
    say()
    print_running(launches, found.at)
    _print_problems(found)
    say(
        f"{count(found.sessions, 'session')}, {count(found.snapshots, 'snapshot')}, "
        f"{count(found.collections, 'vector collection')}; {_horizon(found.retention_seconds)}"
    )
    if found.disk:
        used = [f"{store} {_size(use.bytes)}" for store, use in found.disk.items()]
        free, by = sum(use.freeable for use in found.disk.values()), "the policies" if found.policies else "30 d"
        say(f"Content, about: {listing(used)}; {by} would free {_size(free)}")
    change = found.last_change
    if change is not None:
        why = f': "{change.reason}"' if change.reason else ""
        say(f"Last change: {change_text(change)}, by {change.by}, {ago(change.at, found.at)}{why}")
    ready = "" if readiness.score is None else f"; readiness {readiness.score} of 100"
    low = readiness.score is not None and readiness.score < READY
    say(f"As of {utc(found.at)}: epoch {found.epoch}, seq {found.seq:,}{ready}", "yellow" if low else "dim")


def upgrade_text(schema: SchemaState) -> str:
    """Return what is left to upgrade."""
    if schema.schema < schema.latest:
        return f"schema {schema.schema} is older than this Kedge's {schema.latest}; run: kedge upgrade"
    return "the schema is expanded, and processes of an older Kedge can still write; to finish: kedge upgrade"


def _print_deployments(found: SystemStatus, *, everything: bool) -> None:
    ordered = sorted(found.deployments, key=lambda d: (_ORDER.index(d.status), -d.since))
    shown = ordered if everything else ordered[:_ROWS_MAX]
    say()
    if shown:
        table(
            ("deployment", "status", "since", "by"),
            ((d.name, Text(_status(d), status_style(d.status)), when(d.since, found.at), d.by) for d in shown),
        )
        if len(ordered) > len(shown):
            say(f"and {len(ordered) - len(shown)} more: kedge status --all", "dim")
        _print_remarks(shown)
    elif found.settled is None:
        say('No deployment yet. To create one: kedge deploy NAME --artifact agent/prompt="…"')
    if found.settled is not None:
        newest = found.settled
        others = f", and {found.settled_total - 1:,} older" if found.settled_total > 1 else ""
        say(f"Settled: {newest.name}, {ago(newest.since, found.at)} by {newest.by}{others}")
    if not any(d.status is Status.LIVE for d in found.deployments) and (shown or found.settled is not None):
        say("No deployment is live. New sessions see settled state only (plus their canary).", "dim")
    if found.purged_total:
        say(f"Purged: {found.purged_total:,}", "dim")


def _status(deployment: Deployment) -> str:
    return f"canary {weight(deployment.weight)}" if deployment.status is Status.CANARY else str(deployment.status)


def _print_remarks(shown: list[Deployment]) -> None:
    for deployment in shown:
        if deployment.status is Status.ROLLED_BACK and deployment.reason:
            say(f'{deployment.name} was rolled back: "{deployment.reason}"', "dim")
        elif deployment.bases:
            say(f"{deployment.name} depends on {listing(deployment.bases)}", "dim")
        if deployment.attribution == "view" and deployment.status is not Status.ROLLED_BACK:
            say(f"{deployment.name} influences every agent's turn that sees it", "dim")


def _print_problems(found: SystemStatus) -> None:
    _print_revocable(found)
    if not found.schema.is_current:
        say(f"Upgrade: {upgrade_text(found.schema)}", "yellow")
    print_levels(found)
    hidden = count(found.hidden_writes, "write")
    say(f"Hidden: {hidden} of rolled-back deployments" if found.hidden_writes else "Hidden: no writes")
    if found.members:
        troubled = [member for member in found.members if member.state != "serving"]
        say(f"Members: {summary(found.members)}", "yellow" if troubled else None)
    _print_tallies(found)
    if found.reconcilers:
        followers = [f"{name} ({pattern})" for name, pattern in sorted(found.reconcilers.items())]
        say(f"External systems: {listing(followers)}; to check them: kedge reconcile --check")
    if found.replay_pending:
        least = "" if found.replay_pending_complete else "at least "
        say(f"Replay: {least}{inputs_to_replay(found.replay_pending)}", "yellow")
    else:
        say("Replay: no user input needs replay")
    _print_kept_back(found)
    for operation in found.unfinished:
        say(
            f"UNFINISHED: {operation.kind} of {operation.deployment}, started {ago(operation.at, found.at)} by "
            f"{operation.by}; if it is not running, finish it with `kedge recover`",
            "bold red",
        )


def _print_tallies(found: SystemStatus) -> None:
    for agent, (writes, complete, other) in without_artifacts(found.slips).items():
        least = "" if complete else "at least "
        say(
            f"Slip: agent {agent} has no artifacts (did you mean {other}?); no rollback hides the "
            f"{least}{count(writes, 'derived write')} of its turns that saw a deployment of {other}",
            "yellow",
        )
    for tally in found.other_code:
        how = "refused" if tally.metric.endswith("refuse") else "started with a warning"
        turns = count(tally.count, "turn")
        say(
            f"Code mismatch: {turns} of {tally.agent} {how}, last {ago(tally.last_at, found.at)}: {tally.value}",
            "yellow",
        )
    for tally in found.unanswered_calls:
        what = "not received" if tally.metric == UNRECEIVED else "answered, but the answer was not absorbed"
        calls = count(tally.count, "call")
        say(f"Calls: {calls} of {tally.agent} {tally.value} {what}, last {ago(tally.last_at, found.at)}", "dim")
    if found.refused_values:
        values = count(sum(tally.count for tally in found.refused_values), "value")
        names = listing(sorted({tally.metric for tally in found.refused_values}), 3)
        last = ago(max(tally.last_at for tally in found.refused_values), found.at)
        say(f"Metrics: {values} refused, of {names}, last {last}; to see why: kedge metrics", "yellow")


def _print_kept_back(found: SystemStatus) -> None:
    if found.pinning:
        say(
            f"Rolled back over 30 d ago: {listing(found.pinning, 3)}; keeps what it wrote and hid: kedge purge, or "
            "kedge retention --purge-after 90d",
            "yellow",
        )
    for name, why in sorted(found.not_purged.items()):
        say(f"Not purged, though due: {name}: {why}", "yellow")


def _print_revocable(found: SystemStatus) -> None:
    releases = sum(deployment.kind != EXTERNAL for deployment in found.deployments)
    if releases > REVOCABLE_MANY:
        say(
            f"Revocable: {releases:,} deployments can still be rolled back, and each makes writes and searches slower; "
            "settle those that have proved themselves (kedge settle, or kedge deploy --settle-after 30d), and purge "
            "those that stay rolled back",
            "yellow",
        )
    if found.due:
        say(f"Due to settle: {listing(found.due)}; to settle them: kedge settle --due", "yellow")


def summary(members: Sequence[MemberStatus]) -> str:
    """Return how many members serve at the current epoch, and the names of those that do not."""
    serving = sum(member.state == "serving" for member in members)
    told = f"{serving} of {len(members)} serving at the current epoch"
    for state in ("behind", "silent", "expired"):
        names = [member.name for member in members if member.state == state]
        told += f"; {state}: {listing(names, 3)}" if names else ""
    other = [f"{member.name} ({listing(member.other_code, 3)})" for member in members if member.other_code]
    return told + (f"; code differs from what new sessions pin: {listing(other, 3)}" if other else "")


def change_text(entry: Entry) -> str:
    """Return what a log entry changed, such as "canary support-v2 at 10%"."""
    detail = entry.detail
    if entry.kind == "canary":
        return f"canary {entry.deployment} at {weight(detail.get('weight', 0.0))}"
    if entry.kind in LEVEL_KINDS:
        return change_of_level(entry)
    if entry.kind in {"retention", "hold"}:
        return _retention_text(entry)
    if entry.kind == "reclaimed":
        return f"reclaimed the content of {count(detail['writes'], 'write')}, {detail['bytes']:,} bytes"
    if entry.kind in {"moved", "move-abandoned"}:
        return f"{entry.kind} to {detail['to']}"
    if entry.kind in {"rollback:converged", "rollback:not-converged"}:
        late = [laggard["name"] for laggard in detail.get("laggards", ())]
        return f"{entry.kind} {entry.deployment}" + (f" without {listing(late, 3)}" if late else "")
    if entry.kind == "reconcilers":
        changed = [
            *(f"+{name}" for name in detail.get("declared", ())),
            *(f"-{name}" for name in detail.get("forgotten", ())),
        ]
        return f"reconcilers {listing(changed, 3)}"
    if entry.kind == "reconcile" or entry.kind.endswith("reconciled"):
        names = [f"{outcome['name']}/{outcome['key']}" for outcome in detail.get("outcomes", ())]
        return f"{entry.kind} {listing(names, 3)}"
    if entry.kind == "rollback:verified":
        return f"{entry.kind} {entry.deployment}: {'ok' if detail.get('ok') else 'FAILED'}"
    others = [name for name in detail.get("names", ()) if name != entry.deployment]
    subject = entry.deployment or detail.get("snapshot") or detail.get("session") or ""
    return f"{entry.kind} {subject}".rstrip() + (f" with {listing(others, 3)}" if others else "")


def _retention_text(entry: Entry) -> str:
    """Return what a change of the retention set, such as "retention context: 30 d"."""
    detail = entry.detail
    if "purge_after" in detail:
        after = detail["purge_after"]
        return f"purge after {'off' if after is None else duration(after)}"
    seconds = detail.get("seconds")
    if "store" not in detail:
        return f"retention {_kept(seconds)}"
    where = detail["store"] + ("" if detail["space"] is None else f"/{detail['space']}")
    if detail["dropped"]:
        return f"{entry.kind} {where} lifted"
    return f"hold {where}" if entry.kind == "hold" else f"retention {where}: {_kept(seconds)}"


def policy_text(policy: RetentionPolicy) -> str:
    """Return a policy or a hold in words."""
    if policy.hold:
        return f"hold on {policy.scope}: all content is kept, and purges are refused"
    return f"retention of {policy.scope}: {_kept(policy.seconds)}"


def _kept(seconds: float | None) -> str:
    return "forever" if seconds is None else duration(seconds)


def _size(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} B"


def _horizon(seconds: float | None) -> str:
    return "retention: forever" if seconds is None else f"retention: {duration(seconds)}"
