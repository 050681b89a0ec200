"""A small database with every kind of data, for tests that damage or inspect it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

import kedge

DIM = 4
EMBEDDER = {"shared/embedder": {"name": "e1", "dim": DIM}}
NEW_EMBEDDER = {"shared/embedder": {"name": "e2", "dim": DIM}}


def vectors(count: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return `count` random vectors."""
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


def again(turn: kedge.Turn, item: kedge.ReplayInput) -> None:
    """Replay an input: its writes rank below later ones."""
    turn.memory.append("assistant", f"again: {item.value}")
    turn.vectors("kb").upsert(["z", "new"], vectors(2, 6))


def populate(folder: Path) -> Path:
    """Make a database in a folder, and return its file."""
    populate_at(folder)
    return folder / "kedge.db"


def populate_at(place: Path | str) -> None:
    """Make a database at an address or in a folder."""
    with kedge.open(place, durability="normal") as k:
        k.collection("kb", dim=DIM)
        k.deploy("base", {"support/prompt": "hello", **EMBEDDER})
        k.promote("base")
        k.settle("base")
        with k.turn(session="s1", agent="support") as turn:
            turn.memory.append("user", "first question")
            turn.memory.append("assistant", "first answer")
            turn.documents("kb").put("doc", "the text of a document", idempotency="doc-1")
            turn.context.put("case/1", {"state": "open"}, fresh_for=60)
            turn.vectors("kb").upsert(list("abcdef"), vectors(6, 1), [{"n": n} for n in range(6)])
        k.deploy("v2", {"support/prompt": "bad", **NEW_EMBEDDER}, canary=1.0)
        k.deploy("v3", {"other/prompt": "worse"}, canary=1.0)
        with k.turn(session="s2", agent="support", unit_id="user-7") as turn:
            turn.memory.append("user", "second question")
            turn.memory.append("assistant", "second answer")
            turn.context.put("case/1", {"state": "closed"})
            turn.context.put("case/2", 2)
            turn.vectors("kb").upsert(["a", "z"], vectors(2, 2))
            saved = turn.store("saved").space("s2")
            with turn.batch():
                saved.put("step/1", b"\x00state", ttl=3600)
                saved.put_many({"step/2": {"n": 2}, "step/3": 3, "note": "done"})
            turn.observe("resolved", value=True)
            turn.cache.get_or_compute("key", lambda: "computed")
            headers = turn.headers()
        with k.turn(agent="other", parent=headers) as callee:
            callee.context.get("case/2")
            callee.context.put("case/3", "from the callee")
            callee.vectors("kb").upsert(["b", "y"], vectors(2, 3))
        for name in ("x", "y"):  # outside the canary: each sees only its own overwrite of z
            k.deploy(name, {f"agent-{name}/prompt": name})
            with k.turn(agent=f"agent-{name}", deployment=name) as turn:
                turn.vectors("kb").upsert(["z"], vectors(1, 5))
        k.snapshot("then")
        k.rollback("v2", reason="bad")
        k.replay(again)
        with k.turn(session="s1", agent="support") as turn:
            turn.vectors("kb").upsert(["a", "c"], vectors(2, 4))
            turn.vectors("kb").delete(["d"])
            turn.context.delete("case/1")
            turn.store("saved").space("s1").put("step/1", "of another session")
            turn.documents("kb").put("doc", "another text of it")
        k.refresh("s1")
        k.rollback("v3")
        k.release_snapshot("then")
        k.purge("v3", confirm="v3")
        k.snapshot("now")


def copy_of(folder: Path, to: Path) -> Path:
    """Copy a database with all files beside it, and return the copy's file."""
    shutil.copytree(folder, to)
    return to / "kedge.db"


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a plain connection to a database without its triggers; restore them afterwards."""
    with closing(sqlite3.connect(path)) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        for _, sql in triggers:
            connection.execute(sql)
        connection.commit()
