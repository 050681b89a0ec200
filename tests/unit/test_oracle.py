"""The oracle on histories that are small enough to check by eye."""

from __future__ import annotations

import math

import pytest

from kedge.testing.oracle import Oracle, OracleTurn, Refused
from kedge.testing.oracle.ranking import matches, similarity

NOBODY: frozenset[str] = frozenset()


def names(*wanted: str) -> frozenset[str]:
    return frozenset(wanted)


def live(*deployments: str, artifact: str = "a/prompt") -> Oracle:
    """Return an oracle in which these deployments are live, each standing on the one before."""
    oracle = Oracle()
    for name in deployments:
        oracle.deploy(name, {artifact: name})
        oracle.promote(name)
    return oracle


def turn(oracle: Oracle, agent: str | None = None, session: str | None = None) -> OracleTurn:
    return OracleTurn(oracle, oracle.view(session), agent=agent, session=session)


def shown(oracle: Oracle, key: str) -> object:
    head = oracle.present(oracle.view(), "context", "").get(key)
    return head.value if head else None


def refusal(call: object, *args: object) -> str:
    assert callable(call)
    with pytest.raises(Refused) as refused:
        call(*args)
    return refused.value.kind


def test_what_an_agent_writes_goes_with_its_deployment_and_comes_back() -> None:
    oracle = live("v1")
    turn(oracle).put("context", "", "k", "before")
    turn(oracle, "a").put("context", "", "k", "by v1")
    assert shown(oracle, "k") == "by v1"
    oracle.rollback("v1")
    assert shown(oracle, "k") == "before"
    oracle.reinstate("v1")
    assert shown(oracle, "k") == "by v1"


def test_influence_passes_from_hand_to_hand() -> None:
    oracle = live("v1")
    turn(oracle, "a").put("context", "", "k", "seen")
    reader = turn(oracle, "other")
    assert reader.lineage == NOBODY
    reader.get("context", "", "k")
    assert reader.lineage == names("v1")
    assert reader.put("context", "", "l", 1).lineage == names("v1")


def test_blind_writes_and_absences_that_never_were_read_nothing() -> None:
    oracle = live("v1")
    turn(oracle, "a").put("context", "", "k", 1)
    blind = turn(oracle)
    blind.put("context", "", "k", 2)
    blind.delete("context", "", "k")
    blind.get("context", "", "never")
    assert blind.lineage == NOBODY


def test_an_absence_by_a_visible_delete_is_a_read_of_the_delete() -> None:
    oracle = live("v1")
    turn(oracle).put("context", "", "k", 1)
    turn(oracle, "a").delete("context", "", "k")
    for read in ("get", "items"):
        reader = turn(oracle)
        getattr(reader, read)("context", "", "k")
        assert reader.lineage == names("v1")


def test_a_compare_and_set_reads_whether_it_succeeds_or_not() -> None:
    oracle = live("v1")
    turn(oracle, "a").put("context", "", "k", 1, seq=7)
    winner, loser = turn(oracle), turn(oracle)
    with pytest.raises(Refused, match="ExpectationFailed"):
        loser.put("context", "", "k", 2, expect=0)
    assert winner.put("context", "", "k", 2, expect=7).lineage == names("v1")
    assert loser.lineage == names("v1")


def test_source_writes_have_no_lineage_but_remember_their_turn() -> None:
    oracle = live("v1")
    write = turn(oracle, "a", "s").append("user", "hello")
    assert (write.lineage, write.provenance) == (NOBODY, names("v1"))
    assert turn(oracle, "a", "s").append("assistant", "hello").lineage == names("v1")


def test_the_newest_visible_write_wins_whoever_wrote_it() -> None:
    oracle = live("v1")
    turn(oracle, "a").put("context", "", "k", "bad")
    turn(oracle).put("context", "", "k", "corrected")
    oracle.rollback("v1")
    assert shown(oracle, "k") == "corrected"


def test_a_replayed_write_competes_at_its_inputs_place() -> None:
    oracle = Oracle()
    first = oracle.write("context", "", "other", 0, lineage=NOBODY)
    turn(oracle).put("context", "", "k", "later")
    oracle.write("context", "", "k", "replayed", lineage=NOBODY, rank=first.rank)
    assert shown(oracle, "k") == "later"


def test_a_dependant_goes_with_its_base_and_returns_with_the_last_of_them() -> None:
    oracle = live("v1")
    oracle.deploy("w1", {"b/prompt": 1})
    oracle.promote("w1")
    oracle.deploy("both", {"a/prompt": 2, "b/prompt": 2})
    assert oracle.world().bases["both"] == names("v1", "w1")
    oracle.rollback("v1")
    oracle.rollback("w1")
    assert refusal(oracle.reinstate, "both") == "IllegalTransition"
    oracle.reinstate("v1")
    assert oracle.world().status("both") == "rolled back"
    oracle.reinstate("w1")
    assert oracle.world().status("both") == "staged"


def test_an_independent_deployment_stays() -> None:
    oracle = live("v1")
    oracle.deploy("v2", {"a/prompt": 2}, independent=True)
    oracle.rollback("v1")
    assert oracle.world().status("v2") == "staged"


def test_legal_moves() -> None:
    oracle = live("v1")
    assert refusal(oracle.promote, "v1") == "IllegalTransition"
    assert refusal(oracle.reinstate, "v1") == "IllegalTransition"
    assert refusal(oracle.purge, "v1") == "IllegalTransition"
    oracle.deploy("v2", {"a/prompt": 2}, canary=0.5)
    assert refusal(oracle.settle, "v2") == "IllegalTransition"
    oracle.promote("v2")
    assert refusal(oracle.settle, "v2") == "IllegalTransition"  # v1, which it stands on, is not settled
    oracle.settle("v1")
    oracle.settle("v2")
    assert refusal(oracle.rollback, "v1") == "IllegalTransition"
    assert refusal(lambda: oracle.deploy("v1", {})) == "DuplicateName"


def test_a_turn_stops_once_influenced_and_only_then() -> None:
    oracle = live("v1")
    influenced, other = turn(oracle, "a"), turn(oracle)
    turn(oracle, "a").put("context", "", "k", 1)
    oracle.rollback("v1")
    assert refusal(influenced.put, "context", "", "k", 2) == "RolledBack"
    assert other.get("context", "", "k") is None


def test_a_turn_stops_once_something_it_did_not_see_is_settled() -> None:
    oracle = live("v1")
    saw, unused = turn(oracle), turn(oracle, "x")
    assert saw.get("context", "", "k") is None
    oracle.deploy("v2", {"x/y": 1})
    oracle.promote("v2")
    missed = turn(oracle)
    oracle.settle("v1")
    assert missed.get("context", "", "k") is None
    oracle.settle("v2")
    assert refusal(saw.get, "context", "", "k") == "SettledMeanwhile"
    assert unused.get("artifacts", "", "x/y"), "it had read nothing before"
    assert missed.get("context", "", "k") is None


def test_a_session_is_fixed_at_its_first_turn() -> None:
    oracle = live("v1")
    oracle.begin_session("s", names("v1"))
    oracle.deploy("v2", {"x/y": 1})
    oracle.promote("v2")
    assert oracle.seen(oracle.view("s")) == names("v1")
    assert oracle.seen(oracle.view()) == names("v1", "v2")
    oracle.rollback("v1")
    assert oracle.seen(oracle.view("s")) == NOBODY
    oracle.reinstate("v1")
    assert oracle.seen(oracle.view("s")) == names("v1")
    oracle.settle("v1")
    oracle.settle("v2")
    assert oracle.seen(oracle.view("s")) == names("v1", "v2")


def test_an_impossible_assignment_is_noticed() -> None:
    oracle = live("v1")
    oracle.deploy("c", {"x/y": 1}, canary=1.0)
    oracle.deploy("d", {"x/y": 1}, canary=1.0)
    for seen in (names("c"), names("v1"), names("v1", "c", "d")):
        with pytest.raises(AssertionError):
            oracle.begin_session("s", seen)
    oracle.begin_session("s", names("v1", "c"))


def test_the_past_is_what_the_present_was() -> None:
    oracle = live("v1")
    turn(oracle, "a").put("context", "", "k", 1, seq=1)
    oracle.snapshot("then")
    oracle.rollback("v1")
    for point in ("then", 1):
        assert oracle.present(oracle.view(at=point), "context", "")["k"].value == 1
    assert refusal(oracle.purge, "v1") == "SnapshotInTheWay"
    oracle.release_snapshot("then")
    oracle.purge("v1")
    with pytest.raises(Refused, match="PastUnreadable"):
        oracle.view(at=1)


def test_a_search_reads_its_hits_and_what_superseded_rows_that_would_have_ranked() -> None:
    oracle = live("v1")
    oracle.collection("kb")
    clean = turn(oracle)
    clean.upsert("kb", {"near": ((1.0, 0.1), {"n": 1}), "far": ((0.0, 1.0), {"n": 2}), "mid": ((1.0, 1.0), {"n": 3})})
    turn(oracle, "a").delete("vectors", "kb", "far")
    assert turn(oracle).search("kb", (1.0, 0.0), k=2).lineage([]) == NOBODY  # the row that went would not have ranked
    turn(oracle, "a").upsert("kb", {"near": ((-1.0, 0.0), {"n": 1})})
    reader = turn(oracle)
    assert reader.search("kb", (1.0, 0.0), k=1).ids == ["mid"]
    assert reader.lineage == names("v1")
    filtered = turn(oracle)
    assert filtered.search("kb", (1.0, 0.0), k=1, where={"n": 3}).ids == ["mid"]
    assert filtered.lineage == NOBODY


def test_a_search_stays_in_the_space_of_the_embedder_that_it_sees() -> None:
    oracle = Oracle()
    oracle.collection("kb")
    turn(oracle).upsert("kb", {"old": ((1.0, 0.0), None)})
    oracle.deploy("e2", {"shared/embedder": "second"})
    oracle.promote("e2")
    writer = turn(oracle)
    writer.upsert("kb", {"new": ((1.0, 0.0), None)})
    assert writer.lineage == names("e2")
    found = turn(oracle).search("kb", (1.0, 0.0), k=5)
    assert (found.ids, found.unembedded) == (["new"], 1)


@pytest.mark.parametrize(
    ("where", "passes"),
    [
        (None, True),
        ({"n": 3}, True),
        ({"n": 4}, False),
        ({"n": {"in": [1, 3]}, "lang": "en"}, True),
        ({"n": {"gt": 3}}, False),
        ({"n": {"gte": 3, "lt": 4}}, True),
        ({"n": {"ne": 3}}, False),
        ({"other": 1}, False),
        ({"or": [{"n": 4}, {"lang": "en"}]}, True),
        ({"and": [{"n": 3}, {"lang": "de"}]}, False),
    ],
)
def test_filters(where: object, passes: bool) -> None:
    assert matches({"n": 3, "lang": "en"}, where) is passes


def test_similarities_grow_with_nearness() -> None:
    assert math.isclose(similarity("cosine", (2, 0), (1, 1)), math.sqrt(0.5))
    assert similarity("dot", (2, 0), (1, 1)) == 2
    assert similarity("l2", (2, 0), (1, 1)) == -2
