"""Evaluation of a helpdesk drill: metrics, checks and the report."""

import sys
from collections import Counter
from collections.abc import Iterable

import msgspec

from kedge.drill.content import COUNT, differ
from kedge.drill.helpdesk import DAY_2, DAY_3, RELEASE, WEIGHT, Story
from kedge.drill.release import release_artifacts
from kedge.drill.results import Check, Contamination, HelpdeskReport, Proof, Quality, StoreOutcome
from kedge.drill.reviewer_process import REVIEWERS
from kedge.drill.twins import prove_bookkeeping, prove_clean, prove_stopped

_FELL_BY_AT_LEAST = 0.15
_NOISE = 0.1
_STORES = ("artifacts", "documents", "memory", "vectors", "context")


def report_of(story: Story, *, seconds: float) -> HelpdeskReport:
    """Return the report of a finished drill."""
    setting, undone, redone = story.setting, story.undone, story.redone
    stopped = prove_stopped(undone.after, story.stopped)
    clean = prove_clean(redone.after, story.clean, story.trace, redone.questions)
    quality = _quality(story)
    found = undone.report.indicators
    days = [tasks for sessions in setting.days.values() for tasks in sessions]
    return HelpdeskReport(
        documents=len(setting.documents),
        sessions=len(days),
        canary_sessions=len(story.launch.canary),
        questions=sum(len(tasks) for tasks in days),
        turns=len(story.trace.turns),
        processes=1 + REVIEWERS,
        threads=setting.threads,
        release=RELEASE,
        weight=WEIGHT,
        python=sys.version.split()[0],
        seconds=round(seconds, 3),
        quality=quality,
        contamination=_contamination(story),
        stores=_stores(story),
        plan_seconds=undone.plan_seconds,
        rollback_commit_seconds=(found and found.rollback_commit_seconds) or 0.0,
        rollback_completion_seconds=(found and found.rollback_completion_seconds) or 0.0,
        rollback_verdict=undone.report.verdict,
        indicators={}
        if found is None
        else {k: v for k, v in msgspec.structs.asdict(found).items() if k not in {"leaks", "diverging"}},
        replayed=len(redone.report.replayed),
        replay_seconds=redone.seconds,
        stopped_twin=stopped,
        clean_twin=clean,
        checks=[
            *_checks_of_canary(story, quality),
            *_checks_of_rollback(story, stopped),
            *_checks_of_replay(story, clean, quality),
        ],
    )


def _quality(story: Story) -> list[Quality]:
    """Return the measured qualities, with the twin's quality for the same questions."""
    before, canary, others, replayed, after = story.quality
    both_days = story.setting.of(DAY_2, DAY_3)
    inside = story.clean.right([tasks for tasks in both_days if tasks[0].session in story.launch.canary])
    outside = story.clean.right([tasks for tasks in both_days if tasks[0].session not in story.launch.canary])
    return [
        before,
        msgspec.structs.replace(canary, right_in_twin=inside),
        msgspec.structs.replace(others, right_in_twin=outside),
        msgspec.structs.replace(replayed, right_in_twin=inside),
        after,
    ]


def _checks_of_canary(story: Story, quality: list[Quality]) -> Iterable[Check]:
    canary = quality[1]
    yield Check(
        "quality_fell",
        "The release answers worse than the baseline",
        canary.share <= (canary.share_in_twin or 0.0) - _FELL_BY_AT_LEAST,
        f"{canary.share:.0%} right in the canary, {canary.share_in_twin:.0%} for the same questions without it",
    )
    spread = [found for found in _contamination(story) if not found.in_release]
    stores = Counter(place.store for _, place, version in story.trace.written() if version.tainted)
    yield Check(
        "contamination_spread",
        "Agents outside the release spread its influence to memory, vectors and shared facts",
        {"librarian", "reviewer"} <= {found.agent for found in spread}
        and {"memory", "vectors", "context"} <= {*stores},
        f"{sum(f.writes for f in spread)} contaminated writes by {', '.join(sorted(f.agent for f in spread))}",
    )
    surprises = [*story.trace.surprises, *story.stopped.surprises, *story.clean.surprises]
    checked = story.trace.reads_checked + story.stopped.trace.reads_checked + story.clean.trace.reads_checked
    yield Check(
        "every_read_right",
        "Every read returned the expected value; no read outside the canary returned its writes",
        not surprises,
        f"{checked} values checked against the drill's own trace, {len(surprises)} differ"
        + (f"; the first: {surprises[0]}" if surprises else ""),
    )


def _checks_of_rollback(story: Story, stopped: Proof) -> Iterable[Check]:
    undone, plan = story.undone, story.undone.plan
    counted = Counter((p.store, p.space) for _, p, version in story.trace.written() if version.tainted)
    counted["artifacts", ""] += len(release_artifacts())
    planned = {(effect.store, effect.space): effect.writes for effect in plan.effects}
    wrong = sorted(f"{s}:{n}" for s, n in planned.keys() | counted.keys() if planned.get((s, n), 0) != counted[s, n])
    yield Check(
        "plan_exact",
        "The plan lists exactly the contaminated writes, store by store",
        not wrong and plan.writes_total == counted.total(),
        f"{plan.writes_total} planned, {counted.total()} contaminated"
        + "".join(f"; {space} is wrong" for space in wrong[:5]),
    )
    yield Check(
        "rollback_verified",
        "The rollback was verified in the stores",
        undone.report.ok,
        undone.report.verdict,
    )
    own = frozenset(place for place in undone.outside if place.store == "memory" and place.space in story.launch.canary)
    own |= frozenset(place for place in undone.after if place.store == "memory" and place.space in story.launch.canary)
    moved = differ(undone.outside, undone.after, leave_out=own)
    yield Check(
        "others_undisturbed",
        "No change was visible outside the canary",
        moved.count == 0,
        f"{moved.compared} keys compared before and after, {moved.count} changed",
    )
    yield from _checks_of_processes(story)
    yield _sources_survive(story)
    correction = next((v for p, v in undone.after.items() if p.name == story.launch.corrected), None)
    yield Check(
        "correction_stands",
        "A person's correction of a key that the release had overwritten is kept",
        isinstance(correction, dict) and "editor" in correction,
        f"context {story.launch.corrected}",
    )
    bookkeeping = prove_bookkeeping(undone.after, undone.expected)
    yield _equal("bookkeeping", "The visible content equals the drill's own trace", bookkeeping)
    yield _equal(
        "counterfactual_stopped",
        "Counterfactual law: the visible content equals a twin whose turns stop at their first influenced read",
        stopped,
    )


def _checks_of_processes(story: Story) -> Iterable[Check]:
    undone = story.undone
    yield Check(
        "late_writer_stopped",
        "An influenced turn in another process was stopped at its next write",
        undone.late_writer_stopped_by == "RolledBack",
        f"it raised {undone.late_writer_stopped_by or 'no error'}",
    )
    yield Check(
        "bystander_went_on",
        "An open turn that the release had not influenced continued without errors",
        undone.outsider_went_on,
        "it read its conversation before and after",
    )
    yield Check(
        "processes_agree",
        "A second process reads identical values",
        undone.processes_agree,
        f"digests of {len(undone.after)} values compared",
    )
    yield Check(
        "cache_forgot",
        "Results cached by the release are no longer served",
        undone.cache_before is not None and undone.cache_after is None,
        "a question's vector, by the release's embedder",
    )
    yield Check(
        "past_stable",
        "The snapshot taken before the release is unchanged",
        undone.past_is_stable,
        f"at before:{RELEASE}",
    )


def _sources_survive(story: Story) -> Check:
    inside = {tasks[0].session for tasks in story.setting.of(DAY_2, DAY_3)} & story.launch.canary
    wanted = [
        (place, version.value)
        for label, place, version in story.trace.written()
        if version.source and label.partition("-")[0] != "d4" and _session_of(label) in inside
    ]
    said = Counter(
        (place.space, str(value[1])) for place, value in story.undone.after.items() if place.store == "memory"
    )
    lost = [
        place
        for place, value in wanted
        if (said[place.space, value[1]] == 0 if place.store == "memory" else story.undone.after.get(place) != value)
    ]
    return Check(
        "sources_survive",
        "No user message or attachment inside the canary is lost",
        not lost and bool(wanted),
        f"{len(wanted)} messages and attachments of users in {len(inside)} sessions, {len(lost)} lost",
    )


def _checks_of_replay(story: Story, clean: Proof, quality: list[Quality]) -> Iterable[Check]:
    redone = story.redone
    before, _, _, replayed, after = quality
    asked = {
        task.name
        for tasks in story.setting.of(DAY_2, DAY_3)
        if tasks[0].session in story.launch.canary
        for task in tasks
    }
    yield Check(
        "replay_complete",
        "Every question inside the canary was processed again once; a second replay has nothing to do",
        redone.questions == asked
        and not redone.report.failed
        and redone.report.pending == 0
        and not redone.again.replayed
        and redone.again.pending == 0,
        f"{len(redone.report.replayed)} inputs, {len(redone.questions)} of {len(asked)} questions answered again, "
        f"{len(redone.had_an_answer)} kept their answer, {len(redone.report.failed)} failed, "
        f"{redone.again.pending} pending",
    )
    yield _equal(
        "counterfactual_replayed",
        "Counterfactual law: after the replay, the visible content equals a twin without the release",
        clean,
    )
    yield Check(
        "quality_recovered",
        "Answers are as good as before, and as good as without the release",
        replayed.share >= (replayed.share_in_twin or 0.0) - _NOISE and after.share >= before.share - _NOISE,
        f"replayed {replayed.share:.0%} ({replayed.share_in_twin:.0%} in the twin), "
        f"the day after {after.share:.0%} ({before.share:.0%} before)",
    )
    yield Check(
        "fsck_clean",
        "Every invariant on disk holds",
        not story.fsck,
        "; ".join(story.fsck[:3]) or "no findings",
    )


def _contamination(story: Story) -> list[Contamination]:
    turns = Counter(turn.agent for turn in story.trace.turns.values() if turn.influenced_at is not None)
    writes = Counter(story.trace.turns[label].agent for label, _, v in story.trace.written() if v.tainted)
    part = {key.partition("/")[0] for key in release_artifacts()} | {"pipeline"}
    return [Contamination(agent, agent in part, turns[agent], writes[agent]) for agent in sorted(turns)]


def _stores(story: Story) -> list[StoreOutcome]:
    inside, after = story.undone.inside, story.undone.after
    moved = differ(inside, after)
    tainted = Counter(place.store for _, place, version in story.trace.written() if version.tainted)
    tainted["artifacts"] += len(release_artifacts())
    gone, back, fell = (
        Counter(place.store for place in places if place.name != COUNT)
        for places in (moved.only_left, moved.only_right, moved.changed)
    )
    stayed = Counter(p.store for p in inside if p.name != COUNT and p in after and after[p] == inside[p])
    return [StoreOutcome(s, gone[s], fell[s], back[s], stayed[s], tainted[s]) for s in _STORES]


def _equal(name: str, claim: str, proof: Proof) -> Check:
    detail = f"{proof.compared} values compared, {proof.differ} differ"
    if proof.left_out:
        detail += (
            f"; {proof.left_out} more are outside the law, because in the twin their sessions read values that were "
            f"hidden here ({proof.left_out_equal} of them are equal anyway)"
        )
    return Check(name, claim, proof.differ == 0 and proof.compared > 0, "; ".join([detail, *proof.examples[:3]]))


def _session_of(label: str) -> str:
    return label.partition("/")[0].rpartition("-")[0]


__all__ = ["report_of"]
