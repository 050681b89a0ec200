"""Values that JSON cannot hold come back as the types that a codec declares; the data names tags, never classes."""

from __future__ import annotations

import dataclasses
import enum
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

import kedge
from kedge import Codec
from kedge.model.codec import TYPE, VALUE, Typed

POSTGRES_ONE_IN = 6
NOON = datetime(2026, 2, 3, 12, 0, 0, 5, UTC)


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass(frozen=True)
class Order:
    at: datetime
    price: Decimal
    items: tuple[str, ...] = ()


class Case(msgspec.Struct, frozen=True):
    day: date
    orders: list[Order] = []


class Point:
    """A type that nothing knows."""

    def __init__(self, x: Any, y: int) -> None:
        self.x, self.y = x, y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)

    __hash__ = None  # type: ignore[assignment]


class Model:
    """What a pydantic model offers."""

    def __init__(self, n: int) -> None:
        self.n = n

    def model_dump(self, mode: str) -> dict[str, int]:
        assert mode == "json"
        return {"n": self.n}

    @classmethod
    def model_validate(cls, data: Any) -> Model:
        return cls(data["n"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and self.n == other.n

    __hash__ = None  # type: ignore[assignment]


TYPES: dict[str, Typed] = {
    "time": datetime, "day": date, "span": timedelta, "decimal": Decimal, "uuid": uuid.UUID, "colour": Colour,
    "order": Order, "case": Case, "set": (set, sorted, set), "bytes": (bytes, bytes.hex, bytes.fromhex),
    "point": (Point, lambda p: [p.x, p.y], lambda data: Point(*data)), "model": Model,
}  # fmt: skip
VALUES: list[Any] = [
    NOON, date(2026, 2, 3), timedelta(days=1, seconds=0.5), Decimal("1.10"), uuid.UUID(int=7), Colour.RED,
    Order(NOON, Decimal("9.99"), ("a", "b")), Case(date(2026, 1, 1), [Order(NOON, Decimal(1))]), {1, 2}, Point(1, 2),
    Point(Decimal("0.1"), 2), Model(3), [NOON, {"a": {"b": (Decimal(2), None)}}], {TYPE: "time", VALUE: NOON},
    {TYPE: "", VALUE: {TYPE: 1, "when": NOON}}, {"when": NOON, "plain": {TYPE: "nothing"}}, [b"\x00", NOON],
    {TYPE: "time", VALUE: "text"}, "text", None, 1.5, [], {}, [1, {"a": 2}],
]  # fmt: skip


@pytest.fixture
def k(place: str) -> Iterator[kedge.Kedge]:
    with kedge.open(place, durability="normal", codec=Codec(TYPES)) as opened:
        yield opened


def as_lists(value: Any) -> Any:
    """Return a value as JSON returns it: with lists for tuples."""
    if isinstance(value, list | tuple):
        return [as_lists(item) for item in value]
    return {name: as_lists(item) for name, item in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("number", range(len(VALUES)))
def test_a_value_comes_back_as_what_it_was(k: kedge.Kedge, number: int) -> None:
    value = VALUES[number]
    expected = as_lists(value)
    with k.turn(agent="clerk") as turn:
        own = turn.store("own").space("")
        for kept in (own, turn.context, turn.documents("kb")):
            kept.put("a", value)
            kept.put_many({"b": value})
            assert (kept.get("a"), kept.items()) == (expected, {"a": expected, "b": expected})
            assert type(kept.get("a")) is type(expected)
            assert kept.entries(limit=1)[0].value == expected
        assert turn.cache.get_or_compute("key", lambda: value) == expected
        assert turn.cache.get_or_compute("key", lambda: None) == expected
    assert k.view().context.get_many(["a"]) == {"a": expected}


def test_bytes_alone_stay_bytes_without_a_tag(k: kedge.Kedge) -> None:
    with kedge.open(k.url) as plain, k.turn(agent="clerk") as turn:
        turn.context.put("a", {"n": 1, TYPE: "time"})
        assert plain.view().context.get("a") == {"n": 1, TYPE: "time"}, "nothing typed in it: stored as it is"


def test_without_a_codec_or_its_tag(k: kedge.Kedge) -> None:
    with k.turn(agent="clerk") as turn:
        turn.context.put("a", {"when": NOON})
        turn.context.put("b", "plain")
    with kedge.open(k.url) as plain:
        stored = plain.view().context.items()
        assert stored == {"a": {"when": {TYPE: "time", VALUE: "2026-02-03T12:00:00.000005Z"}}, "b": "plain"}
        with plain.turn(agent="clerk") as turn, pytest.raises(kedge.InvalidValue, match=r"neither JSON|not JSON"):
            turn.context.put("c", {"when": NOON})
    with kedge.open(k.url, codec=Codec({"tims": date})) as other:
        assert other.view().context.get("b") == "plain"
        with pytest.raises(kedge.InvalidValue, match=r"the type tag 'time'.*did you mean 'tims'"):
            other.view().context.get("a")
    with kedge.open(k.url, codec=Codec({"time": Decimal})) as wrong, pytest.raises(kedge.InvalidValue, match="decode"):
        wrong.view().context.get("a")


def test_a_replay_gets_the_typed_input(k: kedge.Kedge) -> None:
    k.deploy("v2", {"late/prompt": "…"})
    k.promote("v2")
    with k.turn(agent="late") as turn:
        turn.context.put("asked", {"by": NOON}, origin="source")
        turn.context.put("answer", 1)
    k.rollback("v2")
    seen = []
    k.replay(lambda _, item: seen.append(item.value))
    assert seen == [{"by": NOON}]


def test_the_same_typed_call_is_a_repeat(k: kedge.Kedge) -> None:
    with k.turn(agent="clerk") as turn:
        first = turn.context.put("a", {"when": NOON}, idempotency="call")
        assert turn.context.put("a", {"when": NOON}, idempotency="call") == first
        with pytest.raises(kedge.IdempotencyMismatch):
            turn.context.put("a", {"when": NOON.isoformat()}, idempotency="call")


@pytest.mark.parametrize(
    "types",
    [[], {"": date}, {"a": "datetime"}, {"a": Point}, {"a": (Point, 1, 2)}, {"a": date, "b": date}, {"a": dict},
     {"a": list}, {"a": object}, {"a": (Point, repr)}],
)  # fmt: skip
def test_wrong_types_are_refused(types: Any) -> None:
    with pytest.raises(kedge.InvalidValue):
        Codec(types)


def test_a_function_that_fails_is_named(place: str) -> None:
    def fail(_: object) -> Any:
        raise KeyError("x")

    for types, match in (
        ({"point": (Point, fail, fail)}, "encoder refuses"),
        ({"point": (Point, lambda p: p, fail)}, "Point again"),
        ({"point": (Point, lambda _: object(), fail)}, r"neither JSON|not JSON"),
    ):
        with kedge.open(place, codec=Codec(types)) as k, k.turn(agent="clerk") as turn:
            before = k.seq
            with pytest.raises(kedge.InvalidValue, match=match):
                turn.context.put("a", [Point(1, 2)])
            assert k.seq == before
    with pytest.raises(kedge.InvalidValue, match=r"kedge\.Codec"):
        kedge.open(place, codec={"a": date})  # type: ignore[arg-type]
