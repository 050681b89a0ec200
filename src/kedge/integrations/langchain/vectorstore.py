"""Vector store of LangChain over a collection of Kedge.

Searches and writes are those of the turn that the caller works in: hits stamp what it writes afterwards, a canary's
documents are no hits for others, and a rollback takes them back. The view's embedder is the embedding space, so a
changed model never meets the vectors of the old one.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

import numpy as np
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance

import kedge
from kedge.integrations.embedding import Choice, Embeddings, PinnedEmbedder, embed_many, embed_one
from kedge.integrations.turns import Opened, sync_of, turn_for

_PROBE = "dimension"
Filter = Mapping[str, Any]


class KedgeVectorStore(VectorStore):  # type: ignore[misc]  # its package need not be installed
    """A vector store whose documents a rollback takes back."""

    def __init__(
        self,
        k: Opened,
        collection: str,
        embedding: Choice,
        *,
        agent: str | None = None,
        dim: int | None = None,
        metric: Any = "cosine",
        embedder: str = "shared/embedder",
        name: str | None = None,
        origin: Any = None,
    ) -> None:
        """Keep documents in a collection, which is declared where it is not.

        - `embedding`: a model, or a function that returns the model of the artifact that the view pins at `embedder`.
          Deploy `embedder_artifact(model)` there; `name` is the one given to it.
        - `agent`: whose turn a call outside turns is; without it, such a call is refused.
        - `origin="source"`: what is added comes from outside, such as uploaded files. Then the texts are source
          documents of the collection, which no rollback hides, and their vectors are derived.
        """
        if dim is None and not isinstance(embedding, Embeddings):
            raise kedge.InvalidValue("invalid dim None: a function chooses the model, so give the dimension, dim=…")
        if dim is None:
            dim = len(embedding.embed_query(_PROBE))  # type: ignore[union-attr]  # checked above
        self._k = k = sync_of(k)
        self._collection = collection
        self._agent = agent
        self._metric = metric
        self._origin = origin
        self._embedder = PinnedEmbedder(embedding, embedder, name)
        k.collection(collection, dim=dim, metric=metric, embedder=embedder)

    @classmethod
    def from_texts(
        cls, texts: list[str], embedding: Choice, metadatas: list[dict[str, Any]] | None = None, **options: Any
    ) -> Self:
        """Return a store with these texts: `from_texts(…, database=k, collection="kb", agent="loader")`."""
        ids = options.pop("ids", None)
        store = cls(options.pop("database"), options.pop("collection"), embedding, **options)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @classmethod
    async def afrom_texts(
        cls, texts: list[str], embedding: Choice, metadatas: list[dict[str, Any]] | None = None, **options: Any
    ) -> Self:
        """Return a store with these texts, as `from_texts` does."""
        ids = options.pop("ids", None)
        store = await asyncio.to_thread(
            lambda: cls(options.pop("database"), options.pop("collection"), embedding, **options)
        )
        await store.aadd_texts(texts, metadatas, ids=ids)
        return store

    @property
    def embeddings(self) -> Any:
        """The model, where the view does not choose it."""
        return self._embedder.given

    # ── writing ──

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **_: Any,
    ) -> list[str]:
        """Add or replace texts as one batch, and return their ids. Without ids, the same text is the same document."""
        new = _Texts(texts, metadatas, ids)
        if new.texts:
            with turn_for(self._k, self._agent) as turn, self._child(turn) as child:
                embeddings, digest = self._embedder.of(child)
                self._add(child, new, embeddings.embed_documents(new.texts), digest)
        return new.ids

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **_: Any,
    ) -> list[str]:
        """Add or replace texts, as `add_texts` does."""
        new, stack = _Texts(texts, metadatas, ids), ExitStack()
        try:
            if new.texts:
                turn = await asyncio.to_thread(stack.enter_context, turn_for(self._k, self._agent))
                child = await asyncio.to_thread(stack.enter_context, self._child(turn))
                embeddings, digest = await asyncio.to_thread(self._embedder.of, child)
                vectors = await embed_many(embeddings, new.texts)
                await asyncio.to_thread(self._add, child, new, vectors, digest)
            return new.ids
        finally:
            await asyncio.to_thread(stack.close)

    def _child(self, turn: kedge.Turn) -> kedge.Turn:
        """Return a child turn to write in: the embedder influences the rows, but not the caller, who learns nothing."""
        return self._k.turn(agent=turn.agent, person=turn.person, parent=turn, on_settle="continue")

    def _add(self, turn: kedge.Turn, new: "_Texts", vectors: Any, digest: str) -> None:
        matrix = np.asarray(vectors, np.float32)
        with turn.batch():
            if self._origin == "source":
                turn.documents(self._collection).put_many(
                    dict(zip(new.names, new.payloads, strict=True)), origin="source"
                )
            turn.vectors(self._collection).upsert(new.names, matrix, new.payloads, origin="derived", embedder=digest)

    def delete(self, ids: list[str] | None = None, **_: Any) -> bool:
        """Delete documents by id, or all, as one batch. Ids that are not there are passed over."""
        with turn_for(self._k, self._agent) as turn, self._child(turn) as child:
            vectors, documents = turn.vectors(self._collection), turn.documents(self._collection)
            given = None if ids is None else [kedge.escape_name(ident) for ident in dict.fromkeys(ids)]
            whole = given if given is not None else sorted({*vectors.ids(), *documents.keys()})
            if whole:
                with child.batch():
                    child.vectors(self._collection).delete(whole)
                    if self._origin == "source":
                        child.documents(self._collection).delete_many(whole, origin="source")
        return True

    async def adelete(self, ids: list[str] | None = None, **_: Any) -> bool:
        """Delete documents, as `delete` does."""
        return await asyncio.to_thread(self.delete, ids)

    # ── reading ──

    def get_by_ids(self, ids: Sequence[str], /) -> list[Any]:
        """Return the documents of these ids that are there, in this order."""
        names = [kedge.escape_name(ident) for ident in dict.fromkeys(ids)]
        with turn_for(self._k, self._agent) as turn:
            found = {name: row.payload for name, row in turn.vectors(self._collection).get(names).items()}
            if self._origin == "source":  # also those whose vectors are of another embedder
                found |= turn.documents(self._collection).get_many(names)
        return [_document(name, found[name]) for name in names if name in found]

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Any]:
        """Return the documents of these ids that are there, in this order."""
        return await asyncio.to_thread(self.get_by_ids, ids)

    def similarity_search(self, query: str, k: int = 4, filter: Filter | None = None, **_: Any) -> list[Any]:  # noqa: A002
        """Return the `k` documents nearest to a query, best first; `filter` is of their metadata."""
        return [document for document, _ in self.similarity_search_with_score(query, k, filter)]

    async def asimilarity_search(self, query: str, k: int = 4, filter: Filter | None = None, **_: Any) -> list[Any]:  # noqa: A002
        """Return the `k` documents nearest to a query, best first."""
        return [document for document, _ in await self.asimilarity_search_with_score(query, k, filter)]

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002
        *,
        also: Sequence[str] = (),
        **_: Any,
    ) -> list[tuple[Any, float]]:
        """Return the nearest documents with their scores, best first; `also` names further collections to search."""
        with turn_for(self._k, self._agent) as turn:
            embeddings, _digest = self._embedder.of(turn)
            return self._scored(turn, embeddings.embed_query(query), k, filter, also)

    async def asimilarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002
        *,
        also: Sequence[str] = (),
        **_: Any,
    ) -> list[tuple[Any, float]]:
        """Return the nearest documents with their scores, as `similarity_search_with_score` does."""
        stack = ExitStack()
        try:
            turn = await asyncio.to_thread(stack.enter_context, turn_for(self._k, self._agent))
            embeddings, _digest = await asyncio.to_thread(self._embedder.of, turn)
            vector = await embed_one(embeddings, query)
            return await asyncio.to_thread(self._scored, turn, vector, k, filter, also)
        finally:
            await asyncio.to_thread(stack.close)

    def similarity_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002
        **_: Any,
    ) -> list[Any]:
        """Return the `k` documents nearest to a vector of the view's embedder, best first."""
        with turn_for(self._k, self._agent) as turn:
            return [document for document, _ in self._scored(turn, embedding, k, filter, ())]

    async def asimilarity_search_by_vector(self, embedding: list[float], k: int = 4, **options: Any) -> list[Any]:
        """Return the `k` documents nearest to a vector of the view's embedder, best first."""
        return await asyncio.to_thread(self.similarity_search_by_vector, embedding, k, **options)

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter | None = None,  # noqa: A002
        **_: Any,
    ) -> list[Any]:
        """Return `k` of the `fetch_k` nearest documents that are near the query, and far from each other."""
        with turn_for(self._k, self._agent) as turn:
            embeddings, _digest = self._embedder.of(turn)
            return self._diverse(turn, embeddings.embed_query(query), k, fetch_k, lambda_mult, filter)

    async def amax_marginal_relevance_search(self, query: str, k: int = 4, **options: Any) -> list[Any]:
        """Return documents that are near the query and far from each other."""
        return await asyncio.to_thread(self.max_marginal_relevance_search, query, k, **options)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter | None = None,  # noqa: A002
        **_: Any,
    ) -> list[Any]:
        """Return documents that are near a vector and far from each other."""
        with turn_for(self._k, self._agent) as turn:
            return self._diverse(turn, embedding, k, fetch_k, lambda_mult, filter)

    def _nearest(self, turn: kedge.Turn, vector: Any, k: int, where: Filter | None, also: Sequence[str]) -> kedge.Hits:
        collections = list(dict.fromkeys([self._collection, *also]))
        return turn.search(collections, vector, k=k, where=_of_metadata(where))

    def _scored(
        self, turn: kedge.Turn, vector: Any, k: int, where: Filter | None, also: Sequence[str]
    ) -> list[tuple[Any, float]]:
        hits = self._nearest(turn, vector, k, where, also)
        return list(zip(_documents(turn, hits), [hit.score for hit in hits], strict=True))

    def _diverse(
        self, turn: kedge.Turn, vector: Any, k: int, fetch_k: int, lambda_mult: float, where: Filter | None
    ) -> list[Any]:
        hits = self._nearest(turn, vector, fetch_k, where, ())
        rows = turn.vectors(self._collection).get([hit.id for hit in hits])
        near = [hit for hit in hits if hit.id in rows]  # another commit may have deleted one
        matrix = [rows[hit.id].vector for hit in near]
        chosen = maximal_marginal_relevance(np.asarray(vector, np.float32), matrix, lambda_mult, k)
        return _documents(turn, [near[place] for place in chosen])

    @staticmethod
    def for_backfill(ident: str, value: Any) -> tuple[str, Any]:  # noqa: ARG004 - the form of `source=`
        """Return what to embed of a source document, and its payload: the `source=` of `k.backfill`."""
        return (value["text"], value) if isinstance(value, Mapping) else (value, None)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """Return the function from a score to a relevance between 0 and 1."""
        if self._metric == "cosine":
            return lambda score: (1 + score) / 2
        if self._metric == "l2":
            return lambda score: 1 / (1 - score)  # the score is the negative squared distance
        return lambda score: float(1 / (1 + np.exp(-score)))


class _Texts:
    """Texts to add, with their ids and payloads. Of several with one id, the last counts."""

    def __init__(self, texts: Iterable[str], metadatas: Sequence[Any] | None, ids: Sequence[str | None] | None) -> None:
        given = [texts] if isinstance(texts, str) else list(texts)
        metadata = [{} for _ in given] if metadatas is None else [each or {} for each in metadatas]
        wanted: list[str | None] = [None] * len(given) if ids is None else list(ids)
        if not len(given) == len(metadata) == len(wanted):
            raise kedge.InvalidValue(
                f"got {len(given)} texts, {len(metadata)} metadatas and {len(wanted)} ids: pass one of each for a text"
            )
        payloads = [{"text": text, "metadata": dict(about)} for text, about in zip(given, metadata, strict=True)]
        self.ids = [ident or _id_of(payload) for ident, payload in zip(wanted, payloads, strict=True)]
        last = dict(zip(map(kedge.escape_name, self.ids), payloads, strict=True))
        self.names, self.payloads = list(last), list(last.values())
        self.texts = [str(payload["text"]) for payload in self.payloads]


def _id_of(payload: Mapping[str, Any]) -> str:
    """Return the id of a document that was given none: the same in every attempt of a replay."""
    return hashlib.sha256(json.dumps(payload, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _documents(turn: kedge.Turn, hits: Sequence[kedge.Hit]) -> list[Any]:
    """Return the documents of hits; the text of a row that has none is that of its source document, if there is one."""
    bare: dict[str, list[str]] = {}
    for hit in hits:
        if hit.payload is None:
            bare.setdefault(hit.collection, []).append(hit.id)
    texts = {collection: turn.documents(collection).get_many(ids) for collection, ids in bare.items()}
    payloads = [hit.payload or texts.get(hit.collection, {}).get(hit.id) for hit in hits]
    return [_document(hit.id, payload) for hit, payload in zip(hits, payloads, strict=True)]


def _document(name: str, payload: Any) -> Any:
    """Return a document; of a row that other code wrote, what is beside its text is the metadata."""
    if not isinstance(payload, Mapping):
        payload = {"text": payload} if isinstance(payload, str) else {}
    others = {field: value for field, value in payload.items() if field != "text"}
    metadata = payload.get("metadata", others)
    return Document(id=kedge.unescape_name(name), page_content=payload.get("text") or "", metadata=metadata or {})


def _of_metadata(where: Filter | None) -> dict[str, Any] | None:
    """Return a filter of metadata as one of payloads."""
    if where is None:
        return None
    if not isinstance(where, Mapping):
        raise kedge.InvalidValue(f"invalid filter {where!r:.80}: must be a mapping such as {{'lang': 'en'}}")
    return {
        field if field in {"and", "or"} else f"metadata.{field}": (
            [_of_metadata(part) for part in condition] if field in {"and", "or"} else condition
        )
        for field, condition in where.items()
    }
