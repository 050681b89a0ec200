"""Samples of a verification: the newest write of each store is among them, so that damage to it is found."""

from __future__ import annotations

import pytest

from kedge import Kedge
from kedge.recovery import verify
from tests.databases import alter

COUNT = 40
# The newest row gets the state of the oldest, which is superseded; the newest key loses its head.
ROW = "UPDATE {0} SET state = (SELECT state FROM {0} ORDER BY seq LIMIT 1) WHERE seq = (SELECT max(seq) FROM {0})"
HEAD = "DELETE FROM heads WHERE seq = (SELECT max(seq) FROM heads)"


@pytest.fixture(params=[1, 3, 7], autouse=True)
def few_samples(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(verify, "SAMPLE", request.param)
    return int(request.param)


def test_the_newest_key_is_sampled(k: Kedge, few_samples: int) -> None:
    with k.turn(agent="clerk") as turn:
        for number in range(COUNT):
            turn.context.put(f"fact/{number}", number)
    sample = k._kernel.backend.verification.sample_keys(["context", "artifacts"], few_samples)
    assert sample[-1].name == f"fact/{COUNT - 1}"


def test_a_newest_key_without_a_head_is_found(k: Kedge, place: str) -> None:
    with k.turn(agent="clerk") as turn:
        for number in range(COUNT):
            turn.context.put(f"fact/{number}", number)
    assert k.verify().ok
    assert alter(place, HEAD) == 1
    found = k.verify()
    assert (found.ok, bool(found.context_divergence_ratio)) == (False, True)


def test_a_newest_row_in_a_wrong_state_is_found(k: Kedge, place: str) -> None:
    with k.turn(agent="clerk") as turn:
        for number in (0, *range(COUNT)):
            turn.vectors("kb").upsert([str(number)], [[1.0, number, 0.0]])
    assert k.verify().ok
    assert alter(place, ROW.format("row_states" if place.startswith("postgres") else "vector_rows")) == 1
    found = k.verify()
    assert found.vector_consistency_ratio is not None
    assert (found.ok, found.vector_consistency_ratio < 1) == (False, True)
