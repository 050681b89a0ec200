"""The scene of the law tests: a good release, settled; a bad one on top; and how to write and read in every store.

The agent `helper` runs on the release's prompt, so all that it does is influenced. `clerk` has no artifacts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import kedge

BAD = "bad"
VECTOR = np.array([1.0, 0.0, 0.0], dtype=np.float32)
AWAY = np.array([0.0, 1.0, 0.0], dtype=np.float32)


def release(k: kedge.Kedge, name: str, *artifacts: str, live: bool = True, independent: bool = False) -> None:
    """Deploy `name` with these artifacts (the helper's prompt where none is named), and promote it."""
    keys = artifacts or ("helper/prompt",)
    k.deploy(name, {key: f"{key} of {name}" for key in keys}, independent=independent)
    if live:
        k.promote(name)


def helper(k: kedge.Kedge, session: str | None = "s", deployment: str | None = None) -> kedge.Turn:
    """Begin a turn of the agent that the release made what it is."""
    return k.turn(session, agent="helper", deployment=deployment)


def clerk(k: kedge.Kedge, session: str | None = "s", deployment: str | None = None) -> kedge.Turn:
    """Begin a turn of an agent that no release has touched."""
    return k.turn(session, agent="clerk", deployment=deployment)


def write_everywhere(turn: kedge.Turn, value: str) -> None:
    """Write one derived value in every store."""
    turn.context.put("key", value)
    turn.documents("kb").put("key", value, origin="derived")
    turn.vectors("kb").upsert(["key"], VECTOR[None, :], [value])
    turn.memory.append("assistant", value)


def read_everywhere(view: kedge.ReadView | kedge.Turn) -> dict[str, Any]:
    """Read what `write_everywhere` wrote: the newest value in every store, by every way to read it."""
    hits = view.vectors("kb").search(VECTOR, k=1)
    row = view.vectors("kb").get(["key"]).get("key")
    return {
        "context": view.context.get("key"),
        "context items": view.context.items("").get("key"),
        "documents": view.documents("kb").get("key"),
        "documents count": view.documents("kb").count(),
        "search": hits[0].payload if hits else None,
        "vectors": row.payload if row else None,
        "vectors count": view.vectors("kb").count(),
        "memory": [message.content for message in view.memory.history()][-1:],
    }


EMPTY: dict[str, Any] = {
    "context": None,
    "context items": None,
    "documents": None,
    "documents count": 0,
    "search": None,
    "vectors": None,
    "vectors count": 0,
    "memory": [],
}


def full(value: str) -> dict[str, Any]:
    """Return what `read_everywhere` reads where `value` is the newest everywhere."""
    return {name: 1 if "count" in name else [value] if name == "memory" else value for name in EMPTY}


@contextmanager
def opened(place: str) -> Iterator[kedge.Kedge]:
    """Open a database with the settled release `good` and the collection `kb`."""
    with kedge.open(place, durability="normal") as k:
        k.collection("kb", dim=3)
        release(k, "good")
        k.settle("good")
        yield k
