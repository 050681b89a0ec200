"""What compaction takes away: of one collection only, and nothing that a replay may need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import kedge


@pytest.fixture
def k(place: str) -> Iterator[kedge.Kedge]:
    with kedge.open(place, durability="normal") as opened:
        for name in ("kb", "other"):
            opened.collection(name, dim=2)
        yield opened


def upsert(k: kedge.Kedge, collection: str, number: int, *, person: str | None = None) -> int:
    with k.turn(agent=None if person else "loader", person=person) as writing:
        return writing.vectors(collection).upsert(["a"], [[1.0, number]], [{"n": number}])[-1]


def test_only_the_compacted_collection_loses_its_past(k: kedge.Kedge) -> None:
    early = [upsert(k, name, 1) for name in ("kb", "other")][-1]
    for name in ("kb", "other"):
        upsert(k, name, 2)
    with k.turn(agent="clerk") as turn:
        turn.context.put("fact", 1)
    k.set_retention(0)
    assert k.optimize("kb")["kb"].reclaimed_rows == 1
    k.set_retention(None)
    past = k.at(early)
    with pytest.raises(kedge.PastUnreadable, match="of this collection were reclaimed by a compaction"):
        past.vectors("kb").count()
    assert past.vectors("other").count() == 1
    assert past.vectors("other").get(["a"])["a"].payload == {"n": 1}
    assert past.context.items() == {}
    assert k.view().vectors("kb").get(["a"])["a"].payload == {"n": 2}
    assert k.fsck(full=True).findings == ()


def test_source_rows_stay_while_a_deployment_is_rolled_back(k: kedge.Kedge) -> None:
    source = upsert(k, "kb", 1, person="ann")
    k.deploy("v1", {"support/prompt": "x"}, canary=1.0)
    with k.turn(session="s", agent="support") as turn:
        turn.vectors("kb").get(["a"])
        turn.context.put("answer", "x")
    upsert(k, "kb", 2, person="ann")
    upsert(k, "kb", 3)
    k.rollback("v1", verify=False)
    assert [item.seq for item in k.replay_pending()] == [source]
    k.set_retention(0)
    assert k.optimize("kb")["kb"].reclaimed_rows == 0
    k.set_retention(None)
    assert k.at(source).vectors("kb").get(["a"])["a"].payload == {"n": 1}
    k.purge("v1", confirm="v1")
    k.set_retention(0)
    assert k.optimize("kb")["kb"].reclaimed_rows == 2
    assert k.fsck(full=True).findings == ()
