"""Text of a rollback plan, as `kedge plan` and `kedge rollback` print it."""

from collections import Counter
from collections.abc import Sequence

from kedge.cli.terminal import ago, count, heading, listing, one_line, say, table, utc, verb, weight
from kedge.deployments.lifecycle import Deployment
from kedge.model.attribution import OWN_AGENTS, VIEW
from kedge.model.stores import store_of
from kedge.recovery.attribution import without_artifacts
from kedge.recovery.plan import Fallback, RollbackPlan

_EXAMPLES = 4  # per store


def print_head(deployed: Deployment, now: float) -> None:
    """Print what is known before the plan is worked out."""
    at = f" at {weight(deployed.weight)}" if deployed.status == "canary" else ""
    say(f"Plan: roll back {deployed.name}", "bold")
    say(f"  Status: {deployed.status}{at} since {ago(deployed.since, now)} ({utc(deployed.since)}), by {deployed.by}.")


def print_plan(plan: RollbackPlan, gone: Sequence[Deployment], now: float) -> None:
    """Print the whole plan, after its head. `gone` are the deployment and those that are rolled back with it."""
    print_summary(plan)
    _print_keys(plan, now)
    _print_affected(plan, gone)
    _print_remaining_work(plan)
    _print_limits(plan)
    heading("To continue")
    say(f'  kedge rollback {plan.deployment} --reason "…"')
    say(f"  To undo it exactly, until it is purged: kedge reinstate {plan.deployment}")


def print_summary(plan: RollbackPlan) -> None:
    """Print what a person must know before confirming, after the head."""
    _print_dependants(plan)
    by_store = {store.store: store.writes for store in plan.stores}
    manifest = by_store.get("artifacts", 0)
    others = plan.writes_total - manifest
    if not others:
        say("  It influenced no writes: only its own artifacts are hidden.")
    else:
        parts = ", ".join(f"{writes:,} in {store}" for store, writes in sorted(by_store.items()))
        total = f"{count(plan.writes_total, 'write')} {verb(plan.writes_total, 'are')}"
        say(f"  {total} hidden from every reader at once: {parts}.")
    if others or plan.sessions_total or plan.agents or plan.replay_inputs:
        say(
            f"  It influenced {count(plan.sessions_total, 'session')} and {count(len(plan.agents), 'agent')}; "
            f"{_least(plan)}{count(len(plan.replay_inputs), 'user input')} will need replay."
        )
    for agent, (writes, complete, other) in without_artifacts(plan.unattributed).items():
        least = "" if complete else "at least "
        say(
            f"  Warning: {least}{count(writes, 'derived write')} of agent {agent} {verb(writes, 'stay')}: its turns "
            f"saw {plan.deployment}, but {agent} had no artifacts and read nothing of it"
            f"{f' (did you mean {other}?)' if other else ''}.",
            "yellow",
        )
    for name, followed in sorted(plan.reconciles.items()):
        if name in plan.absent:
            say(
                f"  External system {name} ({listing(followed)}) is not configured in a kedge.toml here: "
                "roll back where it is configured, or run `kedge recover` there afterwards.",
                "yellow",
            )
        else:
            say(f"  External system {name} is updated to the new pin of {listing(followed)}.")
    for key, outcome in sorted(plan.targets.items()):
        if outcome != "there":
            style = "bold red" if outcome == "gone" else "yellow"
            what = "is GONE: the rollback cannot bring it back" if outcome == "gone" else f"was {outcome}"
            say(f"  What {key} falls back to {what} ({one_line(plan.pins.get(key, ''), 80)}).", style)
    say("  Unchanged: user messages, and every write that it did not influence.")


def _print_dependants(plan: RollbackPlan) -> None:
    """Print what goes with the deployment, and what was derived from its state, whether it goes or stays."""
    if plan.goes_with_it:
        say(f"  Also rolled back, because they depend on it: {listing(plan.goes_with_it)}.", "yellow")
    for name, saw in plan.derived.items():
        if name in plan.goes_with_it:
            say(f"  {name} rests on {listing(saw)}: its model was derived from state that this influenced.", "yellow")
        else:
            say(
                f"  Warning: {name} stays, although its model was derived from state that {listing(saw)} influenced: "
                "it was deployed as independent.",
                "yellow",
            )


def _print_keys(plan: RollbackPlan, clock: float) -> None:
    heading("Keys")
    table(
        ("store", "space", "writes", "removed", "fall back", "restored", "unchanged"),
        ((store, space, *(f"{number:,}" for number in numbers)) for (store, space), numbers in _rows(plan).items()),
        right=("writes", "removed", "fall back", "restored", "unchanged"),
    )
    if any(effect.keys_unchanged for effect in plan.effects):
        say("unchanged: a newer write has replaced it, or it was only a deletion.", "dim")
    for key, fallback in sorted(plan.pins.items()):
        now = f" (now {one_line(plan.changed[key], 40)})" if key in plan.changed else ""
        say(f"  Pin {key}{now} falls back to {one_line(fallback, 100)}")
    for kept in plan.kept:
        who = f"by {kept.person}, " if kept.person else ""
        place = " ".join(part for part in (kept.store, kept.space, kept.key) if part)
        say(f"  {place} stays: it was written {who}{ago(kept.at, clock)}, after the deployment's write.")
    shown = [example for example in plan.examples if example.store != "artifacts"]
    if shown:
        heading("Examples")
        printed = Counter[str]()
        for example in shown:
            printed[example.store] += 1
            if printed[example.store] <= _EXAMPLES:
                say(f"  {_example(example, clock)}")


def _least(plan: RollbackPlan) -> str:
    return "" if plan.is_whole else "at least "


def _rows(plan: RollbackPlan) -> dict[tuple[str, str], list[int]]:
    """Return the counts by store and space; the memory of all sessions is one row."""
    sessions = sum(store.spaces for store in plan.stores if store.store == "memory")
    rows: dict[tuple[str, str], list[int]] = {}
    for e in plan.effects:
        place = ("memory", count(sessions, "session")) if e.store == "memory" else (e.store, e.space)
        row = rows.setdefault(place, [0] * 5)
        numbers = (e.writes, e.keys_vanish, e.keys_fall_back, e.keys_reappear, e.keys_unchanged)
        rows[place] = [before + number for before, number in zip(row, numbers, strict=True)]
    for store in plan.stores:  # the spaces beyond those listed
        listed = sum(e.writes for e in plan.effects if e.store == store.store)
        if listed < store.writes:
            place = ("memory", count(sessions, "session")) if store.store == "memory" else (store.store, "other spaces")
            rows.setdefault(place, [0] * 5)[0] += store.writes - listed
    return rows


def _example(example: Fallback, now: float) -> str:
    if example.store == "memory":
        fate = "is restored" if example.to_seq else "is removed"
        return f"memory {example.space}: message {example.from_seq or example.to_seq} {fate}"
    place = " ".join(part for part in (example.store, example.space, example.key) if part)
    if example.to_seq and example.to_at is not None:
        stale = ", past its freshness budget" if example.stale else ""
        fate = "falls back" if example.from_seq else "is restored"
        return f"{place} {fate} to the value written {ago(example.to_at, now)}{stale} (seq {example.to_seq})"
    return f"{place} is removed: it has no earlier value"


def _print_affected(plan: RollbackPlan, gone: Sequence[Deployment]) -> None:
    heading("Affected sessions and agents")
    if not plan.sessions and not plan.agents:
        say("  None: no turn that wrote had read from it.")
        return
    owners = {key.rpartition("/")[0] for deployed in gone for key in deployed.artifacts}
    caught = [agent for agent in plan.agents if agent not in owners]
    if plan.sessions:
        say(f"  {count(plan.sessions_total, 'session')}: {listing(plan.sessions)}")
    if plan.agents:
        say(f"  {count(len(plan.agents), 'agent')}: {listing(plan.agents)}")
    if caught:
        by_view = [deployed.name for deployed in gone if deployed.attribution == VIEW]
        how = "influenced by data they read"
        if len(by_view) == len(gone):
            how = "influenced because their turns saw it (attribution: view)"
        elif by_view:
            how += f", or because their turns saw {listing(by_view)} (attribution: view)"
        say(f"  Not part of the deployment, but {how}: {listing(caught)}.", "yellow")


def _print_remaining_work(plan: RollbackPlan) -> None:
    heading("Work that remains")
    inputs = Counter(item.store for item in plan.replay_inputs)
    if inputs:
        parts = ", ".join(f"{number:,} from {store}" for store, number in sorted(inputs.items()))
        say(f"  {_least(plan)}{count(len(plan.replay_inputs), 'user input')} will need replay ({parts}).")
    else:
        say("  No user input needs replay.")
    if plan.unsearchable:
        such = ", ".join(plan.unsearchable_examples[:_EXAMPLES])
        say(
            f"  {count(plan.unsearchable, 'document')} will not be found by search until embedded again, such as "
            f"{such}. Use replay or `kedge backfill --missing`.",
            "yellow",
        )
    if plan.stale_keys:
        keys = f"{count(plan.stale_keys, 'key')} {verb(plan.stale_keys, 'fall')}"
        say(f"  {keys} back to a value past its freshness budget: renew it.", "yellow")
    if plan.sources_inside:
        number = len(plan.sources_inside)
        places = Counter(" ".join(_place(source)) for source in plan.sources_inside)
        say(
            f"  {_least(plan)}{count(number, 'source write')} {verb(number, 'were')} made inside influenced turns and "
            f"{verb(number, 'stay')}: {listing([f'{n:,} in {place}' for place, n in places.items()], 4)}. "
            "If an agent stored its own output as source, check that by hand.",
        )


def _place(source: str) -> tuple[str, ...]:
    """Return the store, and except for memory the space, of a source write given as store:space/key."""
    store, rest = store_of(source)
    space = rest.partition("/")[0]
    return (store,) if store == "memory" or not space else (store, space)


def _print_unattributed(plan: RollbackPlan) -> None:
    """Print what turns wrote that saw the deployment before they read anything of it, and what is not known."""
    others = [one for one in plan.unattributed if one.has_artifacts or one.agent in OWN_AGENTS]
    if others:
        writes, agents = sum(one.writes for one in others), sorted({one.agent for one in others})
        say(
            f"  {count(writes, 'derived write')} {verb(writes, 'stay')}: turns of {listing(agents)} saw "
            f"{plan.deployment} and had read nothing of it.",
            "dim",
        )
    if not plan.unattributed_complete:
        say("  Not all writes by turns that saw it were examined: there may be more that stay.", "dim")
    if plan.unknown_turns:
        say(
            f"  {count(plan.unknown_turns, 'turn')} from before an upgrade of Kedge: what they saw is not known, nor "
            "whether their writes carry it.",
            "dim",
        )


def _print_limits(plan: RollbackPlan) -> None:
    heading("Limits of this plan")
    if plan.keys_examined < plan.keys_total:
        say(
            f"  It examined {plan.keys_examined:,} of {plan.keys_total:,} keys. The key counts above cover only these, "
            "also for stale keys. Writes, sessions and agents are counted in full.",
            "yellow",
        )
    else:
        say(f"  Complete: all writes are counted and all keys ({plan.keys_total:,}) examined.")
    if not plan.is_whole:
        more = "" if plan.next_turn is None else f" For those that follow: --after {plan.next_turn}."
        say(
            f"  Sessions and inputs are listed for {plan.turns_examined:,} of {plan.turns_total:,} turns.{more}",
            "yellow",
        )
    if plan.causes_from is not None:
        say(
            f"  Causes can be walked from {utc(plan.causes_from)} (seq {plan.causes_from_seq:,}) on: older recorded "
            "reads were pruned, except those of turns that can still be rolled back.",
            "dim",
        )
    _print_unattributed(plan)
    say("  A rollback cannot undo emails, payments or calls to other systems.")
    say(f"  Turns that are open now may add writes; these will be hidden too. As of epoch {plan.epoch}.")


__all__ = ["print_plan", "print_summary"]
