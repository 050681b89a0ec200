"""The words in the types of public signatures are those that the calls accept."""

from typing import Any, get_args, get_origin, get_type_hints

import pytest

from kedge import Kedge, Level
from kedge import open as kedge_open
from kedge.fleet.member import SAFE_LEVELS
from kedge.model.writes import Origin
from kedge.ports.vectors import METRICS
from kedge.stores.keyed import Context, Documents
from kedge.stores.memory import Memory
from kedge.stores.vectors import Vectors

WRITING = [
    Context.put, Context.delete, Documents.put, Documents.put_many, Documents.delete, Memory.append, Memory.extend,
    Memory.delete, Vectors.upsert, Vectors.delete,
]  # fmt: skip


def words(function: Any, argument: str) -> set[str]:
    """Return the strings that the literals in an argument's type name."""
    found, left = set(), [get_type_hints(function, localns={"ConnectionPool": list})[argument]]
    while left:
        part = left.pop()
        if isinstance(part, str):
            found.add(part)
        elif get_origin(part) is not None:
            left += get_args(part)
    return found


@pytest.mark.parametrize("function", WRITING, ids=lambda function: function.__qualname__)
def test_origins(function: Any) -> None:
    assert words(function, "origin") == set(Origin)


def test_levels_and_metrics() -> None:
    assert words(Kedge.set_level, "level") == set(Level)
    assert words(Kedge.join, "safe_level") == set(SAFE_LEVELS)
    assert words(Kedge.collection, "metric") == set(METRICS)


def test_settings_of_an_open_database(tmp_path: Any) -> None:
    assert words(kedge_open, "durability") == {"full", "normal"}
    for policy in words(kedge_open, "other_code"):
        kedge_open(tmp_path, other_code=policy).close()  # type: ignore[arg-type]
