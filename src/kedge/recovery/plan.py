"""Rollback plan (dry run): which writes vanish, what keys fall back to, what needs replay."""

from collections import Counter, defaultdict

import msgspec

from kedge.bulk import coverage as embeddings
from kedge.deployments.derivation import derived_among
from kedge.model import transitions
from kedge.model.artifacts import Artifact, label, unpack
from kedge.model.control import ControlRecord, Status
from kedge.model.numbers import as_integer
from kedge.model.reconcile import moved
from kedge.model.stores import store_order
from kedge.model.visibility import View
from kedge.model.writes import Head, Key
from kedge.recovery import deleted_inputs
from kedge.recovery.attribution import Unattributed, omissions
from kedge.recovery.replay import ReplayInput, inputs_of, sources_of
from kedge.recovery.resolve import resolve
from kedge.support.display import Report, Value, count
from kedge.turns.kernel import Kernel

KEYS_EXAMINED_MAX = 2_000
SPACES_LISTED_MAX = 1_000
TURNS_A_PAGE = 1_000
EXAMPLES = 8  # of each store
_TURNS_LOOKED_AT = 1_000  # for later corrections, the newest
_KINDS = ("vanish", "fall back", "reappear", "unchanged")


class StoreEffect(Value, frozen=True):
    """What a rollback does to one space of a store. The key counts cover the keys examined only."""

    store: str
    space: str
    writes: int
    keys_vanish: int
    keys_fall_back: int
    keys_reappear: int
    keys_unchanged: int


class StoreSum(Value, frozen=True):
    """What a rollback does to a store: how many writes it hides, in how many spaces."""

    store: str
    spaces: int
    writes: int


class Fallback(Value, frozen=True):
    """A key whose head changes: from one seq to an earlier one, or to nothing (0)."""

    store: str
    space: str
    key: str
    from_seq: int
    to_seq: int
    to_at: float | None
    stale: bool


class Kept(Value, frozen=True):
    """A key that the rollback leaves as it is: somebody from outside wrote it after the deployment did."""

    store: str
    space: str
    key: str
    seq: int
    at: float
    person: str | None


class RollbackPlan(Report, frozen=True):
    """A dry run. `keys_examined` of `keys_total` keys were examined one by one; writes are counted exactly.

    `stores`, `agents` and all totals are of the whole rollback; `effects` are its first 1,000 spaces. `sessions`,
    `replay_inputs` and `sources_inside` are those of one page of `turns_examined` turns, in the order of their first
    writes: `plan(name, after=next_turn)` lists those of the turns that follow. `next_turn` is None on the last page.
    An input that turns of several pages used is on each.

    `unsearchable` counts the documents that stay but that no search will find: their vectors vanish, and they have none
    in the embedding space that readers fall back to. Examples are "collection/id".
    `reconciles` lists the external systems that will follow, with the artifacts; `absent` those of them without a
    reconciler in this process. `pins` says by artifact what it falls back to, `changed` what it is now inside the
    deployment. `kept` are examples of keys that stay, because a source write came later: a person's correction.
    `unattributed` are derived writes that stay, by turns that saw the deployment and do not carry it; of
    `unknown_turns`, which an older Kedge recorded, it is not known what they saw.
    Recorded reads from before `causes_from` (a time, at `causes_from_seq`) were pruned: what influenced a turn is known
    from there on. Turns of deployments that can be rolled back keep theirs. None: nothing was pruned.
    `targets` says of artifacts that come back and lie outside the database: "there", "gone", "not looked at: why".
    `derived` says of those that go with it, and of independent ones that stay, from whose state of the hidden ones
    they were derived (`deploy(derived_from=…)`).
    """

    deployment: str
    status: Status
    epoch: int
    goes_with_it: tuple[str, ...]
    writes_total: int
    effects: tuple[StoreEffect, ...]
    examples: tuple[Fallback, ...]
    keys_total: int
    keys_examined: int
    stale_keys: int
    sessions: tuple[str, ...]
    agents: tuple[str, ...]
    replay_inputs: tuple[ReplayInput, ...]
    sources_inside: tuple[str, ...]
    pins: dict[str, str]
    unsearchable: int = 0
    unsearchable_examples: tuple[str, ...] = ()
    reconciles: dict[str, list[str]] = msgspec.field(default_factory=dict)
    absent: tuple[str, ...] = ()
    unattributed: tuple[Unattributed, ...] = ()
    unattributed_complete: bool = True
    unknown_turns: int = 0
    changed: dict[str, str] = msgspec.field(default_factory=dict)
    kept: tuple[Kept, ...] = ()
    targets: dict[str, str] = msgspec.field(default_factory=dict)
    stores: tuple[StoreSum, ...] = ()
    sessions_total: int = 0
    turns_total: int = 0
    turns_examined: int = 0
    next_turn: int | None = None
    derived: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    causes_from_seq: int = 0
    causes_from: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the listings of this page are all there is."""
        return self.turns_examined == self.turns_total

    def __str__(self) -> str:
        """Return the verdict."""
        gone = ", ".join((self.deployment, *self.goes_with_it))
        least = "" if self.is_whole else "at least "
        inputs = f"{least}{count(len(self.replay_inputs), 'input')} to replay"
        hidden = f"{count(self.writes_total, 'write')} to {count(self.keys_total, 'key')}"
        return f"{gone}: a rollback would hide {hidden}; {inputs}"


def plan(kernel: Kernel, name: str, after: int = 0) -> RollbackPlan:
    """Return what rolling back a deployment will hide and restore, whom it touches, and what will need replay.

    Its listings are of the turns after one, a page of them.
    """
    first = as_integer("after", after, "the number of a turn, as `next_turn` gives it", least=0)
    record = kernel.backend.control.load()
    deployment = kernel.find(record, name, "plan a rollback of")
    if deployment.number in record.rolled_back:
        raise transitions.illegal(name, Status.ROLLED_BACK, "plan a rollback of")
    then = transitions.roll_back(record, deployment, now=deployment.since, by=deployment.by)
    gone = then.rolled_back - record.rolled_back
    impact, provenance = kernel.backend.impact, kernel.backend.provenance
    lineages = impact.lineages_with(gone, record.rolled_back | record.purged)
    stores, counts = impact.totals(lineages), impact.count_writes(lineages, SPACES_LISTED_MAX)
    keys = impact.affected_keys(lineages, KEYS_EXAMINED_MAX)
    total = len(keys) if len(keys) < KEYS_EXAMINED_MAX else impact.count_affected_keys(lineages)
    before_view, after_view = _views(record, then, deployment.number)
    pairs = impact.head_pairs(before_view, after_view, keys)
    changes = _changes(kernel, keys, pairs)
    tally = _tally(keys, pairs)
    reach = provenance.reach(lineages)
    turns = provenance.influenced_turns(lineages, first, TURNS_A_PAGE)
    inside = sources_of(kernel, turns)
    uncovered = embeddings.uncovered(kernel, after_view, lineages)
    inputs, _ = deleted_inputs.split(kernel, then, inputs_of(kernel, turns, inside, uncovered))
    reconciles = _reconciles(kernel, record, then)
    left = omissions(kernel, record, deployment.number)
    pins, changed, targets = _pins(kernel, record, before_view, after_view, gone)
    pruned = kernel.backend.pruning.pruned().reads
    lost = [f"{collection.name}/{row.name}" for collection, row in uncovered if not row.covering]
    return RollbackPlan(
        deployment=name,
        status=record.status(deployment),
        epoch=record.epoch,
        goes_with_it=tuple(sorted(kernel.names(gone - {deployment.number}))),
        writes_total=sum(store.writes for store in stores),
        effects=tuple(StoreEffect(c.store, c.space, c.total, *tally[c.store, c.space]) for c in counts),
        examples=tuple(_examples(changes)),
        keys_total=total,
        keys_examined=len(keys),
        stale_keys=sum(change.stale for change in changes),
        sessions=tuple(sorted({turn.session for turn in turns if turn.session is not None})),
        agents=reach.agents,
        replay_inputs=tuple(inputs),
        sources_inside=tuple(source.key.label for source in inside),
        pins=pins,
        unsearchable=len(lost),
        unsearchable_examples=tuple(lost[:EXAMPLES]),
        reconciles=reconciles,
        absent=tuple(each for each in reconciles if each not in kernel.reconcilers),
        unattributed=left.writes,
        unattributed_complete=left.complete,
        unknown_turns=left.unknown_turns,
        changed=changed,
        targets=resolve(kernel, targets),
        kept=tuple(_kept(kernel, after_view, lineages)),
        stores=tuple(StoreSum(store.store, store.spaces, store.writes) for store in stores),
        sessions_total=reach.sessions,
        turns_total=reach.turns,
        turns_examined=len(turns),
        next_turn=turns[-1].turn if len(turns) == TURNS_A_PAGE else None,
        derived=derived_among(kernel, record, gone),
        causes_from_seq=pruned,
        causes_from=kernel.backend.control.time_of(pruned) if pruned else None,
    )


def fallbacks(kernel: Kernel, name: str) -> tuple[dict[str, str], dict[str, Artifact]]:
    """Return by artifact key what a rollback falls back to: in words, and as it is where its content is there."""
    record = kernel.backend.control.load()
    deployment = kernel.find(record, name, "plan a rollback of")
    then = transitions.roll_back(record, deployment, now=deployment.since, by=deployment.by)
    before, after = _views(record, then, deployment.number)
    pins, _, targets = _pins(kernel, record, before, after, then.rolled_back - record.rolled_back)
    return pins, targets


def _reconciles(kernel: Kernel, record: ControlRecord, after: ControlRecord) -> dict[str, list[str]]:
    """Return which external systems will follow, of those declared and those that this process would declare."""
    here = {name: reconciler.artifacts for name, reconciler in kernel.reconcilers.items()}
    return moved(record, msgspec.structs.replace(after, reconcilers=after.reconcilers | here))


def _views(record: ControlRecord, after: ControlRecord, number: int) -> tuple[View, View]:
    inside = record.live | record.closure({number}) | after.dependants(number) & record.revocable
    return (
        View(record.epoch, inside, record.settled),
        View(record.epoch, inside & after.revocable, record.settled),
    )


def _tally(
    keys: list[Key], pairs: list[tuple[Head | None, Head | None]]
) -> defaultdict[tuple[str, str], tuple[int, ...]]:
    """Return by space how many keys vanish, fall back, reappear and do not change."""
    kinds: dict[tuple[str, str], Counter[str]] = {}
    for key, (before, after) in zip(keys, pairs, strict=True):
        kinds.setdefault((key.store, key.space), Counter())[_kind(before, after)] += 1
    found = {place: tuple(of[kind] for kind in _KINDS) for place, of in kinds.items()}
    return defaultdict(lambda: (0,) * len(_KINDS), found)


def _kind(before: Head | None, after: Head | None) -> str:
    present_before = before is not None and not before.deleted
    present_after = after is not None and not after.deleted
    if (before is None) == (after is None) and (before is None or after is None or before.seq == after.seq):
        return "unchanged"
    if present_before:
        return "fall back" if present_after else "vanish"
    return "reappear" if present_after else "unchanged"


def _changes(kernel: Kernel, keys: list[Key], pairs: list[tuple[Head | None, Head | None]]) -> list[Fallback]:
    now = kernel.backend.clock.now()
    changes = []
    for key, (before, after) in zip(keys, pairs, strict=True):
        if _kind(before, after) == "unchanged":
            continue
        present = after is not None and not after.deleted
        stale = present and after is not None and after.fresh_for is not None and now > after.at + after.fresh_for
        changes.append(
            Fallback(
                store=key.store,
                space=key.space,
                key=key.name,
                from_seq=0 if before is None else before.seq,
                to_seq=after.seq if present and after is not None else 0,
                to_at=after.at if present and after is not None else None,
                stale=stale,
            )
        )
    return sorted(changes, key=lambda change: (store_order(change.store), change.space, change.key))


def _examples(changes: list[Fallback]) -> list[Fallback]:
    """Return the first few changes of each store."""
    by_store: dict[str, list[Fallback]] = {}
    for change in changes:
        by_store.setdefault(change.store, []).append(change)
    return [change for of_store in by_store.values() for change in of_store[:EXAMPLES]]


def _pins(
    kernel: Kernel, record: ControlRecord, before: View, after: View, gone: frozenset[int]
) -> tuple[dict[str, str], dict[str, str], dict[str, Artifact]]:
    """Return the artifact keys that change: what each falls back to, in words and as it is, and what each is now."""
    keys = sorted({key for number in gone & record.by_number.keys() for key in record.by_number[number].artifacts})
    pins, changed, targets = dict[str, str](), dict[str, str](), dict[str, Artifact]()
    pairs = kernel.backend.impact.head_pairs(before, after, [Key("artifacts", "", key) for key in keys])
    for key, (now, head) in zip(keys, pairs, strict=True):
        if now is not None and now.payload is not None:
            changed[key] = _shown(now)
        if head is None or head.deleted:
            pins[key] = "nothing: it was new"
        else:
            (owner,) = kernel.names({max(head.lineage)}) if head.lineage else ("the settled state",)
            if head.payload is not None:
                targets[key] = unpack(head.payload)
            pins[key] = f"{owner}'s {key.rpartition('/')[2]}: {_shown(head)}"
    return pins, changed, targets


def _shown(head: Head) -> str:
    return "purged" if head.payload is None else label(unpack(head.payload))


def _kept(kernel: Kernel, after: View, lineages: list[int]) -> list[Kept]:
    """Return examples of source writes that came after those of influenced turns, and stay."""
    newest = kernel.backend.provenance.newest_influenced(lineages, _TURNS_LOOKED_AT)
    found = kernel.backend.provenance.corrections(newest, EXAMPLES) if newest else []
    pairs = kernel.backend.impact.head_pairs(after, after, [source.key for source in found])
    return [
        Kept(source.key.store, source.key.space, source.key.name, source.seq, source.at, source.person)
        for source, (_, head) in zip(found, pairs, strict=True)
        if head is not None and head.seq == source.seq
    ]
