"""No anonymous derivation: every turn is somebody's, and what a deployment's turns wrote without it is counted."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kedge
from kedge import AttributionWarning, Kedge, Unattributed
from kedge.bulk import Rows
from kedge.recovery import attribution
from kedge.turns.name_check import NameCheck
from tests.databases import alter
from tests.laws.scene import BAD, clerk, helper, release

OPENED: dict[str, dict[str, Any]] = {
    "alone": {},
    "in a session": {"session": "s"},
    "in a deployment": {"deployment": BAD},
    "from untrusted headers": {"parent": {}, "peer": "crm"},
}


@pytest.mark.parametrize("how", OPENED)
def test_a_turn_of_nobody_is_refused_before_anything_happens(bad: Kedge, how: str) -> None:
    before = bad.epoch
    with pytest.raises(kedge.Misuse, match=r"pass agent='…'.* or person='…'"):
        bad.turn(**OPENED[how])
    assert bad.epoch == before
    assert "external:crm" not in [d.name for d in bad.deployments()]


def test_a_turn_of_nobody_is_refused_with_a_caller_too(bad: Kedge) -> None:
    with helper(bad) as caller, pytest.raises(kedge.Misuse, match="agent="):
        bad.turn(parent=caller.headers())


def test_whose_name_has_a_slip_is_warned_about_once(bad: Kedge) -> None:
    with pytest.warns(AttributionWarning, match=r"'Helper' has no artifacts.*'helper'"):
        bad.turn("s", agent="Helper").close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bad.turn("s", agent="Helper").close()
        helper(bad).close()
        clerk(bad).close()


class Source:
    """Three rows to load."""

    name, rows, dim, metric = "rows", 3, 3, None

    def batches(self, size: int) -> Iterator[Rows]:
        """Return them."""
        assert size
        yield Rows(["a", "b", "c"], np.eye(3, dtype=np.float32), None, None)


def test_names_that_kedge_chose_are_not_warned_about(k: Kedge) -> None:
    k.deploy("kb-v2", {"loaders/prompt": "x", "kb-v1/prompt": "x", "share/prompt": "x", "shared/embedder": {"dim": 3}})
    k.promote("kb-v2")
    rows = Source()
    with clerk(k) as turn:
        turn.documents("kb").put("d", "text")
    with warnings.catch_warnings():
        warnings.simplefilter("error", AttributionWarning)
        k.load("kb", rows)
        k.load("kb", rows, deployment="kb-v2", again=True)
        k.backfill(None, lambda texts: [[1.0, 0.0, 0.0] for _ in texts], collection="kb", corpus="documents")
    with pytest.warns(AttributionWarning, match="'loader' has no artifacts.*'loaders'") as caught:
        k.load("kb", rows, agent="loader", again=True)
    assert caught[0].filename == __file__


def test_a_plan_counts_loads_and_backfills_and_does_not_warn_about_them(k: Kedge) -> None:
    release(k, BAD)
    with clerk(k) as turn:
        turn.documents("kb").put("d", "text")
    k.load("kb", Source())
    k.backfill(None, lambda texts: [[1.0, 0.0, 0.0] for _ in texts], collection="kb", corpus="documents")
    assert {(one.agent, one.writes) for one in k.plan(BAD).unattributed} == {("loader", 3), ("shared", 1)}
    assert "WARNING" not in k.rollback(BAD).verdict


def test_a_replay_does_not_warn_about_a_name_of_before(k: Kedge) -> None:
    release(k, BAD, "shared/policy", "helper/prompt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttributionWarning)
        slip = k.turn("s", agent="Helper")
    with slip:
        slip.memory.append("user", "Hello")
        slip.artifacts.get("shared/policy")
        slip.memory.append("assistant", "Hello")
    k.rollback(BAD)
    k._kernel.name_check = NameCheck()  # as in another process
    with warnings.catch_warnings():
        warnings.simplefilter("error", AttributionWarning)
        report = k.replay(lambda *_: None)
    assert (len(report.replayed), report.failed) == (1, ())


def slipped(k: Kedge) -> None:
    """Let an agent with a slip in its name, one without artifacts and the release's own each write twice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttributionWarning)
        turns = [k.turn("t", agent="Helper"), clerk(k, "t"), helper(k, "t")]
    for turn in turns:
        with turn:
            turn.context.put(f"{turn.agent}/1", 1)
            turn.memory.append("assistant", "said")
            turn.memory.append("user", "a user's words stay anyway")


def test_the_status_names_slips_until_what_they_wrote_is_settled(bad: Kedge) -> None:
    assert bad.status().slips == ()
    slipped(bad)
    assert bad.status().slips == tuple(one for one in LEFT if one.agent == "Helper")
    bad.rollback(BAD)
    assert bad.status().slips == (), "the release is gone, and what the slip wrote stays in any case"
    bad.reinstate(BAD)
    assert len(bad.status().slips) == 2
    bad.settle(BAD)
    assert bad.status().slips == ()


LEFT = (
    Unattributed("Helper", "context", 1, has_artifacts=False, resembles="helper"),
    Unattributed("Helper", "memory", 1, has_artifacts=False, resembles="helper"),
    Unattributed("clerk", "context", 1, has_artifacts=False),
    Unattributed("clerk", "memory", 1, has_artifacts=False),
)


def test_what_a_deployment_s_turns_wrote_without_it_is_in_the_plan_and_in_the_verdict(bad: Kedge) -> None:
    slipped(bad)
    plan = bad.plan(BAD)
    assert plan.unattributed == LEFT
    assert (plan.unattributed_complete, plan.unknown_turns) == (True, 0)
    report = bad.rollback(BAD)
    assert report.unattributed == LEFT
    assert report.ok, "it is a warning"
    assert "WARNING" in report.verdict
    assert "2 by 'Helper' (did you mean 'helper'?)" in report.verdict
    assert "2 by 'clerk'" in report.verdict


def test_an_artifact_pinned_under_the_slip_afterwards_does_not_silence_the_warning(bad: Kedge) -> None:
    slipped(bad)
    release(bad, "fix", "Helper/prompt", live=False)
    assert bad.plan(BAD).unattributed == LEFT
    bad.promote("fix")
    with bad.turn("later", agent="Helper") as turn:
        turn.artifacts.get("Helper/prompt")
        turn.context.put("Helper/2", 2)
    assert bad.plan(BAD).unattributed == (*LEFT, Unattributed("Helper", "context", 1, has_artifacts=True))
    assert "2 by 'Helper' (did you mean 'helper'?)" in bad.rollback(BAD).verdict


def test_an_agent_that_a_later_settled_release_brought_is_not_warned_about(bad: Kedge) -> None:
    release(bad, "newcomer", "novice/prompt", independent=True)
    bad.settle("newcomer")
    release(bad, "newest", "helper/tone", live=False)
    with bad.turn("later", agent="novice") as turn:
        turn.artifacts.get("novice/prompt")
        turn.context.put("novice/1", 1)
    assert bad.plan(BAD).unattributed == (Unattributed("novice", "context", 1, has_artifacts=True),)


def test_what_an_agent_with_artifacts_wrote_before_it_read_the_deployment_is_counted_only(k: Kedge) -> None:
    release(k, BAD, "shared/policy")
    with helper(k) as turn:
        turn.context.put("blind", 1)
        turn.artifacts.get("shared/policy")
        turn.context.put("informed", 2)
    assert k.plan(BAD).unattributed == (Unattributed("helper", "context", 1, has_artifacts=True),)
    assert "WARNING" not in k.rollback(BAD).verdict


def test_turns_that_did_not_see_it_are_not_counted(k: Kedge) -> None:
    with clerk(k, "old") as before:
        before.context.put("a", 1)
        release(k, BAD)
        before.context.put("b", 1)
        with clerk(k, "old") as same_session:
            same_session.context.put("c", 1)
    with k.turn("new", person="ada") as person:
        person.context.put("d", 1)
    assert k.plan(BAD).unattributed == ()
    with clerk(k, "new") as turn:
        turn.context.put("e", 1)
    assert [(one.agent, one.writes) for one in k.plan(BAD).unattributed] == [("clerk", 1)]


def test_a_plan_says_that_it_did_not_examine_all(bad: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribution, "WRITES_MAX", 1)
    monkeypatch.setattr(attribution, "_WRITES_MIN", 3)
    with clerk(bad) as turn:
        for n in range(5):
            turn.context.put(f"{n}", n)
    plan = bad.plan(BAD)
    assert plan.unattributed == (Unattributed("clerk", "context", 3, has_artifacts=False, complete=False),)
    assert not plan.unattributed_complete
    assert "at least 3 by 'clerk'" in bad.rollback(BAD).verdict


def test_turns_from_before_the_upgrade_are_said_to_be_unknown(bad: Kedge, place: str) -> None:
    slipped(bad)
    assert alter(place, "UPDATE turns SET seen = NULL")
    plan = bad.plan(BAD)
    assert plan.unattributed == ()
    assert plan.unknown_turns == 3
    assert bad.rollback(BAD).unknown_turns == 3
    release(bad, "later")
    assert bad.plan("later").unknown_turns == 0, "they were all before it"


# ── attribution="view" ──


@pytest.fixture
def code(k: Kedge) -> Kedge:
    """Put a code release live that every agent's turn counts as having read."""
    k.deploy(BAD, {"shared/code": "sha256:1"}, attribution="view")
    k.promote(BAD)
    return k


@pytest.mark.parametrize("session", ["s", None])
def test_every_agent_s_turn_that_sees_it_carries_it(code: Kedge, session: str | None) -> None:
    with clerk(code, session) as turn:
        assert turn.lineage == {BAD}
        turn.context.put("key", 1)
        with code.turn(agent="callee", parent=turn.headers()) as callee:
            assert callee.lineage == {BAD}
    with code.turn(session, person="ada") as person:
        assert person.lineage == set()
        person.context.put("note", 1)
    assert code.plan(BAD).unattributed == ()
    code.rollback(BAD)
    assert code.view().context.get("key") is None
    assert code.view().context.get("note") == 1
    with clerk(code, session) as turn:
        assert turn.lineage == set()


def test_only_turns_that_see_it_carry_it(k: Kedge) -> None:
    k.deploy(BAD, {"shared/code": "sha256:1"}, attribution="view")
    with clerk(k) as outside, clerk(k, "other", BAD) as inside:
        assert outside.lineage == set()
        assert inside.lineage == {BAD}


@pytest.mark.parametrize("newer", ["reads", "view"])
@pytest.mark.parametrize("settled", [False, True])
def test_a_newer_deployment_that_replaces_its_artifacts_does_not_end_it(
    code: Kedge, newer: Any, *, settled: bool
) -> None:
    code.deploy("newer", {"shared/code": "sha256:2"}, attribution=newer, independent=True)
    code.promote("newer")
    if settled:
        code.settle("newer")
    with clerk(code) as turn:
        assert turn.lineage == ({BAD} if settled else {BAD, "newer"})
        turn.context.put("key", 1)
    assert code.plan(BAD).unattributed == ()
    code.rollback(BAD)
    assert code.view().context.get("key") is None


def test_turns_carry_it_once_it_is_reinstated_over_a_newer_one(code: Kedge) -> None:
    clerk(code).close()
    code.rollback(BAD)
    release(code, "newer", "shared/code")
    with clerk(code, None) as before:
        code.reinstate(BAD)
        before.context.put("before", 1)
    with clerk(code) as its_session, clerk(code, None) as turn:
        assert its_session.lineage == {BAD}
        assert turn.lineage == {BAD, "newer"}
        turn.context.put("after", 1)
    assert code.plan(BAD).unattributed == ()
    code.rollback(BAD)
    assert code.view().context.items("") == {"before": 1}


def test_a_replaced_deployment_is_found_among_the_causes_of_a_write(code: Kedge) -> None:
    release(code, "newer", "shared/code", independent=True)
    with clerk(code) as turn:
        seq = turn.context.put("key", 1)
    provenance = code._kernel.backend.provenance
    (writer,) = provenance.writers_of([seq]).values()
    read = {s for log in provenance.reads_of([writer.turn])[writer.turn] for s in log.seqs}
    assert len(provenance.writers_of(read)) == 2, "its artifact and the newer one"


def test_its_heads_are_recorded_as_read(code: Kedge) -> None:
    with clerk(code) as turn:
        seq = turn.context.put("key", 1)
    provenance = code._kernel.backend.provenance
    (writer,) = provenance.writers_of([seq]).values()
    read = {s for log in provenance.reads_of([writer.turn])[writer.turn] for s in log.seqs}
    sources = provenance.writers_of(read)
    assert len(sources) == 1, "the artifact, which the deployment's own operation wrote"


def test_a_cached_answer_of_other_code_is_not_served(code: Kedge) -> None:
    with clerk(code) as turn:
        assert turn.cache.get_or_compute("q", lambda: "of the first") == "of the first"
    code.deploy("next", {"shared/code": "sha256:2"}, attribution="view", canary=1.0)
    with clerk(code, "new") as turn:
        assert turn.cache.get_or_compute("q", lambda: "of the next") == "of the next"


def test_it_is_recorded_for_every_status_and_wants_an_artifact(code: Kedge) -> None:
    release(code, "plain", "helper/model")
    assert {d.name: d.attribution for d in code.deployments()} == {"good": "reads", BAD: "view", "plain": "reads"}
    code.settle(BAD)
    assert code.deployment(BAD).attribution == "view"
    with clerk(code) as turn:
        assert turn.lineage == set(), "settled: nothing to carry"
    with pytest.raises(kedge.Misuse, match="a release of code pins '<agent>/code' or 'shared/code'"):
        code.deploy("none", {}, attribution="view")
    assert "none" not in [d.name for d in code.deployments()]


# ── deploying ──


def test_a_deploy_warns_about_keys_without_an_agent_and_about_strangers(k: Kedge) -> None:
    clerk(k).close()
    (loose, stranger) = k.deploy("v2", {"prompt": "x", "helpr/prompt": "x", "shared/policy": "x"}).warnings
    assert "prompt belongs to no agent" in loose
    assert "nothing is known of the agent 'helpr'" in stranger
    assert "did you mean 'helper'?" in stranger
    with clerk(k) as turn:
        turn.context.put("a", 1)
    assert k.deploy("v3", {"clerk/prompt": "x"}).warnings == (), "it had a turn"


def test_what_another_rollback_hides_is_not_said_to_stay(k: Kedge) -> None:
    for name in ("a", "b"):
        k.deploy(name, {f"{name}/prompt": name}, canary=1.0)
    with k.turn(session="s", agent="b") as turn:
        turn.context.put("fact", "hidden with b")
    assert [one.agent for one in k.plan("a").unattributed] == ["b"]
    k.rollback("b")
    assert k.plan("a").unattributed == ()
