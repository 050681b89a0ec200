"""LangChain's vector store, retriever and chat history over Kedge, in detail. Run by `make hosts`."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

import kedge

pytest.importorskip("langgraph.graph", reason="`make hosts` installs it")
pytest.importorskip("langchain_core", reason="`make hosts` installs it")

from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_core.tools import StructuredTool

from kedge.integrations.langchain import KedgeChatMessageHistory, KedgeRetriever, KedgeVectorStore, embedder_artifact
from tests.hosts.memories import FakeEmbeddings

EVERYDAY = ("said_stays_once_and_is_replayed[sqlite", "changed_model_is_a_new_space[sqlite")
POSTGRES_ONE_IN = 4


@pytest.fixture
def k(place: str) -> Iterator[kedge.Kedge]:
    with kedge.open(place, durability="normal") as opened:
        opened.deploy("e1", {"shared/embedder": embedder_artifact(FakeEmbeddings("one"))})
        opened.promote("e1")
        yield opened


def store_of(k: kedge.Kedge, model: str = "one", name: str = "kb", **options: Any) -> KedgeVectorStore:
    return KedgeVectorStore(k, name, FakeEmbeddings(model), agent="helper", **options)


def texts(found: list[Any]) -> list[str]:
    return [document.page_content for document in found]


# ── vector store ──


def test_documents_keep_their_metadata_and_filters_are_of_it(k: kedge.Kedge) -> None:
    store = store_of(k)
    store.add_documents([Document("one", metadata={"lang": "en", "n": 1}), Document("zwei", metadata={"lang": "de"})])
    assert texts(store.similarity_search("one", filter={"lang": "de"})) == ["zwei"]
    assert texts(store.similarity_search("one", filter={"or": [{"n": {"gte": 1}}, {"lang": "fr"}]})) == ["one"]
    assert store.similarity_search("one", k=1)[0].metadata == {"lang": "en", "n": 1}
    with pytest.raises(kedge.InvalidValue, match="must be a mapping"):
        store.similarity_search("one", filter=["lang"])  # type: ignore[arg-type]


def test_scores_and_relevance(k: kedge.Kedge) -> None:
    store = store_of(k)
    store.add_texts(["one", "two"])
    (best, score), (_, other) = store.similarity_search_with_score("one")
    assert (best.page_content, round(score, 5)) == ("one", 1.0)
    assert other < score
    relevances = [relevance for _, relevance in store.similarity_search_with_relevance_scores("one")]
    assert round(relevances[0], 5) == 1.0
    assert 0 <= relevances[1] < 1
    by_vector = store.similarity_search_by_vector(FakeEmbeddings("one").embed_query("two"), k=1)
    assert texts(by_vector) == ["two"]
    assert texts(asyncio.run(store.asimilarity_search_by_vector(FakeEmbeddings("one").embed_query("two"), k=1))) == [
        "two"
    ]


@pytest.mark.parametrize("metric", ["l2", "dot"])
def test_other_metrics_have_relevances_between_0_and_1(k: kedge.Kedge, metric: str) -> None:
    store = store_of(k, metric=metric)
    store.add_texts(["one", "two"])
    relevances = [relevance for _, relevance in store.similarity_search_with_relevance_scores("one")]
    assert all(0 <= relevance <= 1 for relevance in relevances)
    assert relevances == sorted(relevances, reverse=True)


def test_a_text_without_an_id_is_the_same_document_each_time(k: kedge.Kedge) -> None:
    store = store_of(k)
    first = store.add_texts(["one", "two"], [{"n": 1}, {"n": 2}])
    assert asyncio.run(store.aadd_texts(["one", "two"], [{"n": 1}, {"n": 2}])) == first
    assert len(store.similarity_search("one", k=9)) == 2
    assert store.add_texts(["one"], [{"n": 9}]) != first[:1]
    assert store.add_texts([]) == []
    with pytest.raises(kedge.InvalidValue, match="got 2 texts, 1 metadatas and 2 ids"):
        store.add_texts(["one", "two"], [{}])
    store.delete()
    assert store.similarity_search("one") == []


def test_it_is_made_from_texts(k: kedge.Kedge) -> None:
    made = KedgeVectorStore.from_texts(
        ["one"], FakeEmbeddings("one"), ids=["1"], database=k, collection="kb", agent="helper"
    )
    assert texts(made.get_by_ids(["1"])) == ["one"]
    again = asyncio.run(
        KedgeVectorStore.afrom_texts(["two"], FakeEmbeddings("one"), database=k, collection="kb", agent="helper")
    )
    assert sorted(texts(again.as_retriever(search_kwargs={"k": 5}).invoke("one"))) == ["one", "two"]


def test_a_changed_model_is_a_new_space(k: kedge.Kedge) -> None:
    old = store_of(k)
    old.add_texts(["old"], ids=["a"])
    k.deploy("e2", {"shared/embedder": embedder_artifact(FakeEmbeddings("two", 12))}, canary=0.0)
    new = KedgeVectorStore(
        k, "kb", lambda artifact: FakeEmbeddings("two", artifact.value["dim"]), agent="helper", dim=8
    )
    with k.turn(session="s", agent="helper", deployment="e2"):
        assert new.similarity_search("old") == []
        new.add_texts(["new"], ids=["b"])
        assert texts(new.similarity_search("old")) == ["new"]
        with pytest.raises(kedge.InvalidVector, match="this process embeds with"):
            old.add_texts(["mixed"])
    assert texts(old.similarity_search("new")) == ["old"]
    with k.turn(session="s", agent="helper", deployment="e2"):
        k.rollback("e2")
    assert texts(old.similarity_search("new")) == ["old"]
    assert new.embeddings is None
    assert old.embeddings.model == "one"
    with pytest.raises(kedge.InvalidValue, match="give the dimension"):
        KedgeVectorStore(k, "kb", lambda _: FakeEmbeddings("two"))


def test_adding_does_not_make_the_caller_depend_on_the_embedder(k: kedge.Kedge) -> None:
    store = store_of(k)
    with k.turn(session="s", agent="helper") as turn:
        store.add_texts(["one"])
        store.delete(["other"])
        assert turn.lineage == set()
        store.similarity_search("one")
        assert turn.lineage == {"e1"}


def test_source_documents_survive_the_rollback_of_their_loader_and_embedder(k: kedge.Kedge) -> None:
    store = store_of(k, origin="source")
    k.deploy("v2", {"helper/prompt": "worse"})
    k.promote("v2")
    store.add_texts(["uploaded", "deleted"], ids=["a", "b"])
    store.delete(["b"])
    k.rollback("v2")
    assert texts(store.similarity_search("uploaded")) == [], "its vector was the loader's"
    assert texts(store.get_by_ids(["a", "b"])) == ["uploaded"]
    k.backfill(None, FakeEmbeddings("one").embed_documents, collection="kb", corpus="documents")
    assert texts(store.similarity_search("uploaded")) == ["uploaded"]


def test_a_backfill_keeps_the_metadata(k: kedge.Kedge) -> None:
    store = store_of(k, origin="source")
    store.add_texts(["uploaded"], [{"lang": "en"}], ids=["a"])
    k.deploy("e2", {"shared/embedder": embedder_artifact(FakeEmbeddings("two"))})
    k.promote("e2")
    changed, embed = store_of(k, "two", origin="source"), FakeEmbeddings("two").embed_documents
    assert changed.similarity_search("uploaded") == []
    k.backfill("e2", embed, collection="kb", corpus="documents", source=KedgeVectorStore.for_backfill)
    assert texts(changed.similarity_search("uploaded", filter={"lang": "en"})) == ["uploaded"]


def test_rows_of_other_code_are_documents(k: kedge.Kedge) -> None:
    store, model = store_of(k), FakeEmbeddings("one")
    with k.turn(agent="loader") as turn:
        turn.vectors("kb").put_documents({"doc": "first"}, model.embed_documents, payloads={"doc": {"lang": "en"}})
        turn.vectors("kb").upsert(["plain"], model.embed_documents(["second"]), [{"lang": "de"}])
    first, second = sorted(store.similarity_search("first"), key=lambda document: str(document.id))
    assert (first.page_content, first.metadata["lang"]) == ("first", "en")
    assert (second.page_content, second.metadata) == ("", {"lang": "de"})


def test_a_retriever_searches_several_collections_at_once(k: kedge.Kedge) -> None:
    store_of(k).add_texts(["one", "two"])
    store_of(k, name="wiki").add_texts(["three", "four"])
    retriever = KedgeRetriever(store=store_of(k), k=3, also=("wiki",))
    assert texts(retriever.invoke("three"))[0] == "three"
    assert len(asyncio.run(retriever.ainvoke("three"))) == 3
    assert len(retriever.invoke("three", k=1)) == 1


def test_diverse_documents(k: kedge.Kedge) -> None:
    store = store_of(k)
    store.add_texts([f"text {n}" for n in range(12)])
    found = store.max_marginal_relevance_search("text 3", k=4, fetch_k=12, lambda_mult=0.2)
    assert (len(found), found[0].page_content) == (4, "text 3")
    assert asyncio.run(store.amax_marginal_relevance_search("text 3", k=4, fetch_k=12, lambda_mult=0.2)) == found
    vector = FakeEmbeddings("one").embed_query("text 3")
    assert store.max_marginal_relevance_search_by_vector(vector, k=4, fetch_k=12, lambda_mult=0.2) == found


# ── chat history ──

MESSAGES = [
    HumanMessage("Where is my order?", id="h1", name="ann"),
    AIMessage(
        [{"type": "text", "text": "I look."}],
        tool_calls=[{"name": "find", "args": {"n": 1}, "id": "c1", "type": "tool_call"}],
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        response_metadata={"model": "m"},
    ),
    ToolMessage("in the post", tool_call_id="c1", artifact={"place": [1, 2]}, status="error"),
    SystemMessage("Be brief.", additional_kwargs={"cached": True}),
    FunctionMessage(name="find", content="found"),
    ChatMessage(role="critic", content="Too long."),
    HumanMessage(""),
    AIMessage(""),
]


def test_messages_come_back_as_they_were(k: kedge.Kedge) -> None:
    kept = KedgeChatMessageHistory(k, "s-17", agent="support")
    kept.add_messages(MESSAGES)
    kept.add_messages([])
    assert kept.messages == MESSAGES
    assert asyncio.run(kept.aget_messages()) == MESSAGES
    assert KedgeChatMessageHistory(k, "s-17", agent="support", limit=2).messages == MESSAGES[-2:]
    assert KedgeChatMessageHistory(k, "other\n", agent="support").messages == []
    kept.add_message(AIMessageChunk("merged"))
    assert kept.messages[-1] == AIMessage("merged")
    with pytest.raises(kedge.InvalidValue, match="cannot store"):
        kept.add_messages([RemoveMessage(id="h1")])
    asyncio.run(kept.aclear())
    assert kept.messages == []


def test_messages_of_other_code_are_read_too(k: kedge.Kedge) -> None:
    with k.turn(session="s", agent="support") as turn:
        turn.memory.append("user", "Where?")
        call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"n": 1}'}}
        turn.memory.append({"role": "assistant", "content": None, "tool_calls": [call]})
        turn.memory.append({"role": "developer", "content": "Be brief."})
        human, ai, developer = KedgeChatMessageHistory(k, "s").messages
    assert human == HumanMessage("Where?")
    assert ai.tool_calls == [{"name": "find", "args": {"n": 1}, "id": "c1", "type": "tool_call"}]
    assert isinstance(developer, SystemMessage)


def test_what_users_said_stays_once_and_is_replayed(k: kedge.Kedge) -> None:
    k.deploy("v2", {"support/prompt": "worse"})
    k.promote("v2")

    chain = RunnableLambda(lambda messages: AIMessage(f"v2: {len(messages)}"))
    config = {"configurable": {"session_id": "s"}}
    with warnings.catch_warnings():  # newer versions point at LangGraph's persistence
        warnings.simplefilter("ignore", DeprecationWarning)
        chat = RunnableWithMessageHistory(chain, lambda session: KedgeChatMessageHistory(k, session, agent="support"))
    for question in ("Where?", "When?"):
        with k.turn(session="s", agent="support"):
            chat.invoke([HumanMessage(question)], config)
    kept = KedgeChatMessageHistory(k, "s", agent="support")
    assert [message.content for message in kept.messages] == ["Where?", "v2: 1", "When?", "v2: 3"]
    k.rollback("v2")
    assert [message.content for message in kept.messages] == ["Where?", "When?"]

    def again(turn: kedge.Turn, _: kedge.ReplayInput) -> None:
        seen = KedgeChatMessageHistory(k, "s").messages
        turn.memory.append("ai", f"v1: {len(seen)}")

    report = k.replay(again)
    assert (len(report.replayed), report.failed) == (2, ())
    assert [message.content for message in kept.messages] == ["Where?", "v1: 1", "When?", "v1: 3"]


def test_what_a_user_said_is_stored_where_the_turn_was_rolled_back(k: kedge.Kedge) -> None:
    k.deploy("v2", {"support/prompt": "worse"})
    k.promote("v2")
    kept = KedgeChatMessageHistory(k, "s", agent="support")
    with k.turn(session="s", agent="support"):
        k.rollback("v2")
        with pytest.raises(kedge.RolledBack):
            kept.add_messages([HumanMessage("Where?"), AIMessage("wrong")])
    assert kept.messages == [HumanMessage("Where?")]


def test_a_turn_of_another_session_is_refused(k: kedge.Kedge) -> None:
    with k.turn(session="one", agent="support"), pytest.raises(kedge.Misuse, match="of session 'one'"):
        KedgeChatMessageHistory(k, "two").add_messages([HumanMessage("lost")])


def test_tools_are_wrapped(k: kedge.Kedge) -> None:
    k.deploy("v2", {"clerk/prompt": "worse"})
    k.promote("v2")

    def look(name: str) -> str:
        """Look a fact up."""
        turn = kedge.current_turn()
        assert turn is not None
        turn.context.put("looked", name)
        return f"{turn.agent} {name}"

    tool = kedge.wrap(StructuredTool.from_function(look), k=k, agent="clerk")
    with k.turn(session="s", agent="planner") as turn:
        assert tool.invoke({"name": "x"}) == "clerk x"
        assert turn.lineage == {"v2"}
    assert tool.args == StructuredTool.from_function(look).args
    k.rollback("v2")
    assert k.view().context.get("looked") is None
