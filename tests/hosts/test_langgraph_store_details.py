"""`KedgeStore` in detail: names, filters, time to live, the index and its embedder. Run by `make hosts`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest

import kedge
import kedge.aio

pytest.importorskip("langgraph.graph", reason="`make hosts` installs it")
pytest.importorskip("langchain_core", reason="`make hosts` installs it")

from langgraph.store.base import GetOp, PutOp, SearchOp

from kedge.integrations.embedding import embedder_artifact
from kedge.integrations.langgraph import KedgeStore, store
from kedge.stores.own import Values
from tests.contract.conftest import HandClock
from tests.hosts.memories import FakeEmbeddings

EVERYDAY = ("namespaces_are_found_whatever_lies_between_them[sqlite",)
POSTGRES_ONE_IN = 4
DAY, MINUTE = 86_400.0, 60.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    made = HandClock()
    monkeypatch.setattr(store, "now", made.now)
    return made


@pytest.fixture
def k(place: str, clock: HandClock) -> Iterator[kedge.Kedge]:
    with kedge.open(place, durability="normal", clock=clock) as opened:
        opened.deploy("e1", {"shared/embedder": embedder_artifact(FakeEmbeddings("one"))})
        opened.promote("e1")
        yield opened


def indexed(k: kedge.Kedge, *fields: str, model: str = "one", **options: Any) -> KedgeStore:
    index = {"dims": 8, "embed": FakeEmbeddings(model), "fields": list(fields)}
    return KedgeStore(k, agent="helper", index=index, **options)


def keys(found: Any) -> list[str]:
    return [each.key for each in found]


@pytest.mark.parametrize("label", ["a/b", "50%", "%2F", "with\nbreak", "日本", "*", "#0", " ", "!", "%21"])
@pytest.mark.parametrize("key", ["k/1", "", "k#0", "%25"])
def test_namespaces_and_keys_of_any_text(k: kedge.Kedge, label: str, key: str) -> None:
    kept = KedgeStore(k, agent="helper")
    kept.put(("users", label), key, {"n": 1})
    kept.put(("users", f"{label}x"), key, {"n": 2})
    assert kept.get(("users", label), key).value == {"n": 1}
    (found,) = kept.search(("users", label))
    assert (found.namespace, found.key, found.value) == (("users", label), key, {"n": 1})
    assert sorted(kept.list_namespaces()) == sorted([("users", label), ("users", f"{label}x")])
    kept.delete(("users", label), key)
    assert kept.get(("users", label), key) is None


LABELS = ("a", "a!", "!", "!z", '"', "0", "a/b", "日", " ")


def test_namespaces_are_found_whatever_lies_between_them(k: kedge.Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    dice, kept = random.Random(1), KedgeStore(k, agent="helper")
    monkeypatch.setattr(store, "_PAGE", 2)
    there = {tuple(dice.choices(LABELS, k=dice.randint(1, 3))) for _ in range(40)}
    kept.batch([PutOp(namespace, f"k{n}", {"n": n}) for namespace in there for n in range(dice.choice([1, 1, 3, 9]))])
    assert set(kept.list_namespaces(limit=99)) == there
    for depth in (1, 2, 3):
        assert set(kept.list_namespaces(max_depth=depth, limit=99)) == {each[:depth] for each in there}
        for label in LABELS:
            begins = {each for each in there if each[0] == label}
            assert set(kept.list_namespaces(prefix=(label,), max_depth=depth, limit=99)) == {e[:depth] for e in begins}
            deep = {each for each in there if each[1:2] == (label,)}
            assert set(kept.list_namespaces(prefix=("*", label), max_depth=depth, limit=99)) == {
                e[:depth] for e in deep
            }
            ends = {each for each in there if each[-1] == label}
            assert set(kept.list_namespaces(suffix=(label,), max_depth=depth, limit=99)) == {e[:depth] for e in ends}


def test_a_list_of_namespaces_does_not_read_every_item(k: kedge.Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, read = KedgeStore(k, agent="helper"), list[str]()
    keys_of = Values.keys

    def keys(*arguments: Any, **options: Any) -> list[str]:
        found = keys_of(*arguments, **options)
        read.extend(found)
        return found

    monkeypatch.setattr(Values, "keys", keys)
    monkeypatch.setattr(store, "_PAGE", 10)
    monkeypatch.setattr(store, "_SMALL", 1)
    kept.batch([PutOp(("users", name), f"k{n:03}", {"n": n}) for name in "ab" for n in range(200)])
    assert kept.list_namespaces() == [("users", "a"), ("users", "b")]
    assert len(read) == 20
    read.clear()
    assert kept.list_namespaces(max_depth=1) == [("users",)]
    assert len(read) == 10


def test_filters(k: kedge.Kedge) -> None:
    kept = KedgeStore(k, agent="helper")
    for n, (name, score) in enumerate([("ann", 1), ("bob", 2.5), ("cid", None), ("dan", "high")]):
        kept.put(("people",), f"{n}", {"name": name, "score": score, "at": {"city": name[0]}, "tags": [n, "x"]})
    for wanted, found in (
        ({"score": {"$gt": 1}}, ["1"]),
        ({"score": {"$gte": 1, "$lt": 2}}, ["0"]),
        ({"score": {"$lte": "z"}}, ["3"]),
        ({"name": {"$gte": "bob", "$ne": "cid"}}, ["1", "3"]),
        ({"name": {"$eq": "ann"}}, ["0"]),
        ({"score": None}, ["2"]),
        ({"at": {"city": "d"}}, ["3"]),
        ({"tags": [1, "x"]}, ["1"]),
        ({"tags": [{"$lt": 2}, "x"]}, ["0", "1"]),
        ({"missing": "x"}, []),
        ({"at": {"city": "a"}, "name": "bob"}, []),
    ):
        assert keys(kept.search(("people",), filter=wanted)) == found, wanted
    with pytest.raises(ValueError, match=r"unknown operator '\$like'"):
        kept.search(("people",), filter={"name": {"$like": "a"}})


def test_items_come_in_the_order_of_their_names_page_by_page(k: kedge.Kedge) -> None:
    kept = KedgeStore(k, agent="helper")
    names = [f"{n:03d}" for n in range(30)]
    for name in reversed(names):
        kept.put(("many",), name, {"even": int(name) % 2 == 0})
    assert keys(kept.search(("many",), limit=100)) == names
    pages = [keys(kept.search(("many",), limit=4, offset=offset)) for offset in range(0, 30, 4)]
    assert [name for page in pages for name in page] == names
    assert keys(kept.search(("many",), filter={"even": True}, limit=3, offset=2)) == ["004", "006", "008"]


def test_a_list_reads_no_further_than_it_returns(k: kedge.Kedge) -> None:
    kept = KedgeStore(k, agent="helper")
    kept.put(("facts",), "a", {"n": 1})
    k.deploy("v2", {"helper/prompt": "worse"})
    k.promote("v2")
    kept.put(("facts",), "b", {"n": 2})
    with k.turn(agent="planner") as turn:
        assert keys(kept.search(("facts",), limit=1)) == ["a"]
        assert turn.lineage == set()
        assert keys(kept.search(("facts",), limit=2)) == ["a", "b"]
        assert turn.lineage == {"v2"}


# ── time to live ──


def test_an_item_lives_on_from_its_last_read(k: kedge.Kedge, clock: HandClock) -> None:
    kept = KedgeStore(k, agent="helper", ttl={"default_ttl": 10.0})
    kept.put(("facts",), "a", {"n": 1})
    written = kept.get(("facts",), "a", refresh_ttl=False).updated_at
    clock.time += 6 * MINUTE
    assert kept.get(("facts",), "a").value == {"n": 1}
    clock.time += 6 * MINUTE
    (found,) = kept.search(("facts",))
    assert (found.value, found.updated_at) == ({"n": 1}, written), "a read changes no item"
    clock.time += 6 * MINUTE
    assert kept.get(("facts",), "a", refresh_ttl=False) is not None
    clock.time += 6 * MINUTE
    assert kept.get(("facts",), "a") is None
    assert (kept.search(("facts",)), kept.list_namespaces()) == ([], [])
    kept.put(("facts",), "b", {"n": 2}, ttl=None)
    clock.time += DAY
    assert keys(kept.search(("facts",))) == ["b"]
    assert (kept.sweep_ttl(), kept.sweep_ttl()) == (1, 0)


def test_a_refresh_overwrites_no_one_and_needs_no_permission(k: kedge.Kedge, clock: HandClock) -> None:
    kept = KedgeStore(k, agent="helper", ttl={"default_ttl": 10.0})
    kept.put(("facts",), "a", {"n": 1})
    clock.time += 6 * MINUTE
    with k.turn(agent="helper") as turn:
        space = turn.store("langgraph-store").space("")
        (entry,) = space.entries()
        kept.put(("facts",), "a", {"n": 2})
        store._refresh(space, [entry], GetOp(("facts",), "a"))
    assert kept.get(("facts",), "a").value == {"n": 2}
    clock.time += 6 * MINUTE
    k.set_level("helper", "frozen")
    assert kept.get(("facts",), "a").value == {"n": 2}
    with pytest.raises(kedge.Frozen):
        kept.put(("facts",), "a", {"n": 3})


def test_what_a_canary_s_read_kept_alive_goes_with_it(k: kedge.Kedge, clock: HandClock) -> None:
    kept = KedgeStore(k, agent="helper", ttl={"default_ttl": 10.0})
    kept.put(("facts",), "a", {"n": 1})
    k.deploy("v2", {"helper/prompt": "worse"}, canary=0.0)
    clock.time += 6 * MINUTE
    with k.turn(session="s", agent="helper", deployment="v2"):
        kept.get(("facts",), "a")
    clock.time += 6 * MINUTE
    assert kept.get(("facts",), "a") is None, "nobody else has read it"
    with k.turn(session="s", agent="helper"):
        assert kept.get(("facts",), "a", refresh_ttl=False) is not None
    k.rollback("v2")
    with k.turn(session="s", agent="helper"):
        assert kept.get(("facts",), "a") is None


def test_below_full_puts_are_refused_or_dropped(k: kedge.Kedge) -> None:
    kept, lenient = indexed(k, "text"), indexed(k, "text", drop_frozen=True)
    kept.put(("facts",), "a", {"text": "one"})
    k.set_level("helper", "frozen")
    with pytest.raises(kedge.Frozen):
        kept.put(("facts",), "b", {"text": "two"})
    with pytest.raises(kedge.Frozen):
        kept.delete(("facts",), "a")
    lenient.put(("facts",), "b", {"text": "two"})
    lenient.delete(("facts",), "a")
    assert keys(kept.search(("facts",), query="one")) == ["a"]
    k.set_level("helper", "full")
    lenient.put(("facts",), "b", {"text": "two"})
    assert keys(kept.search(("facts",))) == ["a", "b"]


def test_it_works_over_the_async_twin(place: str) -> None:
    async def main() -> None:
        async with kedge.aio.open(place) as k:
            await k.deploy("v2", {"helper/prompt": "x"}, canary=0.0)
            kept = KedgeStore(k, agent="helper")
            async with k.turn(session="s", agent="helper", deployment="v2") as turn:
                await kept.aput(("facts",), "a", {"n": 1})
                assert len(await kept.asearch(("facts",))) == 1
                assert turn.lineage == {"v2"}
            assert await kept.asearch(("facts",)) == []

    asyncio.run(main())


# ── the index ──


def test_rows_of_an_earlier_value_are_no_hits(k: kedge.Kedge) -> None:
    kept = indexed(k, "parts[*].text")
    kept.put(("facts",), "a", {"parts": [{"text": "one"}, {"text": "two"}, {"text": "three"}]})
    kept.put(("facts",), "b", {"parts": [{"text": "other"}]})
    assert kept.search(("facts",), query="three", limit=1)[0].key == "a"
    kept.put(("facts",), "a", {"parts": [{"text": "four"}]})
    found = {each.key: each.score for each in kept.search(("facts",), query="three")}
    assert found["a"] < 0.99, "the row of its third part is of the earlier value"
    kept.put(("facts",), "a", {"parts": [{"text": "four"}]}, index=False)
    assert {each.key: each.score for each in kept.search(("facts",), query="four")}["a"] is None
    kept.delete(("facts",), "a")
    assert keys(kept.search(("facts",), query="two")) == ["b"]
    with k.turn(agent="helper") as turn:
        assert len(turn.vectors("langgraph-store").ids()) == 3
        kept.sweep_ttl()
        assert turn.vectors("langgraph-store").ids() == ["facts/!b#0"]


def test_a_filter_reaches_items_that_are_far_from_the_query(k: kedge.Kedge) -> None:
    kept = indexed(k, "text")
    for n in range(60):
        kept.put(("facts",), f"{n:02d}", {"text": f"text {n}", "n": n, "kind": "odd" if n % 2 else "even"})
    few = kept.search(("facts",), query="text 7", filter={"n": {"$lt": 3}})
    assert sorted(keys(few)) == ["00", "01", "02"]
    assert all(each.score is not None for each in few)
    odd = kept.search(("facts",), query="text 7", filter={"kind": "odd"}, limit=50)
    assert (len(odd), odd[0].key) == (30, "07")
    assert all(each.score is not None for each in odd)
    pages = [keys(kept.search(("facts",), query="text 7", limit=7, offset=offset)) for offset in range(0, 60, 7)]
    assert sorted(key for page in pages for key in page) == [f"{n:02d}" for n in range(60)]


def test_the_embedder_influences_hits_and_not_items(k: kedge.Kedge) -> None:
    kept = indexed(k, "text")
    with k.turn(session="s", agent="helper") as turn:
        kept.put(("facts",), "a", {"text": "one"})
        assert turn.lineage == set()
        kept.search(("facts",), query="one")
        assert turn.lineage == {"e1"}
    k.deploy("e2", {"shared/embedder": embedder_artifact(FakeEmbeddings("two"))}, canary=0.0)
    changed = indexed(k, "text", model="two")
    with k.turn(session="t", agent="helper", deployment="e2"):
        changed.put(("facts",), "b", {"text": "two"})
        scores = {each.key: each.score for each in changed.search(("facts",), query="two")}
        assert (scores["a"], round(scores["b"] or 0, 5)) == (None, 1.0), "spaces are not compared"
    assert [each.key for each in kept.search(("facts",), query="two") if each.score is not None] == ["a"]
    k.rollback("e2")
    assert keys(kept.search(("facts",))) == ["a", "b"], "what was remembered stays, without a vector"


def test_another_model_than_the_pinned_one_is_refused(k: kedge.Kedge) -> None:
    kept = indexed(k, "text", model="two")
    with pytest.raises(kedge.InvalidVector, match=r"FakeEmbeddings\(model='two'\).*model='one'"):
        kept.put(("facts",), "a", {"text": "one"})
    with pytest.raises(kedge.InvalidVector):
        kept.search(("facts",), query="one")
    unpinned = indexed(k, "text", embedder="helper/embedder", name="other")
    with pytest.raises(kedge.UnknownName, match="deploy one, such as"):
        unpinned.search(("facts",), query="one")
    assert unpinned.search(("facts",)) == []


def test_the_view_may_choose_the_model(k: kedge.Kedge) -> None:
    k.deploy("e2", {"shared/embedder": embedder_artifact(FakeEmbeddings("two"))}, canary=0.0)
    models = {embedder_artifact(each).value["embedder"]: each for each in map(FakeEmbeddings, ("one", "two"))}
    kept = indexed(k, "text", choose=lambda artifact: models[artifact.value["embedder"]])
    with k.turn(agent="helper", deployment="e2"):
        kept.put(("facts",), "b", {"text": "two"})
        assert round(kept.search(("facts",), query="two")[0].score, 5) == 1.0
    kept.put(("facts",), "a", {"text": "one"})
    scores = {each.key: each.score for each in kept.search(("facts",), query="two")}
    assert scores["a"] is not None
    assert scores["b"] is None, "its vector is the canary's, the item is not: no prompt of the canary made it"


def test_functions_of_texts_are_told_apart_by_their_names(k: kedge.Kedge) -> None:
    def embed(texts: list[str]) -> list[list[float]]:
        return FakeEmbeddings("three").embed_documents(texts)

    k.deploy("own", {"own/embedder": embedder_artifact(embed)})
    k.promote("own")
    kept = KedgeStore(k, agent="helper", index={"dims": 8, "embed": embed}, embedder="own/embedder")
    kept.put(("facts",), "a", {"text": "one"})
    assert kept.search(("facts",), query="one")[0].score is not None

    def other(texts: list[str]) -> list[list[float]]:
        return embed(texts)

    changed = KedgeStore(k, agent="helper", index={"dims": 8, "embed": other}, embedder="own/embedder")
    with pytest.raises(kedge.InvalidVector, match=r"other.*embed"):
        changed.put(("facts",), "b", {"text": "one"})


# ── batches ──


def test_a_batch_is_all_there_or_not_at_all(k: kedge.Kedge) -> None:
    kept = KedgeStore(k, agent="helper")
    bad = {"n": object()}
    with pytest.raises(kedge.InvalidValue):
        kept.batch([PutOp(("facts",), "a", {"n": 1}), PutOp(("facts",), "b", bad)])
    assert kept.search(("facts",)) == []
    done = kept.batch([PutOp(("facts",), "a", {"n": 1}), SearchOp(("facts",)), PutOp(("facts",), "a", {"n": 2})])
    assert done == [None, [], None]
    assert kept.get(("facts",), "a").value == {"n": 2}


def test_calls_join_a_batch_of_the_caller(k: kedge.Kedge) -> None:
    kept = KedgeStore(k, agent="helper")
    with k.turn(agent="helper") as turn:
        with turn.batch():
            kept.put(("facts",), "a", {"n": 1})
            turn.context.put("fact", 1)
            assert kept.get(("facts",), "a") is None
        assert kept.get(("facts",), "a").value == {"n": 1}


def test_a_call_outside_turns_needs_an_agent(k: kedge.Kedge) -> None:
    with pytest.raises(kedge.Misuse, match="outside turns, and names no agent"):
        KedgeStore(k).get(("facts",), "a")


def test_async_calls_work_in_the_turn_of_their_task(k: kedge.Kedge) -> None:
    kept = indexed(k, "text")
    k.deploy("v2", {"helper/prompt": "worse"}, canary=0.0)

    async def work(name: str, deployment: str | None) -> frozenset[str]:
        with k.turn(session=name, agent="helper", deployment=deployment) as turn:
            await asyncio.gather(*(kept.aput((name,), str(n), {"text": str(n)}) for n in range(4)))
            await kept.asearch((name,))
            return turn.lineage

    async def main() -> None:
        one, two = await asyncio.gather(work("one", None), work("two", "v2"))
        assert (one, two) == (frozenset[str](), frozenset({"v2"}))

    asyncio.run(main())
    assert {each.namespace for each in kept.search(())} == {("one",)}
