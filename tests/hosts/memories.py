"""What agents remember through LangGraph and LangChain, as adapters of one shape, and mutants of them."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.messages import AIMessage

import kedge
from kedge.integrations.langchain import KedgeChatMessageHistory, KedgeRetriever, KedgeVectorStore
from kedge.integrations.langgraph import KedgeStore
from kedge.testing.contracts.memories import SESSION, TEXTS, Memory, MemoryOn

PLACE = ("facts",)


class FakeEmbeddings(Embeddings):  # type: ignore[misc]  # its package need not be installed
    """A model whose vectors depend on the text and the model's name alone."""

    def __init__(self, model: str = "one", dim: int = 8) -> None:
        self.model, self.dim = model, dim

    def embed_query(self, text: str) -> list[float]:
        seed = hashlib.sha256(f"{self.model} {text}".encode()).digest()
        return list(np.random.default_rng(list(seed)).normal(size=self.dim))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


INDEX = {"dims": 8, "embed": FakeEmbeddings(), "fields": ["text"]}


def item(text: str) -> dict[str, Any]:
    return {"text": text, "length": len(text)}


def listed(kind: type[KedgeStore] = KedgeStore) -> MemoryOn:
    def make(k: kedge.Kedge) -> Memory:
        store = kind(k, agent="helper")
        return Memory(
            lambda text: store.put(PLACE, text, item(text)),
            lambda: {found.value["text"] for found in store.search(PLACE, limit=50)},
            lambda text: store.delete(PLACE, text),
        )

    return make


def searched(kind: type[KedgeStore] = KedgeStore) -> MemoryOn:
    def make(k: kedge.Kedge) -> Memory:
        store = kind(k, agent="helper", index=INDEX)
        return Memory(
            lambda text: store.put(PLACE, text, item(text)),
            lambda: {f.value["text"] for f in store.search(PLACE, query="right", limit=50) if f.score is not None},
            lambda text: store.delete(PLACE, text),
        )

    return make


def got(k: kedge.Kedge) -> Memory:
    store = KedgeStore(k, agent="helper")
    return Memory(
        lambda text: store.put(PLACE, text, item(text)),
        lambda: {text for text in TEXTS if store.get(PLACE, text) is not None},
        lambda text: store.delete(PLACE, text),
    )


def namespaces(k: kedge.Kedge) -> Memory:
    store = KedgeStore(k, agent="helper")
    return Memory(
        lambda text: store.put((*PLACE, text), "key", item(text)),
        lambda: {namespace[1] for namespace in store.list_namespaces(prefix=PLACE)},
        lambda text: store.delete((*PLACE, text), "key"),
    )


def listed_async(k: kedge.Kedge) -> Memory:
    store = KedgeStore(k, agent="helper", index=INDEX)

    async def read() -> set[str]:
        found = await asyncio.gather(store.asearch(PLACE, limit=50), store.asearch(PLACE, query="right", limit=50))
        assert {each.key for each in found[0]} == {each.key for each in found[1]}
        return {each.value["text"] for each in found[1]}

    return Memory(
        lambda text: asyncio.run(store.aput(PLACE, text, item(text))),
        lambda: asyncio.run(read()),
        lambda text: asyncio.run(store.adelete(PLACE, text)),
    )


def documents(kind: type[KedgeVectorStore] = KedgeVectorStore) -> MemoryOn:
    def make(k: kedge.Kedge) -> Memory:
        store = kind(k, "kb", FakeEmbeddings(), agent="helper")
        return Memory(
            lambda text: store.add_texts([text], ids=[text]),
            lambda: {found.page_content for found in store.similarity_search("right", k=50)},
            lambda text: store.delete([text]),
        )

    return make


def documents_async(k: kedge.Kedge) -> Memory:
    store = KedgeVectorStore(k, "kb", FakeEmbeddings(), agent="helper")

    async def read() -> set[str]:
        return {found.page_content for found in await store.asimilarity_search("right", k=50)}

    return Memory(
        lambda text: asyncio.run(store.aadd_texts([text], ids=[text])),
        lambda: asyncio.run(read()),
        lambda text: asyncio.run(store.adelete([text])),
    )


def documents_by_id(k: kedge.Kedge) -> Memory:
    store = KedgeVectorStore(k, "kb", FakeEmbeddings(), agent="helper")
    return Memory(
        lambda text: store.add_texts([text], ids=[text]),
        lambda: {found.page_content for found in store.get_by_ids(TEXTS)},
        lambda text: store.delete([text]),
    )


def retrieved(k: kedge.Kedge) -> Memory:
    store = KedgeVectorStore(k, "kb", FakeEmbeddings(), agent="helper")
    retriever = KedgeRetriever(store=store, k=50)
    return Memory(
        lambda text: store.add_texts([text], ids=[text]),
        lambda: {found.page_content for found in retriever.invoke("right")},
        lambda text: store.delete([text]),
    )


def diverse(k: kedge.Kedge) -> Memory:
    store = KedgeVectorStore(k, "kb", FakeEmbeddings(), agent="helper")
    return Memory(
        lambda text: store.add_texts([text], ids=[text]),
        lambda: {found.page_content for found in store.max_marginal_relevance_search("right", k=50, fetch_k=50)},
        lambda text: store.delete([text]),
    )


def history(kind: type[KedgeChatMessageHistory] = KedgeChatMessageHistory) -> MemoryOn:
    def make(k: kedge.Kedge) -> Memory:
        kept = kind(k, SESSION, agent="helper")
        return Memory(
            lambda text: kept.add_messages([AIMessage(text)]),
            lambda: {str(message.content) for message in kept.messages},
            shared=False,
        )

    return make


def history_async(k: kedge.Kedge) -> Memory:
    kept = KedgeChatMessageHistory(k, SESSION, agent="helper")
    return Memory(
        lambda text: asyncio.run(kept.aadd_messages([AIMessage(text)])),
        lambda: {str(message.content) for message in asyncio.run(kept.aget_messages())},
        shared=False,
    )


MEMORIES: dict[str, MemoryOn] = {
    "items": listed(),
    "items by text": searched(),
    "items by key": got,
    "namespaces": namespaces,
    "items, async": listed_async,
    "documents": documents(),
    "documents, async": documents_async,
    "documents by id": documents_by_id,
    "retriever": retrieved,
    "diverse documents": diverse,
    "history": history(),
    "history, async": history_async,
}


# ── mutants ──


class ForgetsReads(KedgeStore):
    """A mutant: what it reads does not count as the caller's."""

    def _read(self, turn: Any, work: Any) -> Any:
        with self._k.turn(agent=turn.agent, parent=turn) as other:
            return super()._read(other, work)


class ForgetsTheCaller(KedgeStore):
    """A mutant: it writes in a turn that knows nothing of its caller."""

    def _write(self, turn: Any, child: Any, work: Any) -> None:
        with self._k.turn(agent="nobody") as other:
            super()._write(other, other, work)
        del turn, child


class SeesEverything(KedgeStore):
    """A mutant: it shows what any canary wrote."""

    def _space(self, turn: Any) -> Any:
        space = turn.store(self._name).space("")
        space.entries = self._k.view(everything=True).store(self._name).space("").entries
        return space


class ForgetsDocuments(KedgeVectorStore):
    """A mutant: hits do not count as read by the caller."""

    def _nearest(self, turn: Any, *arguments: Any) -> Any:
        with self._k.turn(agent=turn.agent, parent=turn) as other:
            return super()._nearest(other, *arguments)


class AddsAlone(KedgeVectorStore):
    """A mutant: it adds documents in a turn that knows nothing of its caller."""

    def _child(self, turn: Any) -> Any:
        del turn
        return self._k.turn(agent="nobody")


class ForgetsMessages(KedgeChatMessageHistory):
    """A mutant: messages do not count as read by the caller."""

    @property
    def messages(self) -> Any:
        with self._k.turn(session=self._session, agent="nobody") as turn:
            return [AIMessage(message.content) for message in turn.memory.history()]


class AnswersAreSource(KedgeChatMessageHistory):
    """A mutant: what an agent said counts as a user's words."""

    def _add(self, turn: Any, stored: Any) -> None:
        super()._add(turn, [(fields, True) for fields, _ in stored])


MUTANTS: dict[str, MemoryOn] = {
    "forgets reads": listed(ForgetsReads),
    "forgets the caller": listed(ForgetsTheCaller),
    "forgets the caller, indexed": searched(ForgetsTheCaller),
    "sees everything": listed(SeesEverything),
    "forgets documents": documents(ForgetsDocuments),
    "adds alone": documents(AddsAlone),
    "forgets messages": history(ForgetsMessages),
    "answers are source": history(AnswersAreSource),
}
