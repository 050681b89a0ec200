"""Values nested too deeply are refused at every door, and those that were stored before can be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge.cli.main import main
from kedge.errors import InvalidValue
from kedge.model import deep_json
from kedge.model.writes import DEPTH_MAX, Key, Pending, encode, memory_name, to_json
from kedge.testing.contracts.backend_driver import BackendDriver

POSTGRES_ONE_IN = 4
POISON = 5_000
UNIT = [1.0, 0.0, 0.0]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def depth_of(value: Any) -> int:
    depth = 0
    while isinstance(value, list | dict):
        depth += 1
        value = next(iter(value.values() if isinstance(value, dict) else value), None)
    return depth


def stored(depth: int) -> bytes:
    """A payload of this depth, as it was accepted once."""
    return b"j" + b"[" * depth + b"]" * depth


DOORS: dict[str, Callable[[kedge.Kedge, kedge.Turn, Any], object]] = {
    "context": lambda _, turn, value: turn.context.put("a", value),
    "document": lambda _, turn, value: turn.documents("kb").put("a", value),
    "documents": lambda _, turn, value: turn.documents("kb").put_many({"a": value}),
    "message": lambda _, turn, value: turn.memory.append("assistant", value),
    "payload": lambda _, turn, value: turn.vectors("kb").upsert(["a"], [UNIT], [value]),
    "cache": lambda _, turn, value: turn.cache.get_or_compute("a", lambda: value),
    "artifact": lambda k, _, value: k.deploy("deep", {"support/settings": value}),
    "artifact's value": lambda k, _, value: k.deploy("deep", {"support/settings": kedge.Artifact(value=value)}),
    "filter": lambda _, turn, value: turn.vectors("kb").search(UNIT, where={"a": {"in": value}}),
    "filter of filters": lambda _, turn, value: turn.vectors("kb").search(UNIT, where=filters(depth_of(value))),
    "sent message": lambda _, turn, value: turn.send("case", value),
    "received message": lambda _, turn, value: turn.receive("case", value, {}),
}


def filters(depth: int) -> dict[str, Any]:
    where: dict[str, Any] = {"lang": "en"}
    for _ in range(depth // 2):
        where = {"and": [where]}
    return where


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("depth", [DEPTH_MAX + 1, 990, 200_000])
def test_a_value_nested_too_deeply_is_refused(k: kedge.Kedge, door: str, depth: int) -> None:
    k.deploy("speaks", {"support/speaks": {"case": 1}})
    k.promote("speaks")
    with k.turn(agent="support", session="s") as turn, pytest.raises(InvalidValue, match="more than 100 deep"):
        DOORS[door](k, turn, nested(depth))


def test_a_sample_is_no_list_at_all(k: kedge.Kedge) -> None:
    with k.turn(agent="support") as turn, pytest.raises(InvalidValue):
        turn.observe("resolved", nested(990))


@pytest.mark.both
def test_a_value_at_the_limit_is_accepted_everywhere(k: kedge.Kedge) -> None:
    value = nested(DEPTH_MAX)
    with k.turn(agent="support", session="s") as turn:
        for door in ("context", "document", "message", "payload", "cache", "artifact"):
            DOORS[door](k, turn, value)
        assert turn.context.get("a") == value
        assert turn.documents("kb").get("a") == value
        assert turn.memory.history()[0].content == value
        assert turn.vectors("kb").search(UNIT)[0].payload == value
    assert k.view(deployment="deep").artifacts["support/settings"].value == value


@pytest.mark.both
def test_a_value_stored_before_the_limit_can_be_read_beside_the_others(k: kedge.Kedge, place: str) -> None:
    driver = BackendDriver(k._kernel.backend)
    message = b'j{"role":"user","content":' + stored(POISON)[1:] + b"}"
    with k.turn(agent="support", session="s") as turn:
        turn.context.put("good", 1)
        turn.memory.append("user", "hello")
        turn.vectors("kb").upsert(["good"], [UNIT], [{"lang": "en"}])
    driver.append([Pending(Key("context", "", "deep"), stored(POISON))])
    driver.append([Pending(Key("documents", "kb", "deep"), stored(POISON))])
    driver.append([Pending(Key("memory", "s", memory_name(k.seq + 1, k.seq + 1)), message)])
    with k.turn(agent="support", session="s") as turn:
        assert depth_of(turn.context.get("deep")) == POISON
        entry = turn.context.entry("deep")
        assert entry is not None
        assert depth_of(entry.value) == POISON
        items = turn.context.items()
        assert items.keys() == {"deep", "good"}
        assert items["good"] == 1
        assert depth_of(turn.documents("kb").get("deep")) == POISON
        history = turn.memory.history()
        assert history[0].content == "hello"
        assert depth_of(history[1].content) == POISON
        turn.context.put("deep", "mended")
    assert main(["--db", place, "show", "memory", "s"]) == 0
    assert main(["--db", place, "show", "documents", "kb", "deep", "--json"]) == 0
    assert main(["--db", place, "show", "documents", "kb", "deep"]) == 0


def test_json_of_any_depth_is_read_and_made_without_recursion() -> None:
    values = [
        {"a": [1, -2.5e3, True, None, "x\"]}[{,: \\ \n é"], "": {"b": {}, "c": []}}, [[], {}], "text", 7, [[1, [2]], 3],
    ]  # fmt: skip
    for value in values:
        assert deep_json.decode(json.dumps(value)) == value
        assert deep_json.decode(encode(value)[1:]) == value
        assert json.loads(deep_json.encode(value)) == value
    assert to_json(deep_json.decode(stored(POISON)[1:])) == stored(POISON)[1:]


def test_the_command_line_refuses_deep_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "release.toml"
    manifest.write_text('name = "deep"\n[artifacts]\n"support/settings" = ' + "[" * 3_000 + "]" * 3_000)
    db = f"sqlite:///{tmp_path / 'kedge.db'}"
    for given in (
        ["deploy", str(manifest)],
        ["deploy", "deep", "--artifact", f"support/settings:={stored(100_000)[1:].decode()}"],
        ["deploy", "deep", "--artifact", f"support/settings:={stored(150)[1:].decode()}"],
    ):
        assert main(["--db", db, *given]) == 2
    assert "Traceback" not in capsys.readouterr().err


NAMES: dict[str, Callable[[kedge.Kedge, kedge.Turn, Any], object]] = {
    "vector ids": lambda _, turn, name: turn.vectors("kb").upsert(name, [UNIT]),
    "context key": lambda _, turn, name: turn.context.put(name, 1),
    "key to read": lambda _, turn, name: turn.context.get(name),
    "role": lambda _, turn, name: turn.memory.append(name, "x"),
    "origin": lambda _, turn, name: turn.context.put("a", 1, origin=name),
    "k": lambda _, turn, name: turn.vectors("kb").search(UNIT, k=name),
    "agent": lambda k, _, name: k.turn(agent=name),
    "level": lambda k, _, name: k.set_level("support", name),
    "by": lambda k, _, name: k.set_level("support", "off", by=name),
    "metric": lambda k, _, name: k.collection("other", dim=3, metric=name),
    "snapshot": lambda k, _, name: k.snapshot(name),
    "deployment": lambda k, _, name: k.deploy(name, {"support/prompt": "x"}),
    "canary": lambda k, _, name: k.deploy("v9", {"support/prompt": "x"}, canary=name),
    "hold": lambda k, _, name: k.rollback("v1", hold=[name]),
    "plan": lambda k, _, name: k.plan(name),
    "point": lambda k, _, name: k.at(name),
    "retention": lambda k, _, name: k.set_retention(name),
    "address": lambda _, __, name: kedge.open(name),
}


@pytest.mark.parametrize("where", NAMES)
def test_a_deep_value_in_place_of_a_name_or_a_number_is_refused(where: str, place: str) -> None:
    with kedge.open(place) as k:
        k.collection("kb", dim=3)
        with k.turn(session="s", agent="support") as turn, pytest.raises(kedge.Misuse, match=r"\[\[\["):
            NAMES[where](k, turn, nested(POISON))
