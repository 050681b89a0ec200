"""Comparable dumps of everything that a view shows, from Kedge and from the oracle."""

from __future__ import annotations

from typing import Any

import kedge
from kedge.testing.oracle import Oracle, OracleTurn, View
from tests.stateful.ops import COLLECTION, own, rounded

Dump = dict[str, Any]


def shown(view: kedge.ReadView, settled: frozenset[str], *, session: str | None) -> Dump:
    """What a real view shows; stamps less what is `settled`, as the oracle tells them."""
    documents = view.documents(COLLECTION)
    dump: Dump = {
        "artifacts": {key: artifact.value for key, artifact in view.artifacts.items("").items()},
        "context": {e.key: (e.value, e.seq, e.lineage - settled, e.origin) for e in view.context.entries("")},
        "documents": {e.key: (e.value, e.seq, e.lineage - settled, e.origin) for e in documents.entries("")},
        "own": {e.key: (e.value, e.seq, e.lineage - settled, e.origin) for e in own(view).entries()},
    }
    rows = view.vectors(COLLECTION)
    got = rows.get(rows.ids())
    dump["vectors"] = {name: (rounded(row.vector), row.payload, row.seq) for name, row in got.items()}
    dump["vectors count"] = rows.count()
    if session is not None:
        messages = view.memory.history(tombstones=True)
        dump["memory"] = [(m.role, m.content, m.seq) for m in messages if not m.retracted]
        dump["retracted"] = sorted(m.seq for m in messages if m.retracted)
    return dump


def check_lineage(turn: kedge.Turn, model: OracleTurn) -> None:
    """Fail if a turn's lineage is less than what it read (a defect), or more (which the law allows, and we do not)."""
    assert not model.lineage - turn.lineage, f"omitted {sorted(model.lineage - turn.lineage)}"
    assert not turn.lineage - model.lineage, f"never read {sorted(turn.lineage - model.lineage)}"


def check_same(real: Dump, model: Dump) -> None:
    """Fail, naming only what differs, if the oracle says that something else must be shown."""
    differ = {part: {"real": real[part], "oracle": model[part]} for part in real if real[part] != model[part]}
    assert not differ, differ


def told(oracle: Oracle, view: View, *, session: str | None) -> Dump:
    """What the oracle says that it must show."""
    settled = oracle.world(view.upto).settled

    def entries(store: str, space: str) -> Dump:
        heads = oracle.present(view, store, space)
        return {name: (w.value, w.seq, w.lineage - settled, w.origin) for name, w in heads.items()}

    dump: Dump = {
        "artifacts": {name: head.value for name, head in oracle.present(view, "artifacts", "").items()},
        "context": entries("context", ""),
        "documents": entries("documents", COLLECTION),
        "own": entries("own", "t"),
    }
    heads = oracle.present(view, "vectors", COLLECTION)
    dump["vectors"] = {name: (rounded(w.value.vector), w.value.payload, w.seq) for name, w in heads.items()}
    dump["vectors count"] = len(heads)
    if session is not None:
        messages = [h for h in oracle.heads(view, "memory", session).values() if not h.deleted]
        dump["memory"] = [(*message.value, message.seq) for message in messages]
        dump["retracted"] = sorted(write.seq or 0 for write in oracle.retracted(view, session))
    return dump
