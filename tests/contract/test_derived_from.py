"""A model that was trained on state rests on the deployments that the view of this state saw."""

from __future__ import annotations

import asyncio

import pytest

import kedge
import kedge.aio
from kedge import Status

MODEL = {"ranker/model": "weights"}
POSTGRES_ONE_IN = 2


@pytest.fixture(autouse=True)
def launched(k: kedge.Kedge) -> None:
    """Have a live release and a canary write what models are trained on."""
    k.deploy("live", {"clerk/prompt": "one"})
    k.promote("live")
    k.deploy("trial", {"writer/prompt": "two"}, canary=0.0)
    with k.turn(agent="clerk") as turn:
        turn.context.put("fact", "from live")


def status(k: kedge.Kedge, name: str) -> Status:
    return k.deployment(name).status


@pytest.mark.both
def test_it_goes_with_what_the_view_saw_and_comes_back_with_it(k: kedge.Kedge) -> None:
    made = k.deploy("tuned", MODEL, derived_from=k.view())
    assert made.bases == ("live",)
    assert made.declared is not None
    assert made.declared.derived_from == kedge.DerivedFrom("now", ("live",))
    k.promote("tuned")
    with k.turn(agent="ranker") as turn:
        turn.context.put("ranked", 1)
    plan = k.plan("live")
    assert (plan.goes_with_it, plan.derived) == (("tuned",), {"tuned": ("live",)})
    assert k.plan("trial").derived == {}
    k.rollback("live")
    assert status(k, "tuned") is Status.ROLLED_BACK
    assert k.view().context.items() == {}
    assert k.view().artifacts.items("ranker/") == {}
    with pytest.raises(kedge.IllegalTransition, match="rests on 'live'"):
        k.reinstate("tuned")
    k.reinstate("live")
    assert status(k, "tuned") is Status.LIVE
    assert k.view().context.items() == {"fact": "from live", "ranked": 1}


@pytest.mark.both
def test_every_kind_of_view_counts_with_what_it_saw(k: kedge.Kedge) -> None:
    seq = k.seq
    with k.turn(agent="clerk") as turn:
        turn.context.put("fact", "newer")
    k.snapshot("friday")
    with k.turn(session="s", agent="writer", deployment="trial") as turn:
        turn.memory.append("assistant", "from the trial")
        of_the_turn = turn.view()
        views = {
            "now": k.view(),
            "new session": k.new_session_view(),
            "session:s": k.view(session="s"),
            "deployment:trial": k.view(deployment="trial"),
            str(seq): k.at(seq),
            str(k.at("friday").upto): k.at("friday"),
            f"deployment:trial@{seq}": k.at(seq, deployment="trial"),
        }
        saw = {name: view.seen for name, view in views.items()}
        bases = k.deploy("of a turn", {"of-turn/model": 1}, derived_from=of_the_turn).bases
        assert bases == ("live", "trial")
    for number, (name, view) in enumerate(views.items()):
        made = k.deploy(f"tuned-{number}", {f"m{number}/model": 1}, derived_from=view)
        assert set(made.bases) == saw[name]
        assert made.declared is not None
        assert made.declared.derived_from == kedge.DerivedFrom(name, tuple(sorted(saw[name])))
    assert saw["session:s"] == saw["deployment:trial"] == {"live", "trial"}
    k.rollback("trial")
    assert {d.name for d in k.deployments() if d.status is Status.ROLLED_BACK} == {
        "trial", "of a turn", "tuned-2", "tuned-3", "tuned-6",
    }  # fmt: skip


@pytest.mark.both
def test_a_past_view_counts_with_what_it_saw_then_and_the_settled_drop_out(k: kedge.Kedge) -> None:
    before = k.at(0)
    then = k.at(k.seq)
    k.deploy("later", {"clerk/prompt": "three"})
    k.promote("later")
    assert k.deploy("old", {"old/model": 1}, derived_from=before).bases == ()
    assert k.deploy("then", {"then/model": 1}, derived_from=then).bases == ("live",)
    k.settle("live")
    assert k.deployment("then").bases == ()
    assert k.deploy("after", {"after/model": 1}, derived_from=then).bases == ()


@pytest.mark.both
def test_what_was_rolled_back_while_it_was_trained_is_refused(k: kedge.Kedge) -> None:
    view, past = k.view(), k.at(k.seq)
    assert view.context.get("fact") == "from live"
    k.rollback("live")
    for each in (view, past):
        with pytest.raises(kedge.IllegalTransition, match="derived from state of 'live', rolled back since; reinstate"):
            k.deploy("tuned", MODEL, derived_from=each)
    assert k.deploy("alone", {"alone/model": 1}, derived_from=view, independent=True).bases == ()
    assert k.deploy("fresh", {"fresh/model": 1}, derived_from=k.view()).bases == ()
    k.reinstate("live")
    assert k.deploy("tuned", MODEL, derived_from=view).bases == ("live",)
    k.rollback("live")
    k.purge("live", confirm="live")
    with pytest.raises(kedge.IllegalTransition, match="'live', purged since; train it on state without them"):
        k.deploy("late", {"late/model": 1}, derived_from=view)
    with pytest.raises(kedge.PastUnreadable, match="purged since"):
        k.deploy("late", {"late/model": 1}, derived_from=past)
    assert [d.name for d in k.deployments()][-3:] == ["alone", "fresh", "tuned"], "nothing half-done"


def test_an_independent_one_stays_and_the_plan_warns_of_it(k: kedge.Kedge) -> None:
    made = k.deploy("tuned", MODEL, derived_from=k.view(), independent=True)
    assert made.bases == ()
    plan = k.plan("live")
    assert (plan.goes_with_it, plan.derived) == ((), {"tuned": ("live",)})
    k.rollback("live")
    assert status(k, "tuned") is Status.STAGED


def test_it_overrides_what_the_view_saw(k: kedge.Kedge) -> None:
    made = k.deploy("tuned", {"writer/prompt": "better"}, derived_from=k.view(deployment="trial"), base="trial")
    assert made.bases == ("live", "trial")
    assert k.view(deployment="tuned").artifacts["writer/prompt"].value == "better"
    with pytest.raises(kedge.IllegalTransition, match="rests on 'trial', which is canary"):
        k.promote("tuned")


def test_a_peer_that_the_view_saw_counts(k: kedge.Kedge) -> None:
    with k.turn(agent="clerk", parent={}, peer="crm") as turn:
        turn.context.put("from/crm", 1)
    assert k.deploy("tuned", MODEL, derived_from=k.view()).bases == ("external:crm", "live")
    assert k.plan("external:crm").derived == {"tuned": ("external:crm",)}
    k.rollback("external:crm")
    assert status(k, "tuned") is Status.ROLLED_BACK


def test_only_a_view_of_this_database_is_one(k: kedge.Kedge, new_place: object) -> None:
    with (
        kedge.open(new_place()) as other,  # type: ignore[operator]
        pytest.raises(kedge.InvalidValue, match="a view of another database"),
    ):
        k.deploy("tuned", MODEL, derived_from=other.view())
    with k.turn(agent="clerk") as turn:
        for wrong in ("now", 7, k, turn):
            with pytest.raises(kedge.InvalidValue, match=r"invalid derived_from .*must be a view"):
                k.deploy("tuned", MODEL, derived_from=wrong)  # type: ignore[arg-type]
    assert [d.name for d in k.deployments()] == ["base", "live", "trial"]


def test_a_turns_view_counts_until_the_turn_is_stopped(k: kedge.Kedge) -> None:
    with k.turn(agent="clerk") as turn:
        view = turn.view()
        assert view.context.get("fact") == "from live"
        k.rollback("live")
        with pytest.raises(kedge.RolledBack):
            k.deploy("tuned", MODEL, derived_from=view)


@pytest.mark.usefixtures("k")
def test_the_async_face_takes_its_own_views(place: str) -> None:
    async def deploy() -> tuple[str, ...]:
        async with kedge.aio.open(place) as a:
            return (await a.deploy("tuned", MODEL, derived_from=await a.view())).bases

    assert asyncio.run(deploy()) == ("live",)
