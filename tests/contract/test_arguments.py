"""Arguments of public calls: numpy's scalars are numbers; what a call cannot mean is refused before it acts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kedge
from kedge import Kedge, Turn
from kedge.integrations.turns import sync_of

Call = Callable[[Turn], object]
A, B = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
PAYLOADS: list[Any] = [
    {"n": 1, "meta": {"lang": "en", "deep": {"x": 1}}},
    {"n": 2, "meta": {"lang": "de"}, "meta.lang": "fr"},  # the key itself wins over the path
    {"n": 3, "meta": "en", "tags": ["a", "b"]},
    {"n": 4, "meta": {"deep.x": 1, "lang": None}},
    None,
    b"meta.lang",
]
NOW = datetime(2024, 1, 1, tzinfo=UTC)


def ids(found: kedge.Hits) -> set[str]:
    return {hit.id for hit in found}


@pytest.fixture(params=[(), ("meta.lang", "n"), ("meta.deep.x",)], ids=["undeclared", "declared", "some declared"])
def kb(k: Kedge, request: pytest.FixtureRequest) -> Kedge:
    k.collection("kb", dim=3, fields=request.param)
    with k.turn(agent="support") as turn:
        turn.vectors("kb").upsert([f"r{n}" for n in range(len(PAYLOADS))], [A] * len(PAYLOADS), PAYLOADS)
    return k


# ── filters ──


PASSING: list[tuple[dict[str, Any], set[str]]] = [
    ({"meta.lang": "en"}, {"r0"}),
    ({"meta.lang": "fr"}, {"r1"}),
    ({"meta.lang": "de"}, set()),
    ({"meta.lang": None}, {"r3"}),
    ({"meta.lang": {"ne": "x"}}, {"r0", "r1", "r3"}),
    ({"meta.deep.x": 1}, {"r0", "r3"}),
    ({"meta.deep": {"eq": {"x": 1}}}, {"r0"}),
    ({"or": [{"meta.lang": {"in": ("fr",)}}, {"meta.deep.x": {"gte": 1}}]}, {"r0", "r1", "r3"}),
    ({"tags.0": "a"}, set()),
    ({"tags": ("a", "b")}, {"r2"}),
    ({"n": np.int64(2)}, {"r1"}),
    ({"n": {"gte": np.float32(3.0)}}, {"r2", "r3"}),
    ({"n": {"in": {np.int8(1), 2.0}}}, {"r0", "r1"}),
    ({"n": {"lt": float("inf")}}, {"r0", "r1", "r2", "r3"}),
    ({"meta.lang": np.str_("en")}, {"r0"}),
]


@pytest.mark.both
def test_a_filter_reaches_nested_fields_and_takes_numpy_s_numbers(kb: Kedge) -> None:
    found = kb.view().vectors("kb")
    for where, passing in PASSING:
        assert ids(found.search(A, where=where)) == passing, where
        assert ids(found.search(A, where=where, exact=True)) == passing, where
        assert {ident for rows in found.batches(2, where) for ident in rows.ids} == passing, where


UNHELD: list[tuple[dict[str, Any], str]] = [
    ({"ts": {"gte": NOW}}, r"where\['ts'\]\['gte'\] is .*datetime.*which no payload holds.*ISO 8601"),
    ({"ts": NOW.date()}, "of type date"),
    ({"ts": {"in": [1, NOW]}}, r"a value in where\['ts'\]\['in'\] .*of type datetime"),
    ({"ts": np.datetime64("2024-01-01")}, "of type datetime64"),
    ({"ts": {"lt": np.timedelta64(1, "s")}}, "of type timedelta64"),
    ({"ts": {"lt": timedelta(1)}}, "of type timedelta"),
    ({"n": Decimal(1)}, "of type Decimal"),
    ({"n": b"1"}, "of type bytes"),
    ({"n": {"eq": {1, 2}}}, "of type set"),
    ({"n": float("nan")}, "nan"),
    ({"n": {"eq": float("inf")}}, "inf"),
    ({"n": [NOW]}, "datetime"),
    ({"n": object()}, "of type object"),
    ({"meta": {"lang": "en"}}, "unknown operator 'lang'.*'meta.lang' for a field inside 'meta'"),
]


def test_a_filter_that_no_payload_could_pass_is_refused(k: Kedge) -> None:
    kb = k.view().vectors("kb")
    for where, told in UNHELD:
        with pytest.raises(kedge.InvalidValue, match=told):
            kb.search(A, where=where)
        with pytest.raises(kedge.InvalidValue, match=told):
            kb.batches(where={"and": [where]})


# ── numpy's scalars ──


NUMPY: list[tuple[Any, Any]] = [
    (np.int64(-7), -7),
    (np.uint64(2**64 - 1), 2**64 - 1),
    (np.float32(0.5), 0.5),
    (np.float64(0.1), 0.1),
    (np.longdouble(0.5), 0.5),
    (np.bool_(True), True),
    (np.str_("text"), "text"),
]


def test_values_may_hold_numpy_s_scalars(k: Kedge) -> None:
    for number, (given, held) in enumerate(NUMPY):
        check_value(k, f"s{number}", given, held)


def check_value(k: Kedge, session: str, given: Any, held: Any) -> None:
    with k.turn(session=session, agent="support") as turn:
        turn.context.put("a", {"value": given, "list": [given]})
        turn.context.put("b", given)
        turn.documents("kb").put("d", given)
        turn.memory.append("user", given)
        turn.vectors("kb").upsert(["a"], [A], [{"value": given}])
        turn.observe("metric", given)
        assert turn.cache.get_or_compute(session, lambda: given) == held
        for found in (
            turn.context.get("a")["value"],
            turn.context.get("a")["list"][0],
            turn.context.get("b"),
            turn.documents("kb").get("d"),
            turn.memory.history()[0].content,
            turn.vectors("kb").search(A)[0].payload["value"],
        ):
            assert (found, type(found)) == (held, type(held))


@pytest.mark.both
def test_counts_seconds_and_names_may_be_numpy_s(k: Kedge) -> None:
    one: Any = np.int64(1)
    names: Any = np.array(["a", "b"])
    number: Callable[[Any], Any] = np.int64
    with k.turn(session="s", agent="support") as turn:
        vectors = turn.vectors("kb")
        seqs = vectors.upsert(names, np.array([A, B]), np.array([1, 2]))  # type: ignore[arg-type]
        assert list(vectors.get(names)) == ["a", "b"] == vectors.ids()
        assert [hit.id for hit in vectors.search(B, k=one)] == ["b"]
        assert [len(rows) for rows in vectors.batches(size=one)] == [1, 1]
        turn.memory.extend([("user", n) for n in range(2)])
        [message] = turn.memory.history(limit=one)
        turn.memory.delete(number(message.seq))
        seq = turn.context.put("fact", 1, fresh_for=number(5))
        turn.context.put("fact", 2, expect=number(seq))
        turn.headers(ttl=number(60))
    assert k.at(number(seqs[0] - 1)).vectors("kb").count() == 0
    assert k.collection("numpy", dim=number(4)).dim == 4
    assert len(k.log(limit=one)) == 1
    assert k.deploy("v2", {"support/prompt": "x"}, canary=np.float64(0.5)).weight == 0.5
    k.set_retention(number(3600))


@pytest.mark.parametrize("value", [np.datetime64("2024-01-01"), np.timedelta64(1, "s"), np.complex64(1)])
def test_numpy_s_scalars_that_json_lacks_are_refused(k: Kedge, value: Any) -> None:
    with k.turn(session="s", agent="support") as turn:
        with pytest.raises(kedge.InvalidValue, match="not JSON; inside lists"):
            turn.context.put("a", [value])
        with pytest.raises(kedge.InvalidValue, match="neither JSON nor bytes"):
            turn.context.put("a", value)
        with pytest.raises(kedge.InvalidValue, match="number, bool or string"):
            turn.observe("metric", value)
        with pytest.raises(kedge.InvalidValue, match=r"k .*: must be 1 or more"):
            turn.vectors("kb").search(A, k=value)


# ── what a call cannot mean ──


ROW = {"lang": "en"}
REFUSED: dict[str, tuple[Call, str]] = {
    "a payload for one row": (lambda t: t.vectors("kb").upsert(["a"], [A], ROW), r"write \[\{…\}\]"),  # type: ignore[arg-type]
    "payloads in a set": (lambda t: t.vectors("kb").upsert(["a"], [A], {1}), "must be a list with one value"),  # type: ignore[arg-type]
    "ids in a mapping": (lambda t: t.vectors("kb").upsert({"a": 1}, [A]), "ids .*must be a list"),  # type: ignore[arg-type]
    "ids in a set": (lambda t: t.vectors("kb").upsert({"a"}, [A]), "a set has no order"),  # type: ignore[arg-type]
    "ids of bytes": (lambda t: t.vectors("kb").delete(b"ab"), "ids .*must be a list"),  # type: ignore[arg-type]
    "ids that are numbers": (lambda t: t.vectors("kb").delete(np.array([1])), "must be a string, not"),  # type: ignore[arg-type]
    "documents in a list": (lambda t: t.documents("kb").put_many([("a", 1)]), "must be a mapping of ids"),  # type: ignore[arg-type]
    "a cache that computes 3": (lambda t: t.cache.get_or_compute("a", 3), "compute 3 .int.: must be a function"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("call", REFUSED)
def test_what_a_turn_s_call_cannot_mean_is_refused_and_nothing_is_written(k: Kedge, call: str) -> None:
    do, told = REFUSED[call]
    with k.turn(session="s", agent="support") as turn:
        before = k.seq
        with pytest.raises(kedge.InvalidValue, match=told):
            do(turn)
        assert k.seq == before


UNCALLABLE: dict[str, Callable[[Kedge], object]] = {
    "callback": lambda k: k.on_change(3),  # type: ignore[arg-type]
    "handler": lambda k: k.replay("handler"),  # type: ignore[arg-type]
    "holds": lambda k: k.join("m", holds=3),  # type: ignore[arg-type]
    "on_step": lambda k: k.rollback("v2", on_step=3),  # type: ignore[arg-type]
    "progress": lambda k: k.optimize("kb", progress=3),  # type: ignore[arg-type]
    "on_failure": lambda k: k.backfill(None, list, on_failure=3),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", UNCALLABLE)
def test_what_cannot_be_called_is_refused_before_anything_is_done(k: Kedge, what: str) -> None:
    k.deploy("v2", {"support/prompt": "x"}, canary=1.0)
    epoch = k.epoch
    with pytest.raises(kedge.InvalidValue, match=f"invalid {what} .*must be a function"):
        UNCALLABLE[what](k)
    assert (k.epoch, k.members()) == (epoch, [])


def test_a_deployment_without_an_artifact_is_refused(k: Kedge) -> None:
    with pytest.raises(kedge.InvalidValue, match=r"'empty': a deployment has at least one artifact.*<agent>/code"):
        k.deploy("empty", {})
    assert [deployment.name for deployment in k.deployments()] == ["base"]
    assert k.deploy("release", {"shared/code": "4f2a"}).artifacts == ("shared/code",)


@pytest.mark.parametrize("address", [5, None, b"state", ["state"], date(2024, 1, 1)])
def test_an_address_that_is_neither_text_nor_path_is_refused(address: Any, tmp_path: Path) -> None:
    for use in (kedge.open, lambda url: kedge.migrate_store(url, tmp_path), lambda url: kedge.compare_stores(url, url)):
        with pytest.raises(kedge.InvalidValue, match=r"invalid address .*must be a folder, sqlite:///PATH"):
            use(address)


def test_a_path_of_another_class_is_an_address(tmp_path: Path) -> None:
    class Place:
        def __fspath__(self) -> str:
            return str(tmp_path / "there")

    with kedge.open(Place()) as k:  # type: ignore[arg-type]
        assert k.url.endswith("there/kedge.db")


@pytest.mark.parametrize("given", ["state", None, Path("state")])
def test_an_integration_takes_an_open_database_only(given: Any, k: Kedge) -> None:
    assert sync_of(k) is k
    with pytest.raises(kedge.InvalidValue, match=r"not an open database: .*; open it first, with kedge\.open"):
        sync_of(given)


def test_an_artifact_that_is_only_staged_says_what_to_do(k: Kedge) -> None:
    k.deploy("v1", {"support/tone": "x"})
    with k.turn(agent="support") as turn, pytest.raises(kedge.UnknownName, match="deploy it, and promote"):
        turn.artifacts["support/tone"]
