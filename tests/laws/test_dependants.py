"""Dependants: a deployment that overrides another's artifacts is rolled back with it, and returns with it."""

from __future__ import annotations

import pytest

import kedge
from kedge import Kedge
from tests.laws.scene import clerk, helper, release


def statuses(k: Kedge) -> dict[str, str]:
    """Return how the deployments stand, but for the settled one of the scene."""
    return {d.name: str(d.status) for d in k.deployments() if d.name != "good"}


def two_bases(k: Kedge) -> None:
    """Make a deployment that is based on two others."""
    release(k, "one", "helper/prompt")
    release(k, "two", "clerk/prompt")
    release(k, "both", "helper/prompt", "clerk/prompt")


def test_it_stands_on_what_it_overrides(k: Kedge) -> None:
    two_bases(k)
    assert set(k.deployment("both").bases) == {"one", "two"}
    with helper(k) as turn:
        assert turn.lineage == {"one", "both"}
    with clerk(k) as turn:
        assert turn.lineage == {"two", "both"}


@pytest.mark.parametrize("first", ["one", "two"])
def test_it_returns_with_the_last_of_its_bases(k: Kedge, first: str) -> None:
    two_bases(k)
    with clerk(k) as turn:
        turn.context.put("key", "by both")
    other = "two" if first == "one" else "one"
    k.rollback(first)
    assert statuses(k) == {first: "rolled back", other: "live", "both": "rolled back"}
    assert k.view().context.items() == {}
    k.rollback(other)
    k.reinstate(first)
    assert statuses(k)["both"] == "rolled back"
    with pytest.raises(kedge.IllegalTransition):
        k.reinstate("both")
    k.reinstate(other)
    assert set(statuses(k).values()) == {"live"}
    assert k.view().context.items() == {"key": "by both"}


def test_one_rolled_back_for_its_own_sake_stays_so(k: Kedge) -> None:
    two_bases(k)
    k.rollback("both")
    k.rollback("one")
    k.reinstate("one")
    assert statuses(k) == {"one": "live", "two": "live", "both": "rolled back"}
    k.reinstate("both")
    assert statuses(k)["both"] == "live"


def test_it_goes_in_the_same_flip_however_far_it_stands(k: Kedge) -> None:
    release(k, "one", "helper/prompt", "helper/model")
    release(k, "two", "helper/prompt", "clerk/prompt")
    release(k, "three", "clerk/prompt", "clerk/model")
    release(k, "four", "clerk/model")
    epoch = k.epoch
    k.rollback("one")
    assert set(statuses(k).values()) == {"rolled back"}
    assert len([entry for entry in k.log() if entry.epoch > epoch and not entry.is_step]) == 1
    k.reinstate("one")
    assert set(statuses(k).values()) == {"live"}


def test_an_independent_one_stays(k: Kedge) -> None:
    release(k, "one")
    release(k, "two", independent=True)
    with helper(k) as turn:
        assert turn.lineage == {"two"}
        turn.context.put("key", "by two")
    k.rollback("one")
    assert statuses(k)["two"] == "live"
    assert k.view().context.items() == {"key": "by two"}


def test_a_base_is_settled_first(k: Kedge) -> None:
    two_bases(k)
    k.settle("one")
    with pytest.raises(kedge.IllegalTransition, match="two"):
        k.settle("both")
    k.settle("two")
    k.settle("both")


def test_a_purge_takes_the_dependants(k: Kedge) -> None:
    two_bases(k)
    k.rollback("one")
    k.purge("one", confirm="one")
    assert statuses(k) == {"one": "purged", "two": "live", "both": "purged"}
