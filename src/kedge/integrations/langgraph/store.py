"""LangGraph store over Kedge: items are keyed values, their texts are rows of a collection of vectors.

Reads and writes are those of the turn that the caller works in, so lineage flows through the store: what a node finds
there stamps what it writes afterwards, and a rollback takes back items, hits and namespaces alike. Outside turns, each
call is a turn of its own.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime
from time import time as now
from typing import Any

import numpy as np
from langgraph.store import base

import kedge
from kedge.integrations.embedding import Embeddings, PinnedEmbedder, embed_many, embed_one, identity_of
from kedge.integrations.langgraph import store_names as names
from kedge.integrations.turns import Opened, sync_of, turn_for

_SMALL = 20  # items in a namespace that is small
_PAGE = 200  # items read at once where a filter, or a search by text, passes over some
_FRESH = 0.05  # the part of its time to live after which a read refreshes an item
_MINUTE = 60.0


class KedgeStore(base.BaseStore):  # type: ignore[misc]  # its package need not be installed
    """A LangGraph store whose items a rollback takes back.

    Items come in the order of their names, which depends on no clock and no race. A put is blind: it reads nothing, so
    `created_at` is when this value was written, as in LangGraph's `InMemoryStore`.
    """

    supports_ttl = True

    def __init__(
        self,
        k: Opened,
        *,
        agent: str | None = None,
        name: str = "langgraph-store",
        index: Mapping[str, Any] | None = None,
        ttl: Mapping[str, Any] | None = None,
        embedder: str = "shared/embedder",
        choose: Callable[[kedge.Artifact], Embeddings] | None = None,
        drop_frozen: bool = False,
    ) -> None:
        """Keep items in the store `name`, and their vectors in the collection of that name.

        `agent` is whose turn a call outside turns is; without it, such a call is refused. `index` and `ttl` are
        LangGraph's. The view of each turn pins the embedder at `embedder`; where several versions of it are deployed,
        `choose` returns the model of an artifact, in place of `index["embed"]`. With `drop_frozen`, puts and deletes
        below level full change nothing instead of raising `Frozen`, so that a graph goes on answering.
        """
        self._k = k = sync_of(k)
        self._agent = agent
        self._name = name
        self._drop_frozen = drop_frozen
        self.ttl_config = None if ttl is None else dict(ttl)
        self.index_config = None if index is None else dict(index)
        self.embeddings: Any = None
        self._fields: list[Any] = []
        self._embedder: PinnedEmbedder | None = None
        if self.index_config is not None:
            given = self.index_config.get("embed")
            self.embeddings = None if given is None else base.ensure_embeddings(given)
            known = given if isinstance(given, str) else identity_of(given)
            self._embedder = PinnedEmbedder(choose or self.embeddings, embedder, None if choose else known)
            self._fields = [_path(field) for field in self.index_config.get("fields") or ["$"]]
            k.collection(name, dim=self.index_config["dims"], embedder=embedder)

    # ── what LangGraph calls ──

    def batch(self, ops: Iterable[Any]) -> list[Any]:
        """Run operations: all reads, then all writes. Of several writes of an item, the last counts.

        The items are one commit, their rows in the index the next.
        """
        work = _Work(ops, self)
        with ExitStack() as stack:
            turn = stack.enter_context(turn_for(self._k, self._agent))
            if work.queries:
                embeddings, _ = self._embedder_of(turn)
                work.query_vectors = {text: embeddings.embed_query(text) for text in work.queries}
            results = self._read(turn, work)
            child = stack.enter_context(self._child(turn, work))
            if work.documents:
                embeddings, digest = self._embedder_of(child)
                work.embedded(embeddings.embed_documents(work.documents), digest)
            self._write(turn, child, work)
        return results

    async def abatch(self, ops: Iterable[Any]) -> list[Any]:
        """Run operations as `batch` does, in threads, in the caller's context."""
        work, stack = _Work(ops, self), ExitStack()
        try:
            turn = await asyncio.to_thread(stack.enter_context, turn_for(self._k, self._agent))
            if work.queries:
                embeddings, _ = await asyncio.to_thread(self._embedder_of, turn)
                found = await asyncio.gather(*(embed_one(embeddings, text) for text in work.queries))
                work.query_vectors = dict(zip(work.queries, found, strict=True))
            results = await asyncio.to_thread(self._read, turn, work)
            if work.puts:
                child = await asyncio.to_thread(stack.enter_context, self._child(turn, work))
                if work.documents:
                    embeddings, digest = await asyncio.to_thread(self._embedder_of, child)
                    work.embedded(await embed_many(embeddings, work.documents), digest)
                await asyncio.to_thread(self._write, turn, child, work)
            return results
        finally:
            await asyncio.to_thread(stack.close)

    def sweep_ttl(self) -> int:
        """Delete expired items, and rows of the index that no item needs; return how many items had expired.

        They are absent without it. It reads the whole store.
        """
        with turn_for(self._k, self._agent) as turn:
            space = self._space(turn)
            expired = space.delete_expired()
            if self._embedder is not None:
                rows, kept = turn.vectors(self._name), set(space.keys())
                rows.delete([row for row in rows.ids() if row.rpartition("#")[0] not in kept])
            return len(expired or ())

    # ── one batch ──

    def _space(self, turn: kedge.Turn) -> Any:
        return turn.store(self._name).space("")

    def _embedder_of(self, turn: kedge.Turn) -> tuple[Embeddings, str]:
        assert self._embedder is not None  # noqa: S101 - without an index, no operation has texts
        return self._embedder.of(turn)

    def _child(self, turn: kedge.Turn, work: "_Work") -> Any:
        """Return a child turn for what a put does beside its one write.

        The caller learns nothing from it: the embedder of the rows does not influence the caller, nor the item. And
        its batches are not in the way of other threads that share the caller's turn.
        """
        if not work.puts or (self._embedder is None and len(work.puts) == 1):
            return nullcontext(turn)
        return self._k.turn(agent=turn.agent, person=turn.person, parent=turn, on_settle="continue")

    def _read(self, turn: kedge.Turn, work: "_Work") -> list[Any]:
        results: list[Any] = []
        for op in work.ops:
            if isinstance(op, base.GetOp):
                results.append(self._get(turn, op))
            elif isinstance(op, base.SearchOp):
                results.append(self._search(turn, op, work))
            elif isinstance(op, base.ListNamespacesOp):
                results.append(self._list_namespaces(turn, op))
            else:
                results.append(None)
        return results

    def _write(self, turn: kedge.Turn, child: kedge.Turn, work: "_Work") -> None:
        """Write the items of a batch, then their rows; where writing is not permitted, raise, or do nothing."""
        try:
            self._write_all(turn, child, work)
        except kedge.Frozen:
            if not self._drop_frozen:
                raise

    def _write_all(self, turn: kedge.Turn, child: kedge.Turn, work: "_Work") -> None:
        if len(work.puts) == 1:
            self._write_items(turn, work)
        elif work.puts:
            with child.batch():
                self._write_items(child, work)
        if work.puts and self._embedder is not None:
            with child.batch():
                self._write_rows(child, work)

    def _write_items(self, turn: kedge.Turn, work: "_Work") -> None:
        space = self._space(turn)
        for name, op in work.puts.items():
            if op.value is None:
                space.delete(name)
            else:
                ttl = None if op.ttl is None else op.ttl * _MINUTE
                space.put(name, {"value": dict(op.value), "token": work.tokens.get(name), "ttl": ttl}, ttl=ttl)

    def _write_rows(self, turn: kedge.Turn, work: "_Work") -> None:
        """Write the rows of the items, and delete, unread, those that an earlier value had more of.

        Where it had more than the store has fields, they stay; their token is of another value, so no search finds it.
        """
        rows, ids = turn.vectors(self._name), [row.ident for row in work.rows]
        if ids:
            payloads = [
                names.row_payload(row.name, work.tokens[row.name], work.puts[row.name].value) for row in work.rows
            ]
            rows.upsert(ids, np.stack([row.vector for row in work.rows]), payloads, embedder=work.digest)
        old = (f"{name}#{n}" for name in work.puts for n in range(len(self._fields)))
        stale = sorted(set(old) - set(ids))
        if stale:
            rows.delete(stale)

    # ── reads ──

    def _get(self, turn: kedge.Turn, op: Any) -> Any:
        space = self._space(turn)
        entry = space.entry(names.item_name(op.namespace, op.key))
        if entry is None:
            return None
        _refresh(space, [entry], op)
        return _item(entry, base.Item)

    def _search(self, turn: kedge.Turn, op: Any, work: "_Work") -> list[Any]:
        space, wanted = self._space(turn), max(op.offset, 0) + max(op.limit, 0)
        vector = work.query_vectors.get(op.query) if op.query else None
        scored: dict[str, tuple[Any, float | None]] = {}
        if vector is not None and np.any(vector):
            for entry, score in self._nearest(turn, op, vector, wanted):
                scored[entry.key] = (entry, score)
        if len(scored) < wanted:
            for entry in _listed(space, op, wanted - len(scored)):
                scored.setdefault(entry.key, (entry, None))
                if len(scored) >= wanted:
                    break
        found = list(scored.values())[max(op.offset, 0) : wanted]
        _refresh(space, [entry for entry, _ in found], op)
        return [_item(entry, base.SearchItem, score=score) for entry, score in found]

    def _nearest(self, turn: kedge.Turn, op: Any, vector: Any, wanted: int) -> Iterator[tuple[Any, float]]:
        """Yield the items nearest to a vector, best first, at most `wanted`; look further where rows were of no use."""
        space, rows, seen = self._space(turn), turn.vectors(self._name), set[str]()
        where, k, yielded = names.rows_where(tuple(op.namespace_prefix), op.filter), 2 * wanted + 8, 0
        while yielded < wanted:
            hits = rows.search(vector, k=k, where=where)
            for hit in hits:
                name = hit.payload["name"]
                if name in seen or yielded >= wanted:
                    continue
                entry = space.entry(name)
                if entry is None or entry.value["token"] != hit.payload["token"]:
                    continue  # a row of an earlier value; the item may have others
                seen.add(name)
                if names.passes(entry.value["value"], op.filter):
                    yielded += 1
                    yield entry, hit.score
            if len(hits) < k:
                return
            k *= 4

    def _list_namespaces(self, turn: kedge.Turn, op: Any) -> list[Any]:
        conditions = op.match_conditions or ()
        found = _namespaces(self._space(turn), conditions, op.max_depth)
        matching = {each for each in found if all(names.is_match(condition, each) for condition in conditions)}
        if op.max_depth is not None:
            matching = {each[: op.max_depth] for each in matching}
        return sorted(matching)[op.offset : op.offset + op.limit]


def _check_labels(namespace: Iterable[Any]) -> None:
    """Raise as LangGraph's own methods do: operations may come without passing them."""
    for label in namespace:
        if not isinstance(label, str) or not label or "." in label:
            raise base.InvalidNamespaceError(
                f"invalid namespace label {label!r} in {namespace!r}: must be a string without periods, not empty"
            )


def _path(field: str) -> Any:
    return field if field == "$" else base.tokenize_path(field)


def _namespaces(space: Any, conditions: Sequence[Any], max_depth: int | None) -> set[names.Namespace]:
    """Return the namespaces of items, or some of each `max_depth` labels where that is enough to tell which match.

    After each page, the other items of its last namespace are left out, unread. Where namespaces are small, that spares
    little, and pages grow.
    """
    prefix, after, found = names.prefix_of(names.fixed_prefix(conditions)), None, set[names.Namespace]()
    depth, size = max_depth if names.is_decided_by(conditions, max_depth) else None, _PAGE
    while True:
        page = space.keys(prefix, after=after, limit=size)
        before = len(found)
        found.update(names.namespace_and_key(name)[0] for name in page)
        if len(page) < size:
            return found
        after = names.after_namespace(page[-1], depth)
        if (len(found) - before) * _SMALL > size:
            size *= 2


def _listed(space: Any, op: Any, missing: int) -> Iterator[Any]:
    """Yield the items in and below a namespace that pass the filter, in the order of their names."""
    prefix, after = names.prefix_of(op.namespace_prefix), None
    page = _PAGE if op.filter or op.query else missing
    while page > 0:
        entries = space.entries(prefix, after=after, limit=page)
        yield from (entry for entry in entries if names.passes(entry.value["value"], op.filter))
        if len(entries) < page:
            return
        after = entries[-1].key


# ── items ──


def _item(entry: kedge.Entry, kind: Any, **more: Any) -> Any:
    namespace, key = names.namespace_and_key(entry.key)
    at = datetime.fromtimestamp(entry.value.get("at", entry.at), UTC)
    return kind(namespace=namespace, key=key, value=entry.value["value"], created_at=at, updated_at=at, **more)


def _refresh(space: Any, entries: Sequence[kedge.Entry], op: Any) -> None:
    """Begin the time to live of items that were read anew, if some of it has passed; their value stays as it is.

    What a concurrent writer wrote is not overwritten, and where writing is not permitted, the read goes on.
    """
    for entry in entries if op.refresh_ttl else ():
        ttl = entry.value["ttl"]
        if ttl is None or entry.expires_at is None or entry.expires_at - now() > (1 - _FRESH) * ttl:
            continue
        value = entry.value | {"at": entry.value.get("at", entry.at)}
        try:
            space.put(entry.key, value, ttl=ttl, expect=entry.seq)
        except (kedge.ExpectationFailed, kedge.NotPermitted, kedge.ReadOnly):
            continue


class _Row:
    """One text of an item, and its vector."""

    def __init__(self, name: str, number: int, text: str) -> None:
        self.name, self.ident, self.text = name, f"{name}#{number}", text
        self.vector: Any = None


class _Work:
    """The operations of one batch, what they need embedded, and its vectors."""

    def __init__(self, ops: Iterable[Any], store: KedgeStore) -> None:
        self.ops = list(ops)
        for op in self.ops:
            if not isinstance(op, base.GetOp | base.SearchOp | base.PutOp | base.ListNamespacesOp):
                raise ValueError(f"unknown operation {op!r:.80}: pass those of langgraph.store.base")  # noqa: TRY004
            for namespace in names.namespaces_of(op):
                _check_labels(namespace)
        self.puts = {names.item_name(op.namespace, op.key): op for op in self.ops if isinstance(op, base.PutOp)}
        self.rows: list[_Row] = []
        self.tokens: dict[str, str] = {}
        self.queries: list[str] = []
        self.query_vectors: dict[str, Any] = {}
        self.digest = ""
        if store.index_config is not None:
            asked = (op.query for op in self.ops if isinstance(op, base.SearchOp) and op.query)
            self.queries = list(dict.fromkeys(asked))
            for name, op in self.puts.items():
                self._add_rows(name, op, store._fields)
        self.documents = list(dict.fromkeys(row.text for row in self.rows))

    def _add_rows(self, name: str, op: Any, fields: list[Any]) -> None:
        if op.value is None or op.index is False:
            return
        paths = fields if op.index is None else [_path(field) for field in op.index]
        texts = [text for path in paths for text in base.get_text_at_path(op.value, path)]
        self.tokens[name] = _digest([op.value, paths])
        self.rows += (_Row(name, number, text) for number, text in enumerate(texts))

    def embedded(self, vectors: Any, digest: str) -> None:
        """Take the vectors of the documents. A text whose vector is zero has no direction, and no row."""
        self.digest = digest
        known = dict(zip(self.documents, vectors, strict=True))
        for row in self.rows:
            row.vector = np.asarray(known[row.text], np.float32)
        self.rows = [row for row in self.rows if row.vector.any()]


def _digest(value: Any) -> str:
    """Return what tells this value from others: rows of an item's earlier value are no hits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=dict).encode()).hexdigest()[:16]
