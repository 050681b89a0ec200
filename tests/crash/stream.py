"""A deterministic stream of operations, each acknowledged on stdout, for a parent that kills it.

`python -m tests.crash.stream URL` runs the whole stream on a new database, up to the kill of KEDGE_FAILPOINT.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

import kedge
from tests.thresholds import lower

DIM = 4
ROWS_MIN = 16  # rows of a collection that is worth an index here
Step = Callable[[kedge.Kedge], object]


def open_in(place: str) -> kedge.Kedge:
    """Open the database; a killed process loses nothing at `normal` either, only a power cut could tell."""
    return kedge.open(place, durability="normal")


def rows(names: Sequence[str], salt: int) -> npt.NDArray[np.float32]:
    """Return vectors that depend on the names and the salt alone."""
    return np.array([[len(name), ord(name[-1]), salt, 1] for name in names], np.float32)


def in_turn(work: Callable[[kedge.Turn], object], **opened: Any) -> Step:
    """Return a step that works in a new turn."""

    def step(k: kedge.Kedge) -> None:
        with k.turn(**opened) as turn:
            work(turn)

    return step


S1: dict[str, Any] = {"session": "s1", "agent": "support"}
S2: dict[str, Any] = {"session": "s2", "agent": "support"}
FIRST = [f"v{n:02}" for n in range(20)]
CHAT = [("user" if n % 2 == 0 else "assistant", f"message {n}") for n in range(30)]
BASE = {"support/prompt": "hello", "shared/embedder": {"name": "e1", "dim": DIM}}
BAD = {"support/prompt": "bad", "shared/embedder": {"name": "e2", "dim": DIM}}


def upsert(names: Sequence[str], salt: int) -> Callable[[kedge.Turn], object]:
    return lambda turn: turn.vectors("kb").upsert(names, rows(names, salt), [{"salt": salt}] * len(names))


def call(k: kedge.Kedge) -> None:
    with k.turn(**S2) as turn:
        turn.context.get("a")
        with k.turn(agent="callee", parent=turn.headers()) as callee:
            callee.context.put("callee", "from the callee")
            turn.absorb(callee.headers())


def again(turn: kedge.Turn, item: kedge.ReplayInput) -> None:
    turn.memory.append("assistant", f"again: {item.value}")
    turn.vectors("kb").upsert(["w0", "r0"], rows(["w0", "r0"], 9))


def delete_message(turn: kedge.Turn) -> None:
    history = turn.memory.history()
    if len(history) == len(CHAT):
        turn.memory.delete(history[3].seq)


def refund(turn: kedge.Turn) -> None:
    """Ask for the approval of a call, or use it."""
    with suppress(kedge.ApprovalNeeded), turn.require("act", tool="refund", call={"order": 17}):
        pass


def refused(turn: kedge.Turn) -> None:
    """Answer where the level does not let the answer be stored."""
    turn.memory.history(limit=1)
    with suppress(kedge.Frozen):
        turn.context.put("refused", 1)


def join(k: kedge.Kedge) -> None:
    """Be a member for a moment, and count one out that is none."""
    with k.join("stream"):
        k._kernel.backend.fleet.count_out(["nobody"], k.epoch)


STEPS: dict[str, Step] = {
    "collection": lambda k: k.collection("kb", dim=DIM),
    "stage base": lambda k: k.deploy("base", BASE),
    "promote base": lambda k: k.promote("base"),
    "settle base": lambda k: k.settle("base"),
    "chat": in_turn(lambda turn: turn.memory.extend(CHAT, idempotency="chat"), **S1),
    "put": in_turn(lambda turn: turn.context.put("a", 1), **S1),
    "document": in_turn(lambda turn: turn.documents("kb").put("doc", "text"), **S1),
    "upsert": in_turn(upsert(FIRST, 1), **S1),
    "overwrite": in_turn(upsert(FIRST[5:15], 2), **S1),
    "optimize": lambda k: k.optimize(),
    "delete vectors": in_turn(lambda turn: turn.vectors("kb").delete(FIRST[:3]), **S1),
    "delete message": in_turn(delete_message, **S1),
    "compare and set": in_turn(lambda turn: turn.context.put("cas", 1, expect=0, idempotency="cas"), **S1),
    "snapshot": lambda k: k.snapshot("one"),
    "stage v2": lambda k: k.deploy("v2", BAD),
    "canary v2": lambda k: k.canary("v2", 1.0),
    "influenced chat": in_turn(lambda t: t.memory.extend([("user", "q"), ("assistant", "bad")], idempotency="q"), **S2),
    "influenced put": in_turn(lambda turn: turn.context.put("a", 2), **S2),
    "influenced upsert": in_turn(upsert(["w0", "w1", FIRST[7]], 3), **S2),
    "call": call,
    "observe": in_turn(lambda turn: turn.observe("seen", 1), **S2),
    "cache": in_turn(lambda turn: turn.cache.get_or_compute("key", lambda: "computed"), **S2),
    "overwrite beside": in_turn(upsert([FIRST[8], "w0"], 4), **S1),
    "rollback v2": lambda k: k.rollback("v2", reason="bad"),
    "replay": lambda k: k.replay(again),
    "overwrite after": in_turn(upsert([FIRST[7], "w1"], 5), **S1),
    "optimize more": lambda k: k.optimize(),
    "reinstate v2": lambda k: k.reinstate("v2"),
    "rollback v2 again": lambda k: k.rollback("v2"),
    "stage v3": lambda k: k.deploy("v3", {"other/prompt": "x"}),
    "put in v3": in_turn(lambda turn: turn.context.put("b", 3), agent="other", deployment="v3"),
    "upsert in v3": in_turn(upsert(["x0", "x1", "x2"], 6), agent="other", deployment="v3"),
    "rollback v3": lambda k: k.rollback("v3"),
    "purge v3": lambda k: k.purge("v3", confirm="v3"),
    "snapshot two": lambda k: k.snapshot("two"),
    "release one": lambda k: k.release_snapshot("one"),
    "refresh": lambda k: k.refresh("s1"),
    "supervise": lambda k: k.ladder.tighten("supervised", "tool:refund", by="ann"),
    "ask": in_turn(refund, **S1),
    "approve": lambda k: k.ladder.approve(k.ladder.requests()[0], by="ann"),
    "use": in_turn(refund, **S1),
    "forget": lambda k: k._kernel.backend.requests.forget(0.0),
    "level": lambda k: k.set_level("support", "frozen"),
    "refused": in_turn(refused, **S1),
    "level back": lambda k: k.set_level("support", "full"),
    "replay refused": lambda k: k.replay(again),
    "loosen": lambda k: k.ladder.loosen(k.ladder.list()[0], by="ann"),
    "retention": lambda k: k.set_retention(3600.0),
    "join": join,
    "no retention": lambda k: k.set_retention(0.0),
    "compact": lambda k: k.optimize("kb"),
    "overwrite once more": in_turn(upsert([FIRST[9], "w1", "y0"], 7), agent="loader"),
    "release two": lambda k: k.release_snapshot("two"),
    "compact again": lambda k: k.optimize("kb"),
    "source put": in_turn(lambda turn: turn.documents("kb").put("doc", "newer text"), **S1),
    "optimize again": lambda k: k.optimize(),
}
# Steps of several commits, a part of which can show: a replay's write, before its input is marked.
IN_PARTS = {"replay", "replay refused"}


# ── what is visible ──


def dump(k: kedge.Kedge) -> dict[str, Any]:
    """Return all that can be seen through the public face, by section, without seqs, times and random names."""
    sections: dict[str, Any] = {
        "collections": [repr(c) for c in k.collections()],
        "deployments": [(d.name, str(d.status), d.weight, d.artifacts) for d in k.deployments()],
        "snapshots": [s.name for s in k.snapshots()],
        "pending": [(p.store, p.space, p.agent) for p in k.replay_pending()],
        "levels": {feature: str(level) for feature, level in k.levels().items()},
        "entries": [(str(entry.scope), str(entry.level)) for entry in k.ladder.list()],
        "requests": [(request.kind, request.status) for request in k.ladder.requests()],
        "samples": len(k._kernel.backend.metrics.observations("seen")),
    }
    views = {"live": k.view(), **{s: k.view(session=s) for s in ("s1", "s2")}}
    views |= {f"at {s.name}": k.at(s.name, session="s2") for s in k.snapshots()}
    for name, view in views.items():
        sections |= {f"{name}: {store}": content for store, content in _stores(view).items()}
    return sections


def _stores(view: kedge.ReadView) -> dict[str, Any]:
    seen: dict[str, Any] = {"seen": sorted(view.seen)}
    if view.session is not None:
        seen["memory"] = [(m.role, m.content, m.retracted) for m in view.memory.history(tombstones=True)]
    seen["context"] = view.context.items()
    seen["documents"] = view.documents("kb").items()
    seen["artifacts"] = [view.artifacts.get(key) and view.artifacts[key].digest for key in (*BASE, "other/prompt")]
    try:
        found = view.vectors("kb")
    except kedge.UnknownName:
        return seen
    ids = found.ids()
    seen["vectors"] = {key: (row.vector.tolist(), row.payload) for key, row in found.get(ids).items()}
    hits = found.search([1.0] * DIM, k=50)
    seen["hits"] = sorted((hit.id, round(hit.score, 6)) for hit in hits)
    seen["count"] = (found.count(), hits.count_unembedded())
    return seen


def main(place: str) -> None:
    """Run the stream, and say the number of each step that has returned."""
    lower(ROWS_MIN, behind=False)
    with open_in(place) as k:
        for number, step in enumerate(STEPS.values()):
            step(k)
            os.write(1, f"{number}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1])
