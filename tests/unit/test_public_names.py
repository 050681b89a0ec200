"""What completion shows on a turn, a view and their stores is what docs/api.md lists."""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args, get_origin

import pytest

import kedge
from tests.docs.pages import ROOT

READING = {"artifacts", "context", "memory"}  # attributes, each with a section of its own in the reference
STORES = {
    "artifacts": "turn.artifacts",
    "memory": "turn.memory",
    "context": "turn.context",
    "cache": "turn.cache",
}


def shown(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def documented(face: str) -> set[str]:
    """Return the names that the reference lists for `face`, such as "turn" or "turn.memory"."""
    found = set()
    for line in (ROOT / "docs" / "api.md").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"#### `{face}."):
            name = line.removeprefix(f"#### `{face}.").split("(")[0].rstrip("`")
            if "." not in name and not name.startswith("_"):
                found.add(name)
    return found


def test_a_turn_shows_only_what_is_documented(tmp_path: Path) -> None:
    with kedge.open(tmp_path) as k, k.turn(session="s", agent="support") as turn:
        assert shown(turn) == documented("turn") | READING | {"cache"}


def test_a_view_shows_only_what_is_documented(tmp_path: Path) -> None:
    with kedge.open(tmp_path) as k:
        assert shown(k.view()) == documented("view") | READING


def test_stores_show_only_what_is_documented(tmp_path: Path) -> None:
    with kedge.open(tmp_path) as k:
        k.collection("kb", dim=3)
        with k.turn(session="s", agent="support") as turn:
            for name, face in STORES.items():
                assert shown(getattr(turn, name)) == documented(face)
            assert shown(turn.documents("kb")) == documented("turn.documents(c)")
            assert shown(turn.vectors("kb")) == documented("turn.vectors(c)")
            assert shown(turn.store("own")) == documented("turn.store(s)")
            assert shown(turn.store("own").space("")) == documented("turn.store(s).space(p)")
            assert shown(turn.batch()) == {"add", "begin", "commit", "holds", "idempotency", "leave", "seqs"}


def test_batches_show_only_what_is_documented(tmp_path: Path) -> None:
    with kedge.open(tmp_path) as k:
        k.collection("kb", dim=3)
        with k.turn(agent="clerk") as turn:
            turn.vectors("kb").upsert(["a"], [[1, 0, 0]])
            batches = turn.vectors("kb").batches()
            assert shown(batches) == {"dim", "rows", "size", "unembedded"}
            assert shown(next(iter(batches))) == {"ids", "payloads", "seqs", "to_arrow", "vectors"}


@pytest.mark.parametrize("option", ["reconcilers", "resolvers"])
def test_what_users_implement_is_public(option: str) -> None:
    kinds = get_args(kedge.open.__annotations__[option])
    mapping = next(kind for kind in kinds if get_origin(kind) is Mapping)
    protocol = get_args(mapping)[1]
    assert getattr(kedge, protocol.__name__) is protocol
    assert protocol.__name__ in kedge.__all__
