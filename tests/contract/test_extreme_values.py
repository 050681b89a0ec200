"""Numbers and paths beyond the limits of SQLite, float32 or the file system are misuse, or mean "all"."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge.errors import InvalidValue, InvalidVector

HUGE = 2**70


def test_a_limit_beyond_all_numbers_means_all(k: kedge.Kedge) -> None:
    with k.turn("s", agent="support") as turn:
        turn.memory.append("user", "hello")
        assert len(turn.memory.history(limit=HUGE)) == 1
    assert len(k.log(limit=HUGE)) == len(k.log())
    with pytest.raises(InvalidValue, match="limit"):
        k.log(limit=-1)


@pytest.mark.parametrize("number", [10**400, 1e39])
def test_a_number_beyond_float32_is_no_vector_s(k: kedge.Kedge, number: float) -> None:
    with k.turn(agent="support") as turn, warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InvalidVector):
            turn.vectors("kb").upsert(["a"], [[number, 0.0, 0.0]])


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_path_that_cannot_be_is_misuse(tmp_path: Path, name: str) -> None:
    for url in (f"{tmp_path}/{name}", f"sqlite:///{tmp_path}/{name}"):
        with pytest.raises(InvalidValue, match="path"):
            kedge.open(url)


@pytest.mark.parametrize("url", ["sqlite:////", "sqlite:///.", "sqlite:///", "sqlite:////tmp"])
def test_an_address_without_a_file_name_is_misuse(url: str) -> None:
    with pytest.raises(InvalidValue, match=r"invalid address|cannot open"):
        kedge.open(url)


@pytest.mark.parametrize("ttl", ["x", 0, -1.0, True, float("nan"), [], 1e400])
def test_a_session_ttl_is_a_positive_number(tmp_path: Path, ttl: Any) -> None:
    with pytest.raises(InvalidValue, match="session_ttl="):
        kedge.open(tmp_path, session_ttl=ttl)
    kedge.open(tmp_path, session_ttl=3600).close()
