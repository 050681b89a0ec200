"""Checks of the automatic drill: each is computed from the log and from what is visible, none from a verdict given."""

from collections import Counter
from collections.abc import Iterator

from kedge.drill.rehearsed import REQUEST, Rehearsed
from kedge.drill.results import Check
from kedge.drill.twins import prove_bookkeeping

_FELL_BY_AT_LEAST = 0.15
_NOISE = 0.1


def checks_of(found: Rehearsed) -> Iterator[Check]:
    """Yield the checks."""
    yield from _checks_of_decision(found)
    yield from _checks_of_ladder(found)
    yield from _checks_of_state(found)
    yield from _checks_of_pilots(found)
    yield from _checks_of_replay(found)
    yield Check(
        "fsck_clean", "Every invariant on disk holds", not found.fsck, "; ".join(found.fsck[:3]) or "no findings"
    )


def _checks_of_decision(found: Rehearsed) -> Iterator[Check]:
    canary, baseline = found.quality[:2]
    yield Check(
        "quality_fell",
        "The release answers worse than the baseline beside it",
        canary.questions > 0 and canary.share <= baseline.share - _FELL_BY_AT_LEAST,
        f"{canary.share:.0%} of {canary.questions} answers right in the canary, {baseline.share:.0%} of "
        f"{baseline.questions} beside it",
    )
    status = found.status
    phase = "not begun" if status is None else status.phase
    why: list[str] = [] if status is None else [*status.why]
    yield Check(
        "rolled_back",
        "The guard rolled it back by its evidence",
        phase == "rolled back" and bool(why) and why[0].startswith("e = "),
        f"{phase}: {'; '.join(map(str, why))}",
    )
    rollback = found.change("rollback")
    asked = [entry for entry in found.log if entry.kind == REQUEST]
    yield Check(
        "no_human_step",
        "Nobody decided anything: the guard made the rollback, and no person asked for anything",
        rollback is not None and rollback.by == "guard" and not asked,
        f"rolled back by {'nobody' if rollback is None else rollback.by}; {len(asked)} requests of people",
    )
    recomputed = found.recomputed
    yield Check(
        "recomputed", "Every decision follows from the log alone", recomputed.ok and recomputed.looks > 0,
        str(recomputed),
    )  # fmt: skip


def _checks_of_ladder(found: Rehearsed) -> Iterator[Check]:
    degraded, rolled_back = found.decision("tighten"), found.decision("roll_back")
    yield Check(
        "degraded_first",
        "It was degraded to supervised before it was rolled back",
        degraded is not None and rolled_back is not None and degraded.seq < rolled_back.seq
        and found.tightened is not None,
        "it never was"
        if degraded is None
        else "after {} canary and {} baseline sessions".format(*degraded.detail["sessions"]),
    )  # fmt: skip
    serving = found.serving
    yield Check(
        "level_enforced",
        "Turns of the canary had the level, and were not allowed an irreversible act",
        serving.level_seen == "supervised" and not serving.acted_while_degraded,
        f"level {serving.level_seen or 'never seen'}; {serving.acted_while_degraded} acts would have been allowed",
    )


def _checks_of_state(found: Rehearsed) -> Iterator[Check]:
    yield Check(
        "seen_by_nobody", "No session sees the release any more", not found.sees, f"{len(found.sees)} sessions see it"
    )
    interrupted = found.serving.interrupted
    ours = {place: value for place, value in found.after.items() if not interrupted(place)}
    theirs = {place: value for place, value in found.expected.items() if not interrupted(place)}
    proof = prove_bookkeeping(ours, theirs)
    text = (
        f"{proof.compared} values compared, {proof.differ} differ; {found.serving.stopped} sessions that the rollback "
        "interrupted are left out"
    )
    yield Check(
        "bookkeeping",
        "Right after the rollback, the visible content equals the drill's own trace",
        proof.differ == 0 and proof.compared > 0,
        "; ".join([text, *proof.examples[:3]]),
    )


def _checks_of_pilots(found: Rehearsed) -> Iterator[Check]:
    flips = Counter(entry.kind for entry in found.log if not entry.is_step and entry.deployment == found.release)
    asked = Counter(
        action["kind"] for entry in found.of("launch:decision") for action in entry.detail["actions"]
    )  # fmt: skip
    twice = [
        f"{kind}: {flips[name]} of {asked[kind]}"
        for kind, name in (("canary", "canary"), ("roll_back", "rollback"), ("promote", "promote"))
        if flips[name] != asked[kind]
    ]
    yield Check(
        "done_once",
        "Each action that the guard decided on was done once",
        not twice,
        "; ".join(twice) or f"{asked['canary']} weights, {asked['roll_back']} rollback",
    )
    yield Check(
        "pilots_replaced",
        "Each pilot that was killed was replaced, and the launch went on where it stood",
        not found.armed,
        f"killed at {', '.join(found.killed) or 'no step'}"
        + (f"; never reached: {', '.join(found.armed)}" if found.armed else ""),
    )


def _checks_of_replay(found: Rehearsed) -> Iterator[Check]:
    replay = found.replay
    yield Check(
        "replayed",
        "The questions inside the canary were answered again, and nothing is left to replay",
        found.pending > 0 and replay is not None and not replay.failed and found.pending_after == 0
        and not found.unanswered,
        f"{found.pending} inputs were pending, {found.pending_after} are; {len(found.unanswered)} questions have no "
        "answer",
    )  # fmt: skip
    baseline, after = found.quality[1:]
    yield Check(
        "quality_recovered",
        "The answers in the canary's sessions are as good as the baseline's now",
        after.share >= baseline.share - _NOISE,
        f"{after.share:.0%} right, {baseline.share:.0%} in the baseline's sessions",
    )


__all__ = ["checks_of"]
