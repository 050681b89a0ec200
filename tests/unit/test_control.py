"""The control record: legal changes of each status, and who sees what after them."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.errors import IllegalTransition, InvalidValue, UnknownName
from kedge.model import assignment, entries, transitions
from kedge.model import control as rules
from kedge.model.control import ControlRecord, Level, Revocable, Status

BY: dict[str, Any] = {"now": 5.0, "by": "tester"}

VERBS: dict[str, Callable[[ControlRecord, str], ControlRecord]] = {
    "canary": lambda r, n: transitions.canary(r, n, 0.5, **BY),
    "promote": lambda r, n: transitions.promote(r, n, **BY),
    "settle": transitions.settle,
    "roll back": lambda r, n: transitions.roll_back(r, n, **BY),
    "reinstate": lambda r, n: transitions.reinstate(r, n, **BY),
    "purge": lambda r, n: transitions.purge(r, n)[0],
}

# Every (status, verb) pair that is legal, with the status that follows. A pair that is not here is illegal.
LEGAL: dict[tuple[Status, str], Status] = {
    (Status.STAGED, "canary"): Status.CANARY,
    (Status.STAGED, "promote"): Status.LIVE,
    (Status.STAGED, "roll back"): Status.ROLLED_BACK,
    (Status.CANARY, "canary"): Status.CANARY,
    (Status.CANARY, "promote"): Status.LIVE,
    (Status.CANARY, "roll back"): Status.ROLLED_BACK,
    (Status.LIVE, "settle"): Status.SETTLED,
    (Status.LIVE, "roll back"): Status.ROLLED_BACK,
    (Status.ROLLED_BACK, "reinstate"): Status.CANARY,  # what it was: see `at`
    (Status.ROLLED_BACK, "purge"): Status.PURGED,
}
PAIRS = [(status, verb) for status in (Status.STAGED, Status.CANARY, Status.LIVE, Status.ROLLED_BACK) for verb in VERBS]


def staged(
    record: ControlRecord, name: str, *, bases: frozenset[int] = frozenset(), artifacts: str = ""
) -> ControlRecord:
    return transitions.stage(record, name, artifacts=tuple(artifacts.split()), bases=bases, **BY)


def at(status: Status) -> ControlRecord:
    """Return a record with the deployment "v2" (number 2) in a status, and a live "other" beside it."""
    record = staged(transitions.promote(staged(ControlRecord(), "other"), "other", **BY), "v2")
    if status in {Status.CANARY, Status.ROLLED_BACK}:
        record = VERBS["canary"](record, "v2")
    if status is Status.LIVE:
        record = VERBS["promote"](record, "v2")
    return VERBS["roll back"](record, "v2") if status is Status.ROLLED_BACK else record


def status_of(record: ControlRecord, name: str, number: int) -> Status:
    if number in record.settled:
        return Status.SETTLED
    return Status.PURGED if number in record.purged else record.status(record.find(name))


@pytest.mark.parametrize(("status", "verb"), PAIRS)
def test_every_pair_is_legal_or_says_what_is(status: Status, verb: str) -> None:
    record = at(status)
    if (status, verb) in LEGAL:
        after = VERBS[verb](record, "v2")
        assert status_of(after, "v2", 2) is LEGAL[status, verb]
        assert after.epoch == record.epoch + 1, "every change raises the epoch by one"
        return
    with pytest.raises(IllegalTransition) as caught:
        VERBS[verb](record, "v2")
    legal_words = {pair[1].replace("roll back", "rollback") for pair in LEGAL if pair[0] is status}
    text = str(caught.value)
    assert f"cannot {verb} 'v2': it is {status}" in text
    assert all(word in text.partition("legal now:")[2] for word in legal_words)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("end", ["settle", "purge"])
def test_what_has_left_the_record_changes_no_more(end: str, verb: str) -> None:
    record = at(Status.LIVE if end == "settle" else Status.ROLLED_BACK)
    with pytest.raises(UnknownName, match="'v2'"):
        VERBS[verb](VERBS[end](record, "v2"), "v2")


@pytest.mark.parametrize("verb", VERBS)
def test_a_slip_of_the_pen_is_named_with_the_nearest(verb: str) -> None:
    with pytest.raises(UnknownName, match="did you mean 'other'"):
        VERBS[verb](at(Status.LIVE), "othr")


@pytest.mark.parametrize("weight", [-0.01, 1.01, float("nan"), float("inf"), True, "0.1", None])
def test_a_weight_is_a_number_from_0_to_1(weight: object) -> None:
    with pytest.raises(InvalidValue, match="canary weight"):
        transitions.check_weight(weight)


@pytest.mark.parametrize("seconds", [-1, True, "60", float("nan"), float("inf")])
def test_a_retention_is_a_number_of_seconds(seconds: Any) -> None:
    with pytest.raises(InvalidValue, match="retention"):
        transitions.set_retention(ControlRecord(), seconds)


def test_levels_below_full_are_kept_and_full_leaves_the_record() -> None:
    frozen = entries.set_by_person(ControlRecord(), "support", Level.FROZEN)
    assert frozen.below_full == {"support": Level.FROZEN}
    assert entries.set_by_person(frozen, "support", Level.FULL).entries == ()
    assert entries.set_by_person(ControlRecord(), "support", Level.FULL).entries == ()


# ── dependants ──


def tower(count: int = 3) -> ControlRecord:
    """Return d1 ← d2 ← d3 …, all live."""
    record = ControlRecord()
    for n in range(1, count + 1):
        record = staged(record, f"d{n}", bases=frozenset({n - 1} - {0}))
        record = transitions.promote(record, f"d{n}", **BY)
    return record


def test_dependants_go_and_come_with_their_base_in_one_step() -> None:
    record = tower()
    gone = transitions.roll_back(record, "d1", **BY)
    assert gone.rolled_back == {1, 2, 3}
    assert gone.epoch == record.epoch + 1
    assert transitions.reinstate(gone, "d1", **BY).rolled_back == frozenset()


def test_a_dependant_of_two_comes_back_with_the_last() -> None:
    record = staged(staged(staged(ControlRecord(), "a"), "b"), "c", bases=frozenset({1, 2}))
    record = transitions.roll_back(transitions.roll_back(record, "a", **BY), "b", **BY)
    record = transitions.reinstate(record, "a", **BY)
    assert record.rolled_back == {2, 3}
    assert transitions.reinstate(record, "b", **BY).rolled_back == frozenset()


def test_what_was_rolled_back_for_itself_stays_so() -> None:
    record = transitions.roll_back(transitions.roll_back(tower(), "d3", **BY), "d1", **BY)
    assert transitions.reinstate(record, "d1", **BY).rolled_back == {3}


def test_reinstating_on_a_hidden_base_says_which() -> None:
    record = transitions.roll_back(tower(), "d1", **BY)
    with pytest.raises(IllegalTransition, match="rests on 'd1', rolled back; reinstate that first"):
        transitions.reinstate(record, "d2", **BY)


def test_a_purge_takes_the_dependants() -> None:
    record, gone = transitions.purge(transitions.roll_back(tower(), "d2", **BY), "d2")
    assert gone == {2, 3}
    assert [d.name for d in record.deployments] == ["d1"]
    assert record.purged == {2, 3}


@pytest.mark.parametrize("verb", ["canary", "promote"])
def test_a_dependant_goes_no_further_than_its_base(verb: str) -> None:
    record = staged(staged(ControlRecord(), "a"), "b", bases=frozenset({1}))
    with pytest.raises(IllegalTransition, match="rests on 'a', which is staged; promote 'a' first"):
        VERBS[verb](record, "b")


def test_settling_goes_from_the_bottom_up() -> None:
    with pytest.raises(IllegalTransition, match="rests on 'd1', which is live; settle 'd1' first"):
        transitions.settle(tower(), "d2")
    record = transitions.settle(transitions.settle(tower(), "d1"), "d2")
    assert record.settled == {1, 2}
    assert record.find("d3").bases == ()


def test_numbers_are_never_used_twice() -> None:
    record = VERBS["purge"](at(Status.ROLLED_BACK), "v2")
    assert staged(record, "v3").find("v3").number == 3


@given(st.data())
def test_the_hidden_are_those_that_rest_on_something_revoked(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 7))
    deployments = tuple(
        Revocable(
            n,
            f"d{n}",
            Status.LIVE,
            revoked=data.draw(st.booleans()),
            bases=tuple(sorted(data.draw(st.frozensets(st.integers(1, n - 1)) if n > 1 else st.just(frozenset())))),
        )
        for n in range(1, count + 1)
    )
    record = ControlRecord(deployments=deployments)
    for d in deployments:
        below = record.closure({d.number})
        assert (d.number in record.rolled_back) == any(record.by_number[n].revoked for n in below)
        assert record.dependants(d.number) == {
            o.number for o in deployments if d.number in record.closure({o.number}) and o is not d
        }


# ── assignment ──

sessions = st.text(min_size=1, max_size=12)
weights = st.floats(0, 1)


def canaries(*weighted: tuple[str, float, str]) -> ControlRecord:
    record = ControlRecord()
    for name, weight, artifacts in weighted:
        record = transitions.canary(staged(record, name, artifacts=artifacts), name, weight, **BY)
    return record


@given(sessions, weights, weights)
def test_raising_the_weight_moves_nobody_out(session: str, low: float, high: float) -> None:
    low, high = sorted((low, high))
    if assignment.assign(canaries(("c", low, "a/prompt")), session):
        assert assignment.assign(canaries(("c", high, "a/prompt")), session)


@given(sessions)
def test_weight_0_takes_nobody_and_1_everybody(session: str) -> None:
    assert not assignment.joins_canary("c", session, 0.0)
    assert assignment.joins_canary("c", session, 1.0)


def test_the_share_is_about_the_weight() -> None:
    joined = sum(assignment.joins_canary("c", f"s{n}", 0.3) for n in range(4000))
    assert 1080 < joined < 1320


def test_two_canaries_do_not_pick_the_same_sessions() -> None:
    record = canaries(("c1", 0.3, "a/prompt"), ("c2", 0.3, "b/prompt"))
    picked = [assignment.assign(record, f"s{n}") for n in range(4000)]
    both = sum(p == {1, 2} for p in picked)
    assert 270 < both < 450, "independent: about 0.09 of all"


@given(sessions, weights, weights, weights)
def test_a_session_joins_at_most_one_canary_per_artifact(session: str, w1: float, w2: float, w3: float) -> None:
    record = canaries(("c1", w1, "a/prompt a/model"), ("c2", w2, "a/model"), ("c3", w3, "b/prompt"))
    base = assignment.assign(record, session)
    assert not base >= {1, 2}
    assert (3 in base) == assignment.joins_canary("c3", session, w3)


def test_what_a_session_is_opened_with_counts_as_its_canary() -> None:
    record = canaries(("c1", 1.0, "a/prompt"))
    record = staged(record, "mine", artifacts="a/prompt")
    assert assignment.assign(record, "s", "mine") == {2}


def test_a_session_sees_what_is_live_and_no_staged_or_hidden_canary() -> None:
    record = canaries(("c1", 1.0, "a/prompt"), ("c2", 1.0, "b/prompt"))
    record = transitions.roll_back(staged(transitions.promote(record, "c1", **BY), "later"), "c2", **BY)
    assert assignment.assign(record, "s") == {1}


def test_opening_in_a_deployment_brings_what_it_rests_on() -> None:
    record = staged(staged(ControlRecord(), "a"), "b", bases=frozenset({1}))
    assert assignment.assign(record, "s", "b") == {1, 2}
    with pytest.raises(IllegalTransition, match="cannot open a turn in 'b': it is rolled back"):
        assignment.assign(transitions.roll_back(record, "a", **BY), "s", "b")


def test_a_reader_sees_of_its_base_what_still_stands() -> None:
    record = transitions.roll_back(tower(), "d2", **BY)
    assert record.seen_by({1, 2, 3, 9}) == {1}
    assert record.live == {1}


def test_an_external_is_live_at_once_and_apart() -> None:
    record = transitions.stage(ControlRecord(), "external:crm", artifacts=(), bases=(), kind=rules.EXTERNAL, **BY)
    assert record.externals == record.live == {1}
