"""Verification after a rollback: indicators measured by reading the stores and comparing with all writes."""

import msgspec

from kedge.model.control import ControlRecord
from kedge.model.fleet import Held
from kedge.model.visibility import View
from kedge.model.writes import Head, Key, memory_name
from kedge.ports.control import EpochMoved
from kedge.recovery.replay import count_pending
from kedge.support.display import Value
from kedge.turns import session_assignment
from kedge.turns.kernel import Kernel

SAMPLE = 400


class Indicators(Value, frozen=True):
    """The indicators of DESIGN §6. Ratios cover the samples taken; None: nothing to measure (no members, no rows).

    `leaks` lists keys where readers get a hidden write, `diverging` hidden writes that members still hold.
    `replay_pending_total` counts the inputs of the first 1,000 hidden turns: there may be more where it is not
    `replay_pending_complete`.
    """

    rollback_commit_seconds: float | None
    rollback_completion_seconds: float | None
    consensus_latency_seconds: float | None
    vector_consistency_ratio: float | None
    memory_divergence_ratio: float | None
    context_divergence_ratio: float | None
    hidden_writes_total: int
    replay_pending_total: int
    keys_checked: int
    leaks: tuple[str, ...]
    diverging: tuple[str, ...] = ()
    replay_pending_complete: bool = True

    @property
    def ok(self) -> bool:
        """Whether no measurement found a fault."""
        return (
            not self.leaks
            and self.vector_consistency_ratio in {None, 1.0}
            and self.memory_divergence_ratio in {None, 0.0}
            and self.context_divergence_ratio in {None, 0.0}
        )


def verify(
    kernel: Kernel,
    *,
    commit_seconds: float | None = None,
    completion_seconds: float | None = None,
) -> Indicators:
    """Compare what readers get with what all writes to a key say they should get, on samples of every store."""
    while True:
        try:
            return _verify(kernel, commit_seconds, completion_seconds)
        except EpochMoved:
            continue


def _verify(kernel: Kernel, commit_seconds: float | None, completion_seconds: float | None) -> Indicators:
    record = kernel.backend.control.load()
    impact, verification = kernel.backend.impact, kernel.backend.verification
    view = View(record.epoch, record.live, record.settled)
    hidden = impact.lineages_with(record.rolled_back, record.purged)
    suspects = impact.affected_keys(hidden, SAMPLE)
    spread = verification.sample_keys(kernel.backend.journal.stores(), SAMPLE)
    keys = list(dict.fromkeys([*suspects, *spread]))
    wrong: dict[str, int] = {}
    seen: dict[str, int] = {}
    leaks = []
    for found in verification.check_keys(view, keys):
        key = found.key
        seen[key.store] = seen.get(key.store, 0) + 1
        if found.seq != found.truth:
            wrong[key.store] = wrong.get(key.store, 0) + 1
        if found.lineage & (record.rolled_back | record.purged):
            leaks.append(key.label)
    diverging = _compare_holdings(kernel, record, wrong, seen)
    waiting, complete = count_pending(kernel)
    agree, rows = verification.vector_agreement(view, SAMPLE)
    return Indicators(
        rollback_commit_seconds=commit_seconds,
        rollback_completion_seconds=completion_seconds,
        consensus_latency_seconds=None,
        vector_consistency_ratio=agree / rows if rows else None,
        memory_divergence_ratio=_ratio(wrong, seen, "memory"),
        context_divergence_ratio=_ratio(wrong, seen, "context"),
        hidden_writes_total=sum(total.writes for total in impact.totals(hidden)),
        replay_pending_total=waiting,
        replay_pending_complete=complete,
        keys_checked=len(keys),
        leaks=tuple(leaks),
        diverging=tuple(diverging),
    )


def _compare_holdings(kernel: Kernel, record: ControlRecord, wrong: dict[str, int], seen: dict[str, int]) -> list[str]:
    """Count what members at this epoch hold, and list what none of their views shows."""
    diverging = []
    for member in kernel.backend.fleet.members():
        if member.expired or member.epoch < record.epoch:
            continue
        for held in member.held:
            seen[held.store] = seen.get(held.store, 0) + 1
            if not _is_visible(kernel, record, held):
                wrong[held.store] = wrong.get(held.store, 0) + 1
                diverging.append(f"{member.name}: {held.store} {held.key or held.session} (seq {held.seq})")
    return diverging


def _is_visible(kernel: Kernel, record: ControlRecord, held: Held) -> bool:
    """Return whether a held write is visible to its reader, as of its own seq: later writes do not count."""
    base = record.live if held.session is None else session_assignment.preview(kernel, record, held.session)
    view = View(record.epoch, record.seen_by(base | record.externals), record.settled, upto=held.seq)
    journal = kernel.backend.journal
    if held.store == "context":
        head = journal.head(view, Key("context", "", held.key))
    else:
        space = held.session or ""
        head = journal.head(view, Key("memory", space, memory_name(held.seq, held.seq)))
        if head is None:  # a replayed message is named after the rank of its input
            heads = journal.history(msgspec.structs.replace(view, upto=None), space, None).heads
            head = next((found for found in heads if found.seq == held.seq), None)
    return _seq(head) == held.seq


def _seq(head: Head | None) -> int | None:
    return None if head is None else head.seq


def _ratio(wrong: dict[str, int], seen: dict[str, int], store: str) -> float | None:
    return wrong.get(store, 0) / seen[store] if seen.get(store) else None
