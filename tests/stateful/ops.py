"""One operation of a turn as a value, applied to a real turn and to the oracle's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pytest

import kedge
from kedge.stores.vectors import Vectors
from kedge.testing.oracle import Oracle, OracleTurn, Refused, View, Write
from kedge.testing.oracle.ranking import CLOSE, matches

Origin = Literal["source", "derived"]
COLLECTION, ANOTHER = "kb", "wiki"
DIM = 3
OWN = "own"  # a keyed store of the user's own; in the oracle, the store of that name
SHORT_SECONDS = 1_000.0  # the time to live of what expires when a history lets time pass


@dataclass(frozen=True)
class Op:
    """What a turn is asked to do. `store` is documents, context or own where the kind alone does not say."""

    kind: str
    store: str = "context"
    name: str = ""
    value: Any = None
    expect: int | None = None
    origin: Origin | None = None
    limit: int | None = None
    where: Any = None
    rows: tuple[tuple[str, tuple[float, ...], Any], ...] = ()
    collection: str = COLLECTION
    after: str | None = None
    reverse: bool = False
    short_lived: bool = False
    ops: tuple[Op, ...] = ()  # of a batch


@dataclass
class Answer:
    """What came of it: a value to compare, or the kind of the error."""

    value: Any = None
    error: str | None = None


def on_real(turn: kedge.Turn, op: Op) -> Answer:
    """Do it through the public face."""
    return attempt(lambda: Answer(_REAL[op.kind](turn, op)))


def on_model(turn: OracleTurn, op: Op, real: Answer) -> Answer:
    """Do it on the oracle, which takes the seqs and the choice among ties from the real answer."""
    return attempt(lambda: Answer(_MODEL[op.kind](turn, op, real)))


def attempt(call: Callable[[], Answer]) -> Answer:
    """Turn what Kedge or the oracle refuses into an answer; anything else is a failure of the test."""
    try:
        return call()
    except kedge.KedgeError as error:
        return Answer(error=type(error).__name__)
    except Refused as refused:
        return Answer(error=refused.kind)


def agree(real: str | None, model: str | None) -> bool:
    """Say whether the raised error corresponds to the oracle's."""
    if real is None or model is None:
        return real is model
    return issubclass(getattr(kedge, real), getattr(kedge, model))


_WRITING = {
    "put", "put many", "delete many", "delete below", "put once", "delete", "append", "extend", "append after",
    "replace", "clear", "forget", "upsert", "drop",
}  # fmt: skip


def derives(op: Op, person: str | None) -> bool:
    """Say whether an operation writes something derived, by the defaults of each store."""
    if op.kind == "batch":
        return any(derives(part, person) for part in op.ops)
    if op.kind not in _WRITING or op.origin is not None:
        return op.kind in _WRITING and op.origin == "derived"
    usual = (op.kind in ("put", "put many") and op.store == "documents") or (op.kind == "append" and op.name == "user")
    return person is None and not usual


def rounded(vector: Iterable[float]) -> tuple[float, ...]:
    """Return a vector as comparable numbers: what comes back is float32."""
    return tuple(round(float(x), 4) for x in vector)


# ---------------------------------------------------------------- on a real turn


def own(face: Any) -> Any:
    """Return the space of the user's own store, of a turn or a view."""
    return face.store(OWN).space("t")


def _keyed(turn: kedge.Turn, op: Op) -> Any:
    return {"documents": turn.documents(COLLECTION), "own": own(turn)}.get(op.store, turn.context)


def _vectors(turn: kedge.Turn, op: Op) -> Vectors:
    return turn.vectors(op.collection)


def _options(op: Op) -> dict[str, Any]:
    return {"origin": op.origin} | ({} if op.store == "documents" else {"expect": op.expect})


def _put_options(op: Op) -> dict[str, Any]:
    return _options(op) | ({"ttl": SHORT_SECONDS} if op.short_lived else {})


def _range(turn: kedge.Turn, op: Op) -> list[tuple[str, Any]]:
    found = _keyed(turn, op).items(op.name, after=op.after, limit=op.limit, reverse=op.reverse)
    return list(found.items())


def _batch(turn: kedge.Turn, op: Op) -> list[int]:
    with turn.batch() as batch:
        for part in op.ops:
            _REAL[part.kind](turn, part)
    return batch.seqs


def _count(turn: kedge.Turn, op: Op) -> int:
    return _vectors(turn, op).count() if op.store == "vectors" else int(_keyed(turn, op).count(op.name))


def _artifact(turn: kedge.Turn, op: Op) -> Any:
    artifact = turn.artifacts.get(op.name)
    return artifact.value if artifact else None


def _upsert(turn: kedge.Turn, op: Op) -> list[int]:
    names, vectors, payloads = zip(*op.rows, strict=True)
    return _vectors(turn, op).upsert(names, np.array(vectors, dtype=np.float32), payloads, origin=op.origin)


def _search(turn: kedge.Turn, op: Op) -> tuple[list[str], list[float], int, frozenset[str], bool]:
    hits = _vectors(turn, op).search(np.array(op.value, dtype=np.float32), k=op.limit or 2, where=op.where)
    return [hit.id for hit in hits], [hit.score for hit in hits], hits.count_unembedded(), turn.lineage, hits.exact


def _search_both(turn: kedge.Turn, op: Op) -> tuple[list[tuple[str, str]], list[float], int, frozenset[str], bool]:
    hits = turn.search([COLLECTION, ANOTHER], np.array(op.value, dtype=np.float32), k=op.limit or 2, where=op.where)
    places = [(hit.collection, hit.id) for hit in hits]
    return places, [hit.score for hit in hits], hits.count_unembedded(), turn.lineage, hits.exact


def _arrays(rows: kedge.VectorRows) -> dict[str, tuple[tuple[float, ...], Any, int]]:
    columns = zip(rows.ids, rows.vectors, rows.payloads, rows.seqs.tolist(), strict=True)
    return {name: (rounded(vector), payload, seq) for name, vector, payload, seq in columns}


def all_rows(batches: kedge.VectorBatches) -> dict[str, tuple[tuple[float, ...], Any, int]]:
    """Return what is gone through in batches: vector, payload and seq by id."""
    return {name: row for rows in batches for name, row in _arrays(rows).items()}


def _batches(turn: kedge.Turn, op: Op) -> Any:
    batches = _vectors(turn, op).batches(op.limit or 3, where=op.where)
    return all_rows(batches), batches.rows, batches.unembedded


# Reads return what they read, writes the seqs that they were given.
_REAL: dict[str, Callable[[kedge.Turn, Op], Any]] = {
    "get": lambda turn, op: _keyed(turn, op).get(op.name),
    "items": lambda turn, op: _keyed(turn, op).items(op.name),
    "count": _count,
    "range": _range,
    "get many": lambda turn, op: _keyed(turn, op).get_many(op.value),
    "put": lambda turn, op: [_keyed(turn, op).put(op.name, op.value, **_put_options(op))],
    "put many": lambda turn, op: _keyed(turn, op).put_many(dict(op.value), origin=op.origin),
    "delete many": lambda turn, op: _keyed(turn, op).delete_many(op.value, origin=op.origin),
    "delete below": lambda turn, op: _keyed(turn, op).delete_prefix(op.name),
    "batch": _batch,
    "put once": lambda turn, op: [turn.context.put(op.name, op.value, idempotency=op.value, origin=op.origin)],
    "delete": lambda turn, op: [_keyed(turn, op).delete(op.name, **_options(op))],
    "artifact": _artifact,
    "append": lambda turn, op: [turn.memory.append(op.name, op.value, origin=op.origin)],
    "extend": lambda turn, op: turn.memory.extend(op.value, origin=op.origin),
    "append after": lambda turn, op: [turn.memory.append("assistant", op.value, expect=op.expect, origin=op.origin)],
    "replace": lambda turn, op: turn.memory.replace(op.limit or 0, op.value, expect=op.expect, origin=op.origin),
    "clear": lambda turn, op: len(turn.memory.clear(expect=op.expect, origin=op.origin)),
    "forget": lambda turn, op: [turn.memory.delete(op.value, origin=op.origin)],
    "history": lambda turn, op: [(m.role, m.content, m.seq) for m in turn.memory.history(limit=op.limit)],
    "history with tombstones": lambda turn, _: [
        (m.role, m.content, m.seq) for m in turn.memory.history(tombstones=True)
    ],
    "hear": lambda turn, op: turn.absorb({"baggage": "unsigned"}, peer=op.name),
    "upsert": _upsert,
    "search": _search,
    "search both": _search_both,
    "batches": _batches,
    "fetch": lambda turn, op: _arrays(_vectors(turn, op).fetch(op.value)),
    "rows": lambda turn, op: {
        name: (rounded(row.vector), row.payload) for name, row in _vectors(turn, op).get(op.value).items()
    },
    "drop": lambda turn, op: _vectors(turn, op).delete([op.name], origin=op.origin),
}


# ---------------------------------------------------------------- on the oracle's turn


def _space(op: Op) -> str:
    return op.collection if op.store in ("documents", "vectors") else "t" if op.store == "own" else ""


def _seqs(writes: Iterable[Write]) -> list[int]:
    return [write.seq or 0 for write in writes]


def _value(head: Write | None) -> Any:
    return None if head is None else head.value


def _batch_model(turn: OracleTurn, op: Op, real: Answer) -> list[int]:
    """Do the reads of all calls first, then all writes: one stamp, and no write is seen inside."""
    turn.check()
    for part in op.ops:
        if part.kind in ("put", "delete"):
            turn.compare(part.store, _space(part), part.name, part.expect)
        elif part.kind in ("upsert", "drop"):
            turn.read_embedder(part.collection)
    turn.check()
    seqs = iter([] if real.error is not None else real.value)
    done: list[int] = []
    for part in op.ops:
        given = Answer([seq for _, seq in zip(part.rows or [None], seqs, strict=False)], real.error)
        done += _MODEL[part.kind](turn, replace(part, expect=None), given)
    return done


def _all_given(real: Answer, op: Op) -> Sequence[int | None]:
    """Return the seqs of the real answer, or none where it was refused: the oracle must refuse it, too."""
    return [None] * len(op.value) if real.value is None else real.value


def _given(real: Answer) -> int | None:
    return None if real.error is not None else int(real.value[0])


def _search_model(turn: OracleTurn, op: Op, real: Answer) -> Any:
    if real.error is not None:
        turn.check()
    ids, scores, unembedded, lineage, exact = real.value
    added = None if exact else lineage
    ranked = turn.search(op.collection, op.value, op.limit or 2, op.where, hits=ids, lineage=added)
    ranked.check(ids, scores, exact=exact)
    assert unembedded == ranked.unembedded
    return real.value


def _search_both_model(turn: OracleTurn, op: Op, real: Answer) -> Any:
    if real.error is not None:
        turn.check()
    found, scores, unembedded, lineage, exact = real.value
    added = None if exact else lineage
    each = {}
    for collection in (COLLECTION, ANOTHER):
        ids = [name for where, name in found if where == collection]
        each[collection] = turn.search(collection, op.value, op.limit or 2, op.where, hits=ids, lineage=added)
    true = {(c, head.name): score for c, ranked in each.items() for score, head in ranked.candidates}
    assert scores == pytest.approx(sorted(true.values(), reverse=True)[: op.limit or 2], abs=CLOSE)
    assert scores == pytest.approx([true[place] for place in found], abs=CLOSE)
    assert len(set(found)) == len(found)
    assert unembedded == sum(ranked.unembedded for ranked in each.values())
    return real.value


def embedded(oracle: Oracle, view: View, collection: str) -> dict[str, Write]:
    """Return the present rows of the space that the view's embedder spans."""
    embedder = oracle.present(view, "artifacts", "").get(oracle.embedders[collection])
    heads = oracle.present(view, "vectors", collection)
    return {name: w for name, w in heads.items() if w.value.embedder == _value(embedder)}


def as_arrays(writes: Mapping[str, Write]) -> dict[str, tuple[tuple[float, ...], Any, int | None]]:
    """Return what rows hold: vector, payload and seq by id."""
    return {name: (rounded(w.value.vector), w.value.payload, w.seq) for name, w in writes.items()}


def _batches_model(turn: OracleTurn, op: Op, _: Answer) -> Any:
    present = turn.count("vectors", op.collection)  # every head in range is read
    rows = embedded(turn.oracle, turn.view, op.collection)
    passing = {name: w for name, w in rows.items() if matches(w.value.payload, op.where)}
    return as_arrays(passing), len(rows), present - len(rows)


def _fetch_model(turn: OracleTurn, op: Op, _: Answer) -> Any:
    asked = turn.vector_rows(op.collection, op.value)
    here = embedded(turn.oracle, turn.view, op.collection)
    return as_arrays({name: w for name, w in asked.items() if name in here})


def _extend_model(turn: OracleTurn, op: Op, real: Answer) -> list[int]:
    seqs = [None] * len(op.value) if real.error is not None else real.value
    said = zip(op.value, seqs, strict=True)
    return _seqs([turn.append(role, content, origin=op.origin, seq=seq) for (role, content), seq in said])


def _clear_model(turn: OracleTurn, op: Op, _: Answer) -> int:
    standing = len(turn.history())
    turn.replace(0, [], expect=op.expect, origin=op.origin)
    return standing


def _tombstones_model(turn: OracleTurn, _op: Op, _: Answer) -> list[tuple[str, Any, int | None]]:
    assert turn.session is not None
    standing = turn.history()
    gone = turn.oracle.retracted(turn.view, turn.session)
    both = sorted((*standing, *gone), key=lambda write: (write.rank, write.position))
    purged = turn.oracle.world().having("purged")  # of these, nothing is left that says who spoke
    return [
        ("" if write.lineage & purged else write.value[0], None if write in gone else write.value[1], write.seq)
        for write in both
    ]


def _upsert_model(turn: OracleTurn, op: Op, real: Answer) -> list[int]:
    rows = {name: (vector, payload) for name, vector, payload in op.rows}
    return _seqs(turn.upsert(op.collection, rows, origin=op.origin, seqs=real.value))


_MODEL: dict[str, Callable[[OracleTurn, Op, Answer], Any]] = {
    "get": lambda turn, op, _: _value(turn.get(op.store, _space(op), op.name)),
    "items": lambda turn, op, _: {name: _value(w) for name, w in turn.items(op.store, _space(op), op.name).items()},
    "count": lambda turn, op, _: turn.count(op.store, _space(op), op.name),
    "range": lambda turn, op, _: [
        (w.name, w.value)
        for w in turn.range(op.store, _space(op), op.name, after=op.after, limit=op.limit, reverse=op.reverse)
    ],
    "get many": lambda turn, op, _: {
        name: head.value for name in op.value if (head := turn.get(op.store, _space(op), name)) is not None
    },
    "put": lambda turn, op, real: _seqs(
        [
            turn.put(
                op.store,
                _space(op),
                op.name,
                op.value,
                expect=op.expect,
                origin=op.origin,
                seq=_given(real),
                short_lived=op.short_lived,
            )
        ]
    ),
    "put many": lambda turn, op, real: _seqs(
        turn.put(op.store, _space(op), name, value, origin=op.origin, seq=seq)
        for (name, value), seq in zip(op.value, _all_given(real, op), strict=True)
    ),
    "delete many": lambda turn, op, real: _seqs(
        turn.delete(op.store, _space(op), name, origin=op.origin, seq=seq)
        for name, seq in zip(op.value, _all_given(real, op), strict=True)
    ),
    "delete below": lambda turn, op, real: _seqs(turn.delete_below(op.store, _space(op), op.name, real.value or ())),
    "batch": _batch_model,
    "put once": lambda turn, op, real: _seqs(
        [turn.put("context", "", op.name, op.value, idempotency=op.value, origin=op.origin, seq=_given(real))]
    ),
    "delete": lambda turn, op, real: _seqs(
        [turn.delete(op.store, _space(op), op.name, expect=op.expect, origin=op.origin, seq=_given(real))]
    ),
    "artifact": lambda turn, op, _: _value(turn.get("artifacts", "", op.name)),
    "append": lambda turn, op, real: _seqs([turn.append(op.name, op.value, origin=op.origin, seq=_given(real))]),
    "extend": _extend_model,
    "append after": lambda turn, op, real: _seqs(
        [turn.append("assistant", op.value, expect=op.expect, origin=op.origin, seq=_given(real))]
    ),
    "replace": lambda turn, op, real: _seqs(
        turn.replace(op.limit or 0, op.value, expect=op.expect, origin=op.origin, seqs=real.value)
    ),
    "clear": _clear_model,
    "forget": lambda turn, op, real: _seqs([turn.forget(op.value, origin=op.origin, seq=_given(real))]),
    "history with tombstones": _tombstones_model,
    "hear": lambda turn, op, _: turn.hear(op.name),
    "history": lambda turn, op, _: [(*head.value, head.seq) for head in turn.history(op.limit)],
    "upsert": _upsert_model,
    "search": _search_model,
    "search both": _search_both_model,
    "batches": _batches_model,
    "fetch": _fetch_model,
    "rows": lambda turn, op, _: {
        name: (rounded(w.value.vector), w.value.payload)
        for name, w in turn.vector_rows(op.collection, op.value).items()
    },
    "drop": lambda turn, op, real: _seqs(
        [turn.delete("vectors", op.collection, op.name, origin=op.origin, seq=_given(real))]
    ),
}
