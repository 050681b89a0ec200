"""Ids are unique, also where a host's tests replace the sources of time and randomness."""

from __future__ import annotations

import random
import secrets
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

import kedge
from kedge.turns.scope import scope_of
from tests.databases import raw_rows


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace what hosts' tests replace: time, and every source of randomness but the system's."""

    def constant(value: Any) -> Callable[..., Any]:
        return lambda *_, **__: value

    for kind in ("uuid1", "uuid3", "uuid4", "uuid5"):
        monkeypatch.setattr(uuid, kind, constant(uuid.UUID(int=7)))
    for name, value in (("random", 0.5), ("getrandbits", 5), ("randbytes", b"5" * 16), ("randint", 5)):
        monkeypatch.setattr(random, name, constant(value))
    for name, given in (("token_hex", "5" * 32), ("token_bytes", b"5" * 32), ("token_urlsafe", "5" * 32)):
        monkeypatch.setattr(secrets, name, constant(given))
    monkeypatch.setattr(time, "time", constant(1_700_000_000.0))


@pytest.mark.usefixtures("replaced")
def test_ids_do_not_collide_where_time_and_randomness_are_replaced(place: str) -> None:
    with kedge.open(place) as k:
        k.deploy("v1", {"support/prompt": "x"})
        k.promote("v1")
        turns = [k.turn(session="s", agent="support") for _ in range(3)]
        for number, turn in enumerate(turns):
            turn.context.put(f"key/{number}", number)
            turn.memory.append("assistant", number)
        operations = [entry.operation for entry in k.log()]
        assert len(set(operations)) == len(operations)
        assert len(k.view().context.items("key/")) == len(k.view(session="s").memory.history()) == 3
        assert k.fsck(full=True).findings == ()
    uids = {uid for (uid,) in raw_rows(place, "SELECT uid FROM turns")}
    assert len(uids) == raw_rows(place, "SELECT count(*) FROM turns")[0][0] >= 3


@pytest.mark.usefixtures("replaced")
@pytest.mark.only("sqlite", reason="tests copy their databases from one on PostgreSQL")
def test_databases_have_ids_and_keys_of_their_own_where_randomness_is_replaced(new_place: Callable[[], str]) -> None:
    found = set()
    for place in (new_place(), new_place()):
        with kedge.open(place) as k:
            control = scope_of(k.view()).backend.control
            found |= {control.secret("database_id"), control.secret("header_key")}
    assert len(found) == 4
