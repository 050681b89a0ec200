"""Purged bytes are gone from the file, under any build of SQLite."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge.backends.sqlite import database

SECRET = "what nobody may find again"


def _as_built_elsewhere(*args: Any, **options: Any) -> sqlite3.Connection:
    """Connect as where SQLite leaves freed pages as they are; some distributions build it so that it does not."""
    connection: sqlite3.Connection = sqlite3.connect(*args, **options)
    connection.execute("PRAGMA secure_delete = OFF")
    return connection


class _Elsewhere:
    connect = staticmethod(_as_built_elsewhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(sqlite3, name)


def test_a_purge_leaves_nothing_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "sqlite3", _Elsewhere())
    with kedge.open(tmp_path) as k:
        k.deploy("v1", {"support/prompt": "x"}, canary=1.0)
        with k.turn(session="s", agent="support") as turn:
            turn.memory.extend([("assistant", SECRET * 200)] * 20)
        k.rollback("v1")
        k.purge("v1", confirm="v1")
    assert SECRET.encode() not in (tmp_path / "kedge.db").read_bytes()
