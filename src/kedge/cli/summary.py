"""A rollback's plan in plain words, as a careful colleague would tell it."""

from collections import Counter

from kedge.cli.terminal import ago, count, heading, listing, say, table, utc, verb, weight
from kedge.deployments.lifecycle import Deployment
from kedge.recovery.plan import Fallback, RollbackPlan

_EXAMPLES = 4  # of each store


def tell(plan: RollbackPlan, deployed: Deployment, now: float) -> None:
    """Tell the whole plan."""
    tell_short(plan, deployed, now)
    _tell_keys(plan, now)
    _tell_people(plan, deployed)
    _tell_after(plan)
    _tell_limits(plan)
    heading("If you go on")
    say(f'  kedge rollback {plan.deployment} --reason "…"')
    say(f"  It can be undone, exactly, with `kedge reinstate {plan.deployment}`, until it is purged.")


def tell_short(plan: RollbackPlan, deployed: Deployment, now: float) -> None:
    """Tell what one must know before saying yes."""
    at = f" at {weight(deployed.weight)}" if deployed.status == "canary" else ""
    say(f"Rolling back {plan.deployment}", "bold")
    say(f"  It is {deployed.status}{at} since {ago(deployed.since, now)} ({utc(deployed.since)}), by {deployed.by}.")
    if plan.goes_with_it:
        say(f"  It takes along what rests on it: {listing(plan.goes_with_it)}.", "yellow")
    manifest = sum(effect.writes for effect in plan.effects if effect.store == "artifacts")
    others = plan.writes_total - manifest
    if not others:
        say("  Nothing was written under its influence: only its own artifacts vanish.")
    else:
        by_store = Counter[str]()
        for effect in plan.effects:
            by_store[effect.store] += effect.writes
        parts = ", ".join(f"{writes:,} in {store}" for store, writes in sorted(by_store.items()))
        total = f"{count(plan.writes_total, 'write')} {verb(plan.writes_total, 'vanish')}"
        say(f"  {total} from every reader's view at once: {parts}.")
    say(
        f"  It touched {count(len(plan.sessions), 'session')} and {count(len(plan.agents), 'agent')}; "
        f"{count(len(plan.replay_inputs), 'input')} would then wait for replay."
    )
    for name, followed in sorted(plan.reconciles.items()):
        if name in plan.absent:
            say(
                f"  The external system {name} is to follow for {listing(followed)}, but no kedge.toml here says how: "
                "roll back where it is, or run `kedge recover` there afterwards.",
                "yellow",
            )
        else:
            say(f"  The external system {name} is brought to what is pinned then for {listing(followed)}.")
    say("  Everything else stays: what users said, and every write that it did not influence.")


def _tell_keys(plan: RollbackPlan, now: float) -> None:
    heading("What happens to the keys")
    table(
        ("store", "space", "writes", "keys vanish", "fall back", "reappear", "unchanged"),
        ((store, space, *(f"{number:,}" for number in numbers)) for (store, space), numbers in _rows(plan).items()),
        right=("writes", "keys vanish", "fall back", "reappear", "unchanged"),
    )
    if any(effect.keys_unchanged for effect in plan.effects):
        say("unchanged: another write has taken the place already, or the key was only deleted.", "dim")
    for key, fallback in sorted(plan.pins.items()):
        say(f"  The pin {key} falls back to {fallback}.")
    shown = [example for example in plan.examples if example.store != "artifacts"]
    if shown:
        heading("For example")
        told = Counter[str]()
        for example in shown:
            told[example.store] += 1
            if told[example.store] <= _EXAMPLES:
                say(f"  {_example(example, now)}")


def _rows(plan: RollbackPlan) -> dict[tuple[str, str], list[int]]:
    """Return the counts by store and space, all sessions' memory in one row."""
    sessions = sum(effect.store == "memory" for effect in plan.effects)
    rows: dict[tuple[str, str], list[int]] = {}
    for e in plan.effects:
        place = ("memory", count(sessions, "session")) if e.store == "memory" else (e.store, e.space)
        row = rows.setdefault(place, [0] * 5)
        numbers = (e.writes, e.keys_vanish, e.keys_fall_back, e.keys_reappear, e.keys_unchanged)
        rows[place] = [before + number for before, number in zip(row, numbers, strict=True)]
    return rows


def _example(example: Fallback, now: float) -> str:
    if example.store == "memory":
        fate = "comes back" if example.to_seq else "vanishes"
        return f"memory {example.space}: message {example.from_seq or example.to_seq} {fate}"
    place = " ".join(part for part in (example.store, example.space, example.key) if part)
    if example.to_seq and example.to_at is not None:
        stale = ", past its freshness budget" if example.stale else ""
        verb = "falls back" if example.from_seq else "comes back"
        return f"{place} {verb} to what was written {ago(example.to_at, now)} (seq {example.to_seq}){stale}"
    return f"{place} vanishes: there was nothing before"


def _tell_people(plan: RollbackPlan, deployed: Deployment) -> None:
    heading("Whose work it touches")
    if not plan.sessions and not plan.agents:
        say("  Nobody's: no turn that wrote anything had read from it.")
        return
    owners = {key.rpartition("/")[0] for key in deployed.artifacts}
    caught = [agent for agent in plan.agents if agent not in owners]
    if plan.sessions:
        say(f"  {count(len(plan.sessions), 'session')}: {listing(plan.sessions)}")
    if plan.agents:
        say(f"  {count(len(plan.agents), 'agent')}: {listing(plan.agents)}")
    if caught:
        say(f"  Not part of the deployment, but influenced by what was read: {listing(caught)}.", "yellow")


def _tell_after(plan: RollbackPlan) -> None:
    heading("What will be left to do")
    inputs = Counter(item.store for item in plan.replay_inputs)
    if inputs:
        parts = ", ".join(f"{number:,} from {store}" for store, number in sorted(inputs.items()))
        say(f"  {count(len(plan.replay_inputs), 'input')} to replay ({parts}): what was made of them vanishes.")
    else:
        say("  No input needs a replay.")
    if plan.unsearchable:
        such = ", ".join(plan.unsearchable_examples[:_EXAMPLES])
        say(
            f"  {count(plan.unsearchable, 'document')} will be found by no search until embedded again, such as "
            f"{such}: by replay, or `kedge backfill --missing`.",
            "yellow",
        )
    if plan.stale_keys:
        keys = f"{count(plan.stale_keys, 'key')} {verb(plan.stale_keys, 'fall')}"
        say(f"  {keys} back to a value older than its freshness budget: renew that.", "yellow")
    if plan.sources_inside:
        number = len(plan.sources_inside)
        places = Counter(" ".join(_place(source)) for source in plan.sources_inside)
        say(
            f"  {count(number, 'source write')} {verb(number, 'were')} made inside influenced turns and will stay, as "
            f"what comes from outside does: {listing([f'{n:,} in {place}' for place, n in places.items()], 4)}. "
            "Where an agent passed its own output off as source, that stays too: look at those by hand.",
        )


def _place(source: str) -> tuple[str, ...]:
    """Return the store, and but for memory the space, of a source write given as store:space/key."""
    store, _, rest = source.partition(":")
    space = rest.partition("/")[0]
    return (store,) if store == "memory" or not space else (store, space)


def _tell_limits(plan: RollbackPlan) -> None:
    heading("What this plan does not know")
    if plan.keys_examined < plan.keys_total:
        say(
            f"  It looked at {plan.keys_examined:,} of {plan.keys_total:,} keys, so the counts of keys above are of "
            "these alone, the stale ones included; writes, sessions and agents are counted in full.",
            "yellow",
        )
    else:
        looked_at = "The one key was" if plan.keys_total == 1 else f"All {plan.keys_total:,} keys were"
        say(f"  {looked_at} looked at; writes are counted in full.")
    say("  What left the system, such as emails, payments or calls to others, cannot be undone from here.")
    say(f"  It holds as of epoch {plan.epoch}; turns that are open now may still add to it, hidden on arrival.")


__all__ = ["tell", "tell_short"]
