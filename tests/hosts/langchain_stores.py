"""Vector stores for LangChain's own suite, one a test in one database: Kedge's, and mutants of it."""

from __future__ import annotations

import itertools
import os
from typing import Any

import kedge
from kedge.integrations.langchain import KedgeVectorStore, embedder_artifact

_numbers = itertools.count(1)
_open: list[kedge.Kedge] = []


def new_store(embeddings: Any) -> KedgeVectorStore:
    """Return an empty store of the kind that KEDGE_STORE names; with KEDGE_CANARY, under a canary."""
    if not _open:
        _open.append(kedge.open(os.environ["KEDGE_PLACE"], durability="normal"))
        _open[0].deploy("v1", {"graph/prompt": "one", "shared/embedder": embedder_artifact(embeddings)})
        _open[0].promote("v1")
        if os.environ.get("KEDGE_CANARY"):
            _open[0].deploy("v2", {"graph/prompt": "two"}, canary=1.0)
    kind = STORES[os.environ["KEDGE_STORE"]]
    origin = os.environ.get("KEDGE_ORIGIN") or None
    return kind(_open[0], f"store-{next(_numbers)}", embeddings, agent="graph", origin=origin)


class DropsWrites(KedgeVectorStore):
    """A mutant: the second document of a batch is lost."""

    def _add(self, turn: Any, new: Any, vectors: Any, digest: str) -> None:
        new.names, new.payloads = new.names[:1], new.payloads[:1]
        super()._add(turn, new, vectors[:1], digest)


class HidesLatest(KedgeVectorStore):
    """A mutant: what replaces a document is not written."""

    def _add(self, turn: Any, new: Any, vectors: Any, digest: str) -> None:
        known = turn.vectors(self._collection).get(new.names)
        kept = [place for place, name in enumerate(new.names) if name not in known]
        new.names, new.payloads = [new.names[p] for p in kept], [new.payloads[p] for p in kept]
        if kept:
            super()._add(turn, new, [vectors[p] for p in kept], digest)


class KeepsDeleted(KedgeVectorStore):
    """A mutant: only the first id of a delete is deleted."""

    def delete(self, ids: list[str] | None = None, **options: Any) -> bool:
        return super().delete(ids and ids[1:], **options)


STORES = {each.__name__: each for each in (KedgeVectorStore, DropsWrites, HidesLatest, KeepsDeleted)}
SUITE = """
import pytest
from langchain_stores import new_store
from langchain_tests.integration_tests import RetrieversIntegrationTests, VectorStoreIntegrationTests

from kedge.integrations.langchain import KedgeRetriever


class TestVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self):
        return new_store(self.get_embeddings())


class TestRetriever(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self):
        return KedgeRetriever

    @property
    def retriever_constructor_params(self):
        store = new_store(VectorStoreIntegrationTests.get_embeddings())
        store.add_texts(["one", "two", "three", "four", "five"])
        return {"store": store}

    @property
    def retriever_query_example(self):
        return "two"
"""
