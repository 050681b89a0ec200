"""Pure checks of imports: ids, payloads, matrices, and names of target collections."""

import datetime as dt
import math
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pytest

from kedge.bulk.arrow import plain
from kedge.bulk.sources import ident, pick_all, readable, stack
from kedge.errors import InvalidValue, KedgeError, Misuse, UnknownName
from kedge.support.optional import require


@pytest.mark.parametrize(("value", "text"), [("a", "a"), (7, "7"), (UUID(int=1), str(UUID(int=1)))])
def test_an_id_is_text(value: Any, text: str) -> None:
    assert ident(value, "row 1") == text


@pytest.mark.parametrize("value", [None, 1.0, True, b"x", [1], {}])
def test_what_is_no_id_is_named(value: Any) -> None:
    with pytest.raises(InvalidValue, match="row 1 has the invalid id"):
        ident(value, "row 1")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, None), ("x", "x"), (True, True), (3, 3), (0.5, 0.5), (math.nan, None), (-math.inf, None),
        (Decimal("1.50"), "1.50"), (UUID(int=2), str(UUID(int=2))), (dt.date(2026, 3, 3), "2026-03-03"),
        (dt.time(9), "09:00:00"), (dt.timedelta(minutes=1), 60.0), ([1, (math.nan,)], [1, [None]]),
        ({"a": {"b": dt.date(2026, 3, 3)}}, {"a": {"b": "2026-03-03"}}),
    ],
)  # fmt: skip
def test_a_payload_holds_what_json_can_say(value: Any, said: Any) -> None:
    assert plain(value, "c") == said
    assert msgspec.json.decode(msgspec.json.encode(plain(value, "c"))) == said


def test_bytes_are_refused_by_their_column() -> None:
    with pytest.raises(InvalidValue, match="the column 'raw' holds"):
        plain([{"a": b"x"}], "raw")


def test_vectors_are_stacked() -> None:
    assert stack([], []).shape == (0, 0)
    assert stack([[1, 2], [3, 4]], ["a", "b"]).tolist() == [[1, 2], [3, 4]]
    assert stack([np.zeros(2, np.float64)], ["a"]).dtype == np.float32
    with pytest.raises(InvalidValue, match="the vector of 'b' has 1 dimensions, that of 'a' 2"):
        stack([[1, 2], [3]], ["a", "b"])
    with pytest.raises(InvalidValue, match="from 'a' on are not numbers"):
        stack([["x", "y"]], ["a"])


def test_names_are_chosen_among_those_that_are_there() -> None:
    assert pick_all(["a", "b"], None, "table", "db") == ["a", "b"]
    assert pick_all(["a", "b"], ["b", "b"], "table", "db") == ["b"]
    with pytest.raises(UnknownName, match=r"db has no table 'docz' \(did you mean 'docs'\?\); it has docs"):
        pick_all(["docs"], ["docz"], "table", "db")
    with pytest.raises(UnknownName, match="it has none"):
        pick_all([], ["docs"], "table", "db")


def test_a_missing_package_is_named_with_its_extra() -> None:
    with pytest.raises(Misuse, match=r'the Python package no_such cannot.*pip install "kedge\[some\]"'):
        require("no_such.part", "some")
    assert require("json", "some").loads("1") == 1


class PanicException(BaseException):
    """What Rust's panics come as."""


@pytest.mark.parametrize("error", [RuntimeError("x"), PanicException("x")])
def test_what_others_raise_becomes_ours(error: BaseException) -> None:
    with pytest.raises(InvalidValue, match=r"it cannot be read \(x\); try another"), readable("it", "try another"):
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), KedgeError("x")])
def test_what_is_ours_or_the_user_s_passes(error: BaseException) -> None:
    with pytest.raises(type(error)), readable("it", "try another"):
        raise error
