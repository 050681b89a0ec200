"""Settled deployments drop out of lineages: successive releases leave few heads and states."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import pytest

import kedge

POSTGRES_ONE_IN = 4
RELEASES = 30
QUERY = [1.0, 2.0, 3.0]


def seen_in(view: kedge.ReadView) -> dict[str, Any]:
    kb = view.vectors("kb")
    return {
        "items": view.context.items(),
        "each": {key: view.context.get(key) for key in ("a", "b", "c")},
        "documents": view.documents("d").items(),
        "history": view.memory.history(limit=5) if view.session is not None else [],
        "hits": [(hit.id, hit.payload) for hit in kb.search(QUERY, k=10)],
        "rows": kb.count(),
    }


def release(k: kedge.Kedge, number: int) -> None:
    k.deploy(f"v{number}", {"support/prompt": f"prompt {number}"})
    k.promote(f"v{number}")
    with k.turn(agent="support") as turn:
        turn.context.put("a", number)
        turn.vectors("kb").upsert(["a"], [QUERY], [number])


@pytest.mark.only("sqlite", reason="it counts in the file; test_postgres counts on the server")
def test_settled_releases_leave_few_heads_and_states(k: kedge.Kedge) -> None:
    for number in range(RELEASES):
        release(k, number)
        k.settle(f"v{number}")
    backend = k._kernel.backend
    with backend.database.connection() as connection:  # type: ignore[attr-defined]
        counts = connection.execute("SELECT count(*) FROM heads GROUP BY space, name").fetchall()
        (states,) = connection.execute("SELECT count(*) FROM states").fetchone()
        (longest,) = connection.execute("SELECT max(json_array_length(superseders)) FROM states").fetchone()
    assert max(counts) <= (2,)
    assert longest <= 2
    assert states <= 4 * RELEASES
    assert seen_in(k.view())["hits"] == [("a", RELEASES - 1)]
    assert k.fsck(full=True).ok


def write_something(k: kedge.Kedge, chance: random.Random) -> None:
    session, agent = chance.choice(["s1", "s2", "s3"]), chance.choice(["support", "clerk"])
    with k.turn(session, agent=agent) as turn:
        if chance.random() < 0.4:
            turn.context.items()
        key = chance.choice("abc")
        act = chance.randrange(6)
        if act == 0:
            turn.context.put(key, chance.randrange(1000))
        elif act == 1:
            turn.context.delete(key)
        elif act == 2:
            turn.documents("d").put(key, chance.randrange(1000), origin="derived")
        elif act == 3:
            vector = [chance.random() + 0.1 for _ in range(3)]
            turn.vectors("kb").upsert([key], [vector], [chance.randrange(1000)])
        elif act == 4:
            turn.vectors("kb").delete([key])
        else:
            turn.memory.append("assistant", chance.randrange(1000))


def change_something(k: kedge.Kedge, chance: random.Random) -> None:
    standing = [d for d in k.deployments() if d.name != "base" and d.status not in {"settled", "purged"}]
    if len(standing) < 3:
        name = f"v{len(k.deployments())}"
        k.deploy(name, {chance.choice(["support/prompt", "clerk/prompt", "other/prompt"]): name})
        k.promote(name)
        return
    name = chance.choice(standing).name
    with suppress(kedge.Conflict):
        chance.choice([k.settle, k.settle, k.rollback, k.reinstate])(name)  # type: ignore[operator]


def replay_all(k: kedge.Kedge) -> None:
    k.replay(lambda turn, item: turn.context.put("a", f"replayed {item.seq}"))


@pytest.mark.parametrize("seed", range(8))
def test_settles_in_between_change_no_answer(k: kedge.Kedge, place: str, seed: int) -> None:
    chance = random.Random(seed)
    past: dict[int, dict[str, Any]] = {}
    for step in range(150):
        if chance.random() < 0.2:
            change_something(k, chance)
        else:
            write_something(k, chance)
        if step % 25 == 0:
            replay_all(k)
        if step % 5 == 0:
            past[k.seq] = seen_in(k.at(k.seq))
            assert k.verify().ok
            assert past[k.seq] == seen_in(k.view()), step
    assert {seq: seen_in(k.at(seq)) for seq in past} == past
    report = k.fsck(full=True)
    assert report.ok, report.findings
    with kedge.open(place, read_only=True) as other:
        assert seen_in(other.view()) == seen_in(k.view())
