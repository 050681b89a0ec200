"""Hypothesis strategies for the operations of a turn: few keys, so that turns conflict."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from tests.stateful.ops import ANOTHER, COLLECTION, Op, Origin

CONTEXT_KEYS = ("case/1", "case/2", "fact/1")
RIGHT = -1  # expect whatever the turn sees
VECTORS = ((1.0, 0.0, 0.0), (0.8, 0.6, 0.0), (0.0, 1.0, 0.0), (0.0, 0.6, 0.8), (0.0, 0.0, 1.0), (0.6, 0.0, -0.8))
FILTERS = (None, None, None, {"n": 1}, {"n": {"gte": 1}}, {"n": {"in": [0, 2]}}, {"or": [{"n": 0}, {"n": {"gt": 1}}]})

_keys = st.sampled_from(CONTEXT_KEYS)
_prefixes = st.sampled_from(["", "case/", "fact/"])
_ids = st.sampled_from(["v0", "v1", "v2"])
_documents = st.sampled_from(["d1", "d2"])
_vectors = st.sampled_from(VECTORS)
_origins: st.SearchStrategy[Origin | None] = st.sampled_from([None, None, None, None, "source", "derived"])
_row = st.tuples(_ids, _vectors, st.sampled_from([{"n": 0}, {"n": 1}, {"n": 2}]))
_rows = st.lists(_row, min_size=1, max_size=3, unique_by=lambda row: row[0]).map(tuple)

keyed = st.one_of(
    st.builds(Op, st.just("get"), name=_keys),
    st.builds(Op, st.just("get"), name=_keys),
    st.builds(Op, st.just("put"), name=_keys, origin=_origins),
    st.builds(Op, st.just("put"), name=_keys, origin=_origins),
    st.builds(Op, st.sampled_from(["put", "delete"]), name=_keys, expect=st.sampled_from([RIGHT, RIGHT, 0, 1])),
    st.builds(Op, st.just("delete"), name=_keys, origin=_origins),
    st.builds(Op, st.just("put once"), name=_keys, value=st.sampled_from(["call 1", "call 2"]), origin=_origins),
    st.builds(Op, st.just("items"), name=_prefixes),
    st.builds(Op, st.just("count"), name=_prefixes),
)
_own = st.just("own")
_puts = st.one_of(
    st.builds(Op, st.just("put"), st.sampled_from(["context", "own"]), name=_keys, origin=_origins),
    st.builds(
        Op, st.just("put"), _own, name=_keys, short_lived=st.booleans(), expect=st.sampled_from([None, RIGHT, 0])
    ),
    st.builds(
        Op, st.just("delete"), st.sampled_from(["context", "own"]), name=_keys, expect=st.sampled_from([None, RIGHT])
    ),
)
_inside = st.one_of(
    _puts,
    st.builds(Op, st.just("put"), st.just("documents"), name=_documents, origin=_origins),
    st.builds(Op, st.just("upsert"), rows=_rows, origin=_origins),
    st.builds(Op, st.just("drop"), name=_ids, origin=_origins),
)
_some_keys = st.lists(_keys, min_size=1, max_size=3, unique=True).map(tuple)
_range = st.builds(
    Op,
    st.just("range"),
    st.sampled_from(["own", "own", "context", "documents"]),
    name=_prefixes,
    after=st.sampled_from([None, None, *CONTEXT_KEYS]),
    limit=st.sampled_from([None, 0, 1, 2]),
    reverse=st.booleans(),
)
looks = st.one_of(
    _range,
    st.builds(Op, st.sampled_from(["get", "items", "count"]), _own, name=_keys),
    st.builds(Op, st.just("get many"), _own, value=_some_keys),
)
own = st.one_of(
    _puts,
    _puts,
    looks,
    st.builds(Op, st.sampled_from(["put many", "delete many"]), _own, value=_some_keys, origin=_origins),
    st.builds(
        Op, st.just("delete below"), st.sampled_from(["own", "context"]), name=st.sampled_from(["case/", "fact/"])
    ),
    st.builds(Op, st.just("batch"), ops=st.lists(_inside, min_size=1, max_size=5).map(tuple)),
)
vectors = st.one_of(
    st.builds(Op, st.just("upsert"), rows=_rows, origin=_origins),
    st.builds(Op, st.just("upsert"), rows=_rows, origin=_origins),
    st.builds(Op, st.just("search"), value=_vectors, limit=st.sampled_from([1, 2, 9]), where=st.sampled_from(FILTERS)),
    st.builds(Op, st.just("search"), value=_vectors, limit=st.sampled_from([1, 2, 9]), where=st.sampled_from(FILTERS)),
    st.builds(Op, st.just("rows"), value=st.sets(_ids, min_size=1).map(lambda ids: tuple(sorted(ids)))),
    st.builds(Op, st.just("drop"), name=_ids, origin=_origins),
    st.just(Op("count", "vectors")),
)
_others = st.one_of(
    st.builds(Op, st.just("append"), name=st.sampled_from(["user", "assistant"])),
    st.builds(Op, st.just("append"), name=st.sampled_from(["user", "assistant"]), origin=_origins),
    st.builds(Op, st.just("history"), limit=st.sampled_from([None, 1, 2])),
    st.builds(Op, st.sampled_from(["extend", "forget", "history with tombstones"]), origin=_origins),
    st.builds(
        Op,
        st.sampled_from(["append after", "replace", "clear"]),
        expect=st.sampled_from([None, RIGHT, RIGHT, 0]),
        origin=_origins,
    ),
    st.builds(Op, st.sampled_from(["artifact", "hear"]), name=st.sampled_from(["partner", "shared/policy"])),
    st.builds(Op, st.just("put"), st.just("documents"), name=_documents, origin=_origins),
    st.builds(Op, st.just("get"), st.just("documents"), name=_documents),
    st.builds(Op, st.just("delete"), st.just("documents"), name=_documents, origin=_origins),
    st.builds(Op, st.sampled_from(["items", "count"]), st.just("documents")),
    st.builds(Op, st.just("artifact"), name=st.sampled_from(["helper/prompt", "librarian/prompt", "shared/policy"])),
)
anything = st.one_of(keyed, own, own, _others, _others, vectors)

# ---------------------------------------------------------------- enough vectors for an index

MANY_IDS = tuple(f"v{n}" for n in range(20))
DIRECTIONS = tuple((round(math.cos(n), 3), round(math.sin(n), 3), round(math.sin(2.4 * n), 3)) for n in range(16))

_collections = st.sampled_from([COLLECTION, COLLECTION, COLLECTION, ANOTHER])
_directions = st.sampled_from(DIRECTIONS)
_many_ids = st.sampled_from(MANY_IDS)
_limits = st.sampled_from([1, 3, 30])
_filters = st.sampled_from(FILTERS)
_many_row = st.tuples(_many_ids, _directions, st.sampled_from([{"n": 0}, {"n": 1}, {"n": 2}]))
_many_rows = st.lists(_many_row, min_size=1, max_size=12, unique_by=lambda row: row[0]).map(tuple)
_batch = st.lists(_many_row, min_size=8, max_size=16, unique_by=lambda row: row[0]).map(tuple)
_some_ids = st.sets(_many_ids, min_size=1, max_size=8).map(lambda ids: tuple(sorted(ids)))

_upsert = st.builds(Op, st.just("upsert"), rows=_many_rows, origin=_origins, collection=_collections)
_search = st.builds(Op, st.just("search"), value=_directions, limit=_limits, where=_filters, collection=_collections)
_drop = st.builds(Op, st.just("drop"), name=_many_ids, origin=_origins, collection=_collections)
_count = st.builds(Op, st.just("count"), st.just("vectors"), collection=_collections)
for_all = st.one_of(_upsert, _upsert, _search, _drop, _count)  # what the other process can do as well
load = st.builds(Op, st.just("upsert"), rows=_batch, origin=_origins, collection=_collections)
sealed = st.one_of(
    _upsert, _upsert, _upsert, _search, _search, _drop, _count,
    st.builds(Op, st.just("search both"), value=_directions, limit=_limits, where=_filters),
    st.builds(Op, st.just("batches"), limit=_limits, where=_filters, collection=_collections),
    st.builds(Op, st.sampled_from(["rows", "fetch"]), value=_some_ids, collection=_collections),
)  # fmt: skip
