"""Vectors in batches: arrays of given ids, and whole collections at one instant."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import numpy as np
import pytest

import kedge
import kedge.aio
from kedge import Kedge
from tests.contract.conftest import HandClock
from tests.workers import Worker

POSTGRES_ONE_IN = 5

ROWS = 10
MATRIX = np.arange(1, 3 * ROWS + 1, dtype=np.float32).reshape(ROWS, 3)
NAMES = [f"n{n}" for n in range(ROWS)]


@pytest.fixture
def filled(k: Kedge) -> Kedge:
    """Ten rows of a collection, and a release v2 that can be rolled back."""
    with k.turn(agent="clerk") as turn:
        turn.vectors("kb").upsert(NAMES, MATRIX, [{"n": n} for n in range(ROWS)])
    k.deploy("v2", {"helper/prompt": "x"}, canary=1.0)
    return k


def overwrite(k: Kedge, *names: str) -> None:
    with k.turn(agent="helper", deployment="v2") as turn:
        turn.vectors("kb").upsert(names, np.ones((len(names), 3)))


def names_of(batches: kedge.VectorBatches) -> list[list[str]]:
    return [rows.ids for rows in batches]


def test_a_collection_comes_in_batches_in_the_order_of_writing(filled: Kedge) -> None:
    batches = filled.view().vectors("kb").batches(4)
    assert (batches.rows, batches.unembedded, batches.dim) == (ROWS, 0, 3)
    found = list(batches)
    assert [len(rows) for rows in found] == [4, 4, 2]
    assert [name for rows in found for name in rows.ids] == NAMES
    assert np.array_equal(np.concatenate([rows.vectors for rows in found]), MATRIX)
    assert [payload for rows in found for payload in rows.payloads] == [{"n": n} for n in range(ROWS)]
    seqs = filled.view().vectors("kb").get(NAMES)
    assert [seq for rows in found for seq in rows.seqs.tolist()] == [seqs[name].seq for name in NAMES]
    assert names_of(batches) == [NAMES[:4], NAMES[4:8], NAMES[8:]], "it can be gone through again"


def test_rows_side_by_side_are_a_window_on_the_file(filled: Kedge) -> None:
    (whole,) = filled.view().vectors("kb").batches()
    assert whole.vectors.base is not None
    assert not whole.vectors.flags.writeable
    with filled.turn(agent="clerk") as turn:
        turn.vectors("kb").delete(["n3"])
    (rest,) = filled.view().vectors("kb").batches()
    assert rest.ids == [name for name in NAMES if name != "n3"]
    assert np.array_equal(rest.vectors, np.delete(MATRIX, 3, axis=0))
    with pytest.raises(ValueError, match="read-only"):
        rest.vectors[0] = 0


def test_a_filter_leaves_rows_out(filled: Kedge) -> None:
    kb = filled.view().vectors("kb")
    assert names_of(kb.batches(4, where={"n": {"gte": 7}})) == [["n7"], ["n8", "n9"]]
    (rows,) = kb.batches(where={"n": {"in": [1, 5]}})
    assert np.array_equal(rows.vectors, MATRIX[[1, 5]])


def test_many_ids_come_as_arrays_in_their_order(filled: Kedge) -> None:
    with filled.turn(agent="clerk") as turn:
        turn.vectors("kb").delete(["n2"])
    rows = filled.view().vectors("kb").fetch(["n7", "nobody", "n2", "n0"])
    assert rows.ids == ["n7", "n0"]
    assert np.array_equal(rows.vectors, MATRIX[[7, 0]])
    assert rows.payloads == [{"n": 7}, {"n": 0}]
    assert filled.view().vectors("kb").fetch([]).vectors.shape == (0, 3)


def test_spaces_are_not_mixed(filled: Kedge) -> None:
    filled.deploy("e2", {"shared/embedder": {"name": "e2", "dim": 2}})
    with filled.turn(deployment="e2", agent="clerk") as turn:
        assert turn.vectors("kb").fetch(NAMES).vectors.shape == (0, 2)
        turn.vectors("kb").upsert(["n0", "new"], np.ones((2, 2)))
    kb = filled.view(deployment="e2").vectors("kb")
    assert names_of(kb.batches()) == [["n0", "new"]]
    assert kb.batches().unembedded == ROWS - 1
    assert kb.fetch(["n1", "n0"]).ids == ["n0"]
    assert names_of(filled.view().vectors("kb").batches()) == [NAMES]


def test_to_go_through_a_collection_is_a_read_of_every_head_in_it(filled: Kedge) -> None:
    with filled.turn(agent="helper", deployment="v2") as turn:
        turn.vectors("kb").delete(["n4"])
    with filled.turn(deployment="v2", agent="clerk") as turn:
        batches = turn.vectors("kb").batches(where={"n": 0})
        assert turn.lineage == {"v2"}, "the tombstone, before the first batch"
        assert names_of(batches) == [["n0"]]
    with filled.turn(deployment="v2", agent="clerk") as turn:
        turn.vectors("kb").fetch(["n1"])
        assert turn.lineage == set()
        turn.vectors("kb").fetch(["n4"])
        assert turn.lineage == {"v2"}


def test_what_is_written_meanwhile_is_not_in_it(filled: Kedge) -> None:
    batches = iter(filled.view().vectors("kb").batches(3))
    assert next(batches).ids == NAMES[:3]
    with filled.turn(agent="clerk") as turn:
        turn.vectors("kb").upsert(["n4", "new"], np.ones((2, 3)))
        turn.vectors("kb").delete(["n5"])
    filled.deploy("v3", {"support/prompt": "an epoch later"})
    rest = list(batches)
    assert [name for rows in rest for name in rows.ids] == NAMES[3:]
    assert np.array_equal(np.concatenate([rows.vectors for rows in rest]), MATRIX[3:])


def opened(k: Kedge, who: str, deployment: str) -> kedge.Turn | kedge.ReadView:
    """Return a turn or a view inside a deployment."""
    return k.turn(agent="clerk", deployment=deployment) if who == "turn" else k.view(deployment=deployment)


@pytest.mark.parametrize("who", ["view", "turn"])
def test_a_rollback_of_what_is_gone_through_ends_it(filled: Kedge, who: str) -> None:
    overwrite(filled, "n8")
    batches = iter(opened(filled, who, "v2").vectors("kb").batches(3))
    next(batches)
    filled.rollback("v2", verify=False)
    with pytest.raises(kedge.RolledBack, match="'v2'") as caught:
        list(batches)
    assert caught.value.deployments == ("v2",)


def test_a_rollback_of_a_tombstone_or_of_the_embedder_ends_it(filled: Kedge) -> None:
    with filled.turn(agent="helper", deployment="v2") as turn:
        turn.vectors("kb").delete(["n8"])
    filled.deploy("e2", {"shared/embedder": {"name": "e2", "dim": 3}}, canary=1.0)
    with filled.turn(person="ann", deployment="e2") as turn:
        turn.vectors("kb").upsert(["a", "b"], np.ones((2, 3)))
    for name in ("v2", "e2"):
        batches = iter(filled.view(deployment=name).vectors("kb").batches(1))
        next(batches)
        filled.rollback(name, verify=False)
        with pytest.raises(kedge.RolledBack, match=name):
            next(batches)


@pytest.mark.parametrize("who", ["view", "turn"])
def test_a_rollback_of_something_else_does_not(filled: Kedge, who: str) -> None:
    batches = iter(opened(filled, who, "v2").vectors("kb").batches(3))
    next(batches)
    filled.rollback("v2", verify=False)
    assert [name for rows in batches for name in rows.ids] == NAMES[3:]


def test_another_process_writes_and_rolls_back_meanwhile(filled: Kedge, place: str) -> None:
    overwrite(filled, "n9")
    view = filled.view(deployment="v2").vectors("kb")
    with Worker(place) as worker:
        batches = iter(view.batches(2))
        next(batches)
        worker.do("flip", "v2")
        with pytest.raises(kedge.RolledBack):
            next(batches)
        worker.do("flip", "v2")
        assert next(iter(view.batches(20))).ids == [*NAMES[:9], "n9"]


def test_the_past_can_be_gone_through(filled: Kedge) -> None:
    filled.snapshot("before")
    with filled.turn(agent="clerk") as turn:
        turn.vectors("kb").delete(NAMES[:5])
    assert names_of(filled.at("before").vectors("kb").batches(6)) == [NAMES[:6], NAMES[6:]]
    assert filled.at("before").vectors("kb").fetch(["n0"]).ids == ["n0"]
    assert names_of(filled.view().vectors("kb").batches(6)) == [NAMES[5:]]


def test_an_empty_collection_has_no_batch(k: Kedge) -> None:
    batches = k.view().vectors("kb").batches()
    assert (batches.rows, list(batches)) == (0, [])


@pytest.mark.parametrize("size", [0, -1, True, 2.5, "10"])
def test_a_size_that_is_none_is_refused(k: Kedge, size: Any) -> None:
    with pytest.raises(kedge.InvalidValue, match="must be 1 or more rows"):
        k.view().vectors("kb").batches(size)
    with pytest.raises(kedge.InvalidValue, match="where must be a mapping"):
        k.view().vectors("kb").batches(where=[])  # type: ignore[arg-type]


def test_a_closed_turn_gives_no_more_batches(filled: Kedge) -> None:
    with filled.turn(agent="clerk") as turn:
        batches = iter(turn.vectors("kb").batches(3))
        next(batches)
    with pytest.raises(kedge.TurnClosed):
        next(batches)


@pytest.mark.usefixtures("filled")
def test_async_batches(place: str, clock: HandClock) -> None:
    async def story() -> None:
        async with kedge.aio.open(place, clock=clock) as k:
            async with k.turn(agent="clerk") as turn:
                batches = await turn.vectors("kb").batches(4)
                assert (batches.rows, batches.dim, batches.unembedded) == (ROWS, 3, 0)
                assert [rows.ids async for rows in batches] == [NAMES[:4], NAMES[4:8], NAMES[8:]]
                assert [len(rows) async for rows in batches] == [4, 4, 2]
                assert (await turn.vectors("kb").fetch(["n3"])).ids == ["n3"]
                hits = await turn.search(["kb"], MATRIX[0], k=1)
                assert hits[0].id == "n0"
            with pytest.raises(kedge.TurnClosed):
                [rows async for rows in batches]
            view = await k.view()
            assert [rows.ids async for rows in await view.vectors("kb").batches(where={"n": 3})] == [["n3"]]

    asyncio.run(story())


@pytest.fixture
def arrow() -> Any:
    return pytest.importorskip("pyarrow")


def test_arrow_holds_the_same_without_copying(filled: Kedge, arrow: Any) -> None:
    (rows,) = filled.view().vectors("kb").batches()
    table = rows.to_arrow()
    assert table.schema.field("vector").type == arrow.list_(arrow.float32(), 3)
    assert table.column("vector").to_pylist() == MATRIX.tolist()
    assert table.column("id").to_pylist() == NAMES
    assert table.column("payload").to_pylist()[3] == '{"n":3}'
    assert table.column("seq").to_pylist() == rows.seqs.tolist()
    values = table.column("vector").chunk(0).flatten().to_numpy()
    assert np.shares_memory(values, rows.vectors)


@pytest.mark.usefixtures("arrow")
def test_bytes_are_no_json(k: Kedge) -> None:
    with k.turn(agent="clerk") as turn:
        turn.vectors("kb").upsert(["a"], MATRIX[:1], [b"raw"])
    (rows,) = k.view().vectors("kb").batches()
    assert rows.payloads == [b"raw"]
    with pytest.raises(kedge.InvalidValue, match="payload of 'a' is 3 bytes"):
        rows.to_arrow()


def test_without_pyarrow_it_says_what_to_install(filled: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(kedge.Misuse, match=r'pip install "kedge\[arrow\]"'):
        filled.view().vectors("kb").fetch(NAMES).to_arrow()


def test_a_large_delete_is_one_batch(k: Kedge) -> None:
    names = [f"n{n}" for n in range(3_000)]
    with k.turn(agent="clerk") as turn:
        turn.vectors("kb").upsert(names, np.ones((3_000, 3)))
        seqs = turn.vectors("kb").delete(names[500:])
        assert len(seqs) == 2_500
        assert turn.vectors("kb").ids() == sorted(names[:500])
        with pytest.raises(kedge.InvalidVector, match="'n7' occurs twice"):
            turn.vectors("kb").delete([*names, "n7"])
    assert k.fsck(full=True).ok
