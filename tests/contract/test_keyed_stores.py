"""Keyed stores of users' own: values, ranges, time to live, and every report and tool that must know them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

import kedge
from kedge import Kedge
from kedge.model.reads import RangeRead
from kedge.model.upgrade import FEATURES_SINCE
from kedge.stores.keyed import KeyedView
from kedge.stores.own import Values
from kedge.turns.scope import scope_of
from tests.contract.conftest import HandClock
from tests.contract.test_states import raise_fence

POSTGRES_ONE_IN = 4
NAME = "saved"
NAMES = [f"{letter}/{digit}" for letter in "abc" for digit in range(4)]


def values(turn: kedge.Turn, space: str = "thread-1") -> Values:
    return turn.store(NAME).space(space)


def influenced(k: Kedge, name: str = "v2") -> None:
    """Make a live release that an agent named `late` reads at its start."""
    k.deploy(name, {"late/prompt": name})
    k.promote(name)


@pytest.mark.parametrize("value", [b"", b"\x00\xff" * 50, "text", {"a": [1, None, 2.5]}, None, True, "é\u2028"])
def test_a_value_comes_back_as_it_was(k: Kedge, value: Any) -> None:
    with k.turn(agent="clerk") as turn:
        store = values(turn)
        seq = store.put("a", value)
        found = store.entry("a")
        assert found is not None
        assert (found.value, type(found.value), found.seq) == (value, type(value), seq)
        assert (found.key, found.origin, found.created_at, found.expires_at) == ("a", "derived", found.at, None)
        assert store.get("a", "other") == value
    view = k.view().store(NAME).space("thread-1")
    assert view.items() == {"a": value}
    assert k.view().store(NAME).space("thread-2").items() == {}
    assert k.view().store("other").space("thread-1").get("a", "none") == "none"


def test_spaces_and_stores_are_apart_and_kedges_own_are_not_reached(k: Kedge) -> None:
    with k.turn(agent="clerk") as turn:
        turn.context.put("a", "fact")
        for number, (store, space) in enumerate([("context", ""), ("memory", "s"), (NAME, ""), (NAME, "s")]):
            assert turn.store(store).space(space).get("a") is None
            turn.store(store).space(space).put("a", number)
        assert turn.context.get("a") == "fact"
        assert [turn.store(s).space(p).get("a") for s, p in (("context", ""), (NAME, ""), (NAME, "s"))] == [0, 2, 3]
        for wrong in ("", "a:b", "a\n", "é" * 300, 7):
            with pytest.raises(kedge.InvalidValue, match="store"):
                turn.store(wrong)  # type: ignore[arg-type]


def test_origins_are_derived_unless_stated_or_a_persons(k: Kedge) -> None:
    with k.turn(agent="clerk") as turn:
        values(turn).put_many({"a": 1, "b": 2}, origin="source")
        values(turn).put("c", 3)
        assert [entry.origin for entry in values(turn).entries()] == ["source", "source", "derived"]
    with k.turn(person="pat") as turn:
        values(turn).put("d", 4)
        assert values(turn).entries(after="c")[0].origin == "source"


def test_compare_and_set(k: Kedge) -> None:
    with k.turn(agent="clerk") as turn, k.turn(agent="clerk") as other:
        store = values(turn)
        first = store.put("a", 1, expect=0)
        second = store.put("a", 2, expect=first)
        values(other).put("a", 3, expect=second)
        with pytest.raises(kedge.ExpectationFailed) as failed:
            store.put("a", 4, expect=second)
        assert failed.value.seq == second + 1
        assert store.get("a") == 3
        store.delete("a", expect=second + 1)
        with pytest.raises(kedge.ExpectationFailed, match="absent"):
            store.delete("a", expect=second)


@pytest.mark.parametrize("seed", range(4))
def test_ranges_equal_a_sorted_dict(k: Kedge, seed: int) -> None:
    chance = random.Random(seed)
    truth = {name: chance.randrange(100) for name in chance.sample(NAMES, 9)}
    with k.turn(agent="clerk") as turn:
        store, context, documents = values(turn), turn.context, turn.documents("kb")
        for kept in (store, context, documents):
            kept.put_many(truth | {"gone": 1, "a/9": 1})
            kept.delete_many(["gone", "a/9", "never"])
        for _ in range(25):
            prefix, after = chance.choice(["", "a", "b/", "x"]), chance.choice([None, "a/2", "b/0", "b", "z"])
            limit, reverse = chance.choice([None, 0, 1, 3, 50]), chance.random() < 0.5
            names = sorted((name for name in truth if name.startswith(prefix)), reverse=reverse)
            names = [n for n in names if after is None or (n < after if reverse else n > after)][:limit]
            asked: Any = {"after": after, "limit": limit, "reverse": reverse}
            views: list[KeyedView] = [store, context, documents, k.view().store(NAME).space("thread-1")]
            for view in views:
                assert view.keys(prefix, **asked) == names
                assert list(view.items(prefix, **asked).items()) == [(name, truth[name]) for name in names]
                assert [entry.key for entry in view.entries(prefix, **asked)] == names
        asked_names = chance.sample([*NAMES, "gone", "never"], 8)
        for kept in (store, context, documents):
            assert kept.get_many(asked_names) == {name: truth[name] for name in asked_names if name in truth}
            assert kept.count("a") == sum(name.startswith("a") for name in truth)


def test_pages_follow_one_another_to_the_end(k: Kedge) -> None:
    with k.turn(agent="clerk") as turn:
        store = values(turn)
        store.put_many(dict.fromkeys(NAMES, 1))
        for reverse in (False, True):
            found: list[str] = []
            while page := store.keys(after=found[-1] if found else None, limit=5, reverse=reverse):
                found += page
            assert found == sorted(NAMES, reverse=reverse)


def test_a_limited_range_reads_no_further_than_its_last_value(k: Kedge) -> None:
    influenced(k)
    with k.turn(agent="clerk") as turn:
        values(turn).put_many({"a": 1, "b": 1, "d": 1})
    with k.turn(agent="late") as turn:
        values(turn).delete("c")
        values(turn).delete("a0")
        values(turn).put("e", 2)
    with k.turn(agent="clerk") as turn:
        store = values(turn)
        assert store.keys(limit=1) == ["a"]
        assert store.keys(after="e", limit=1) == []
        assert store.keys(after="a0", limit=1) == ["b"]
        assert turn.lineage == frozenset()
        assert store.keys(after="d", limit=1, reverse=True) == ["b"]
        assert turn.lineage == {"v2"}, "the delete of c lies between"
    for asked in ({"limit": 2}, {"after": "d", "limit": 1}, {"limit": 1, "reverse": True}, {"after": "b"}):
        with k.turn(agent="clerk") as turn:
            values(turn).keys(**asked)
            assert turn.lineage == {"v2"}, asked


def test_what_a_limited_range_covered_is_journaled(k: Kedge) -> None:
    with k.turn(agent="clerk") as turn:
        store = values(turn)
        store.put_many({"a/1": 1, "a/2": 1, "b": 1})
        store.keys("a/", limit=1)
        store.keys("a/", limit=5)
        store.keys("a/", after="a/1", limit=1)
        store.keys(limit=1, reverse=True)
        store.keys(limit=0)
        reads = [(r.prefix, r.low, r.high) for r in scope_of(turn).log._ranges]
        assert reads == [("a/", "a/", "a/1 "), ("a/", "", None), ("a/", "a/1 ", "a/2 "), ("", "b", None)]
        written = store.put("c", 1)
        provenance = scope_of(k.view()).backend.provenance
        writer = provenance.writers_of([written])[written].turn
        logged = [r for log in provenance.reads_of([writer])[writer] for r in log.ranges if r.store == f"store:{NAME}"]
        assert sorted((r.prefix, r.low, r.high) for r in logged) == sorted(reads)
        assert all(isinstance(r, RangeRead) and r.space == "thread-1" for r in logged)


# ── deleting ──


def test_deletes_of_a_prefix_read_their_range(k: Kedge) -> None:
    influenced(k)
    with k.turn(agent="late") as turn:
        values(turn).put_many({"b/1": 1, "b/2": 1})
    with k.turn(agent="clerk") as turn:
        store = values(turn)
        store.put_many({"a/1": 1, "a/2": 2, "c": 3})
        assert len(store.delete_prefix("a/")) == 2
        assert store.delete_prefix("a/") == []
        assert turn.lineage == frozenset()
        assert store.delete_many(["b/1"])
        assert turn.lineage == frozenset(), "a delete by name is blind"
    with k.turn(agent="clerk") as turn:
        values(turn).delete_prefix("b")
        assert turn.lineage == {"v2"}
    with k.turn(agent="clerk") as turn:
        assert len(values(turn).clear()) == 1
        assert values(turn).items() == {}
        with pytest.raises(kedge.InvalidValue, match="empty"):
            values(turn).delete_prefix("")


def test_vectors_are_deleted_by_filter(k: Kedge) -> None:
    influenced(k)
    with k.turn(agent="clerk") as turn:
        rows = turn.vectors("kb")
        rows.upsert(["a", "b", "c"], [[1, 0, 0], [0, 1, 0], [0, 0, 1]], [{"doc": 1}, {"doc": 2}, {"doc": 1}])
        assert len(rows.delete(where={"doc": 1})) == 2
        assert rows.ids() == ["b"]
        assert rows.delete(where={"doc": {"gte": 7}}) == []
        for wrong in ({}, {"ids": ["b"], "where": {"doc": 2}}):
            with pytest.raises(kedge.InvalidValue, match="either ids or where"):
                rows.delete(**wrong)  # type: ignore[arg-type]
        with pytest.raises(kedge.InvalidValue, match="would delete every row"):
            rows.delete(where={})
        assert rows.ids() == ["b"]
        assert turn.lineage == frozenset()
    with k.turn(agent="late") as turn:
        turn.vectors("kb").upsert(["z"], [[1, 0, 0]], [{"doc": 9}])
    with k.turn(agent="clerk") as turn:
        turn.vectors("kb").delete(where={"doc": 2})
        assert turn.lineage == {"v2"}, "it read the whole collection"


# ── time to live ──


def test_an_expired_value_is_absent_and_reveals_nothing_older(k: Kedge, clock: HandClock) -> None:
    with k.turn(agent="clerk") as turn:
        store = values(turn)
        store.put("a", "older")
        seq = store.put("a", "short", ttl=10)
        store.put_many({"b": 1, "c": 2}, ttl=20)
        entry = store.entry("a")
        assert entry is not None
        assert entry.expires_at == pytest.approx(entry.created_at + 10)
        assert (entry.fresh_for, entry.stale) == (None, False)
        clock.time += 9.9
        assert store.get("a") == "short"
        clock.time += 1
        assert (store.get("a"), store.entry("a"), store.keys(), store.count()) == (None, None, ["b", "c"], 2)
        assert store.get_many(["a", "b"]) == {"b": 1}
        with pytest.raises(kedge.ExpectationFailed, match="absent"):
            store.put("a", "newer", expect=seq)
        store.put("a", "newer", expect=0)
        assert store.get("a") == "newer"
        clock.time += 20
        assert (store.items(), store.delete_prefix("b")) == ({"a": "newer"}, [])
        for wrong in (0, -1, "soon"):
            with pytest.raises(kedge.InvalidValue, match="ttl"):
                store.put("a", 1, ttl=wrong)  # type: ignore[arg-type]


@pytest.mark.both
def test_forks_and_rewinds_copy_what_is_left_of_a_time_to_live(k: Kedge, clock: HandClock) -> None:
    with k.turn("s", agent="clerk") as turn:
        space = turn.store("own").space("s")
        space.put_many({"short": 1, "reset": 1}, ttl=10)
        space.put("long", 2, ttl=100)
        first = k.seq
        space.put_many({"short": 3, "reset": 3})
    clock.time += 5
    rewound = k.rewind("s", first)
    assert items(k, "s") == {"short": 1, "reset": 1, "long": 2}
    with k.turn("s", agent="clerk") as turn:
        turn.store("own").space("s").put("reset", 4, ttl=10)
    clock.time += 6
    assert items(k, "s") == {"reset": 4, "long": 2}
    assert k.undo_rewind(rewound.id).restored == 1
    assert items(k, "s") == {"short": 3, "reset": 4, "long": 2}
    clock.time += 5
    k.fork_session("s", "t")
    assert items(k, "t") == items(k, "s") == {"short": 3, "long": 2}, "what had expired stays so"
    entry = k.view(session="s").store("own").space("s").entry("long")
    copied = k.view(session="t").store("own").space("t").entry("long")
    assert entry is not None
    assert copied is not None
    assert copied.expires_at == pytest.approx(entry.expires_at)
    clock.time += 85
    assert items(k, "t") == items(k, "s") == {"short": 3}


def items(k: Kedge, session: str) -> dict[str, Any]:
    return k.view(session=session).store("own").space(session).items()


def test_a_head_that_was_read_may_expire_before_it_is_compared(k: Kedge, clock: HandClock) -> None:
    with k.turn(agent="clerk") as turn:
        store = values(turn)
        seq = store.put("a", 1, ttl=10, expect=0)
        assert store.get("a") == 1
        clock.time += 11
        with pytest.raises(kedge.ExpectationFailed, match="absent"):
            store.put("a", 2, expect=seq)


def test_the_past_expires_by_its_own_time(k: Kedge, clock: HandClock) -> None:
    with k.turn(agent="clerk") as turn:
        written = values(turn).put("a", 1, ttl=10)
        clock.time += 8
        within = values(turn).put("b", 1)
        clock.time += 8
        after = values(turn).put("c", 1)
    clock.time += 1_000
    shown = {seq: k.at(seq).store(NAME).space("thread-1").keys() for seq in (written, within, after)}
    assert shown == {written: ["a"], within: ["a", "b"], after: ["b", "c"]}


def test_an_expired_head_adds_its_lineage(k: Kedge, clock: HandClock) -> None:
    influenced(k)
    with k.turn(agent="late") as turn:
        values(turn).put("a", 1, ttl=10)
    clock.time += 11
    reads: list[Callable[[Values], object]] = [
        lambda s: s.get("a"), lambda s: s.keys(), lambda s: s.count("a"), lambda s: s.get_many(["a"]),
        lambda s: s.put("a", 2, expect=0), lambda s: s.keys(limit=1),
    ]  # fmt: skip
    for read in reads:
        with k.turn(agent="clerk") as turn:
            read(values(turn))
            assert turn.lineage == {"v2"}
            values(turn).delete("a", origin="source")
            values(turn).put("a", None, origin="source")
            values(turn).delete("a", origin="source")
        with k.turn(agent="late") as turn:
            values(turn).put("a", 1, ttl=10)
        clock.time += 11


@pytest.mark.parametrize("seed", range(3))
def test_limits_count_only_what_has_not_expired(k: Kedge, clock: HandClock, seed: int) -> None:
    chance = random.Random(seed)
    names = [f"{number:03}" for number in range(130 if seed == 0 else 12)]
    with k.turn(agent="clerk") as turn:
        store = values(turn)
        short = [name for name in names if chance.random() < 0.8]
        store.put_many(dict.fromkeys(names, 1))
        store.put_many(dict.fromkeys(short, 2), ttl=10)
        clock.time += 11
        left = sorted(set(names) - set(short))
        for limit in (1, 2, 5, None):
            assert store.keys(limit=limit) == left[:limit]
            assert store.keys(limit=limit, reverse=True) == left[::-1][:limit]


def test_an_expired_value_that_lies_beyond_the_limit_is_not_read(k: Kedge, clock: HandClock) -> None:
    influenced(k)
    with k.turn(agent="clerk") as turn:
        values(turn).put_many({"b": 1, "d": 1})
        values(turn).put("a", 1, ttl=10)
    with k.turn(agent="late") as turn:
        values(turn).put("c", 1, ttl=10)
    clock.time += 11
    with k.turn(agent="clerk") as turn:
        assert values(turn).keys(limit=1) == ["b"]
        assert turn.lineage == frozenset()
        assert values(turn).keys(limit=2) == ["b", "d"]
        assert turn.lineage == {"v2"}


def test_expired_values_are_swept_and_then_reclaimed(k: Kedge, clock: HandClock) -> None:
    with k.turn(agent="clerk") as turn:
        store = values(turn)
        store.put_many({"a/1": 1, "b": 2}, ttl=10)
        store.put_many({"a/2": 3, "c": 4})
        assert store.delete_expired() == []
        clock.time += 11
        assert len(store.delete_expired("a/")) == 1
        assert len(store.delete_expired()) == 1
        assert (store.delete_expired(), store.items()) == ([], {"a/2": 3, "c": 4})
    clock.time += 100
    with k.turn(agent="clerk") as turn:
        turn.context.put("later", 1)
    k.set_retention(50, store=f"store:{NAME}")
    assert k.reclaim().stores[f"store:{NAME}"].rows == 2


def test_a_replay_reads_what_had_not_expired_when_its_input_came(k: Kedge, clock: HandClock) -> None:
    with k.turn(agent="clerk") as turn:
        values(turn).put("token", "valid", ttl=60)
    influenced(k)
    with k.turn(session="s", agent="late") as turn:
        turn.memory.append("user", "hello")
        turn.memory.append("assistant", "bad")
    k.rollback("v2")
    clock.time += 3_600
    seen = []
    report = k.replay(lambda turn, _: seen.append(values(turn).get("token")))
    assert (seen, len(report.replayed)) == (["valid"], 1)
    with k.turn(agent="clerk") as turn:
        assert values(turn).get("token") is None


# ── rollback, replay, reports ──


@pytest.mark.both
def test_a_rollback_hides_and_a_reinstate_returns_them_as_anywhere(k: Kedge) -> None:
    with k.turn(agent="clerk") as turn:
        values(turn).put_many({"a": "good", "b": "good"})
    influenced(k)
    with k.turn(session="s", agent="late") as turn:
        turn.memory.append("user", "hello")
        values(turn).put("a", "bad")
        values(turn).put("c", "bad", origin="source")
        values(turn).delete("b")
        values(turn, "thread-2").put("x", "bad")
    plan = k.plan("v2")
    sums = [(s.store, s.spaces, s.writes) for s in plan.stores if s.store.startswith("store:")]
    assert sums == [("store:saved", 2, 3)]
    examples = {(e.store, e.space, e.key): (e.from_seq > 0, e.to_seq > 0) for e in plan.examples}
    assert examples["store:saved", "thread-1", "a"] == (True, True)
    assert examples["store:saved", "thread-2", "x"] == (True, False)
    assert [item.store for item in plan.replay_inputs] == ["memory"], "a source write to a store is no input"
    before = k.view().store(NAME).space("thread-1").items()
    report = k.rollback("v2")
    assert report.ok
    view = k.view().store(NAME).space("thread-1")
    assert (view.items(), view.keys(limit=2)) == ({"a": "good", "b": "good", "c": "bad"}, ["a", "b"])
    assert report.indicators is not None
    assert report.indicators.leaks == ()
    differing = [space.store for space in k.diff(k.at(report_seq(k)), k.view()).spaces if space.differs]
    assert f"store:{NAME}" in differing
    assert k.fsck(full=True).findings == ()
    k.reinstate("v2")
    assert k.view().store(NAME).space("thread-1").items() == before


def report_seq(k: Kedge) -> int:
    """Return the last seq before the last rollback."""
    return next(entry.seq for entry in k.log(50) if entry.kind == "rollback") - 1


def test_a_canarys_values_are_its_own(k: Kedge) -> None:
    k.deploy("v2", {"late/prompt": "…"}, canary=0.0)
    with k.turn(agent="late", deployment="v2") as turn:
        values(turn).put_many({"a": 1, "b": 2})
    with k.turn(agent="late") as turn:
        assert (values(turn).items(), values(turn).keys(limit=3), values(turn).get_many(["a"])) == ({}, [], {})
        assert turn.lineage == frozenset()


def test_retention_and_holds_know_the_store(k: Kedge, clock: HandClock) -> None:
    with k.turn(agent="clerk") as turn:
        seqs = [values(turn).put("a", "x" * 100) for _ in range(3)]
        kept = [values(turn, "kept").put("a", "x" * 100) for _ in range(3)]
    clock.time += 86_400
    with k.turn(agent="clerk") as turn:
        turn.context.put("later", 1)
    k.set_retention(3_600, store=f"store:{NAME}")
    k.set_retention(store=f"store:{NAME}", space="kept", hold=True)
    report = k.reclaim()
    assert report.stores[f"store:{NAME}"].rows == 2
    assert k.status().disk[f"store:{NAME}"].bytes > 0
    assert k.view().store(NAME).space("thread-1").get("a") == "x" * 100
    with pytest.raises(kedge.PastUnreadable, match="retention"):
        k.at(seqs[0]).store(NAME).space("thread-1").get("a")
    assert k.at(kept[0]).store(NAME).space("kept").get("a") == "x" * 100
    for wrong in ("saved", "store:", "store:a:b", "stores"):
        with pytest.raises(kedge.InvalidValue, match="invalid store"):
            k.set_retention(60, store=wrong)


def test_an_old_database_wants_its_upgrade_first(k: Kedge) -> None:
    raise_fence(k, FEATURES_SINCE - 1)
    with kedge.open(k.url) as again, again.turn(agent="clerk") as turn:
        with pytest.raises(kedge.IllegalTransition, match="kedge upgrade"):
            turn.store(NAME)
        assert again.view().store(NAME).space("x").items() == {}
        again.upgrade()
        values(turn).put("a", 1)


# ── wrong input ──

WRONG = {
    "a range's limit": lambda s: s.keys(limit=-1),
    "a range's limit of another type": lambda s: s.keys(limit="3"),
    "a range's start": lambda s: s.keys(after=""),
    "a prefix": lambda s: s.items(7),
    "one name for several": lambda s: s.get_many("abc"),
    "one name to delete": lambda s: s.delete_many("abc"),
    "a list to put": lambda s: s.put_many(["a"]),
    "a name": lambda s: s.put("", 1),
    "a value": lambda s: s.put("a", object()),
    "a value among several": lambda s: s.put_many({"a": 1, "b": {1}}),
    "an expectation": lambda s: s.put("a", 1, expect=-1),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_input_is_refused_and_writes_nothing(k: Kedge, what: str) -> None:
    with k.turn(agent="clerk") as turn:
        before = k.seq
        with pytest.raises(kedge.InvalidValue):
            WRONG[what](values(turn))
        assert k.seq == before
