"""Texts with their chunks and vectors in one call: idempotent by content, with replay and backfill."""

from __future__ import annotations

import asyncio
import textwrap
import zlib
from typing import Any

import numpy as np
import pytest

import kedge
import kedge.aio
from kedge import Kedge

POSTGRES_ONE_IN = 2
TEXT = "alpha beta gamma delta epsilon zeta"


def vectors(texts: list[str], dim: int = 3) -> Any:
    return np.array([np.random.default_rng(zlib.crc32(text.encode())).normal(size=dim) for text in texts], np.float32)


def words(text: str) -> list[str]:
    return textwrap.wrap(text, 12)


class Embedder:
    """Counts what it embeds."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, texts: list[str]) -> Any:
        self.texts += texts
        return vectors(texts)


def chunks(face: Any) -> dict[str, Any]:
    rows = face.vectors("kb")
    return {name: row.payload["text"] for name, row in rows.get(rows.ids()).items()}


@pytest.mark.both
def test_texts_chunks_and_vectors_come_in_one_batch(k: Kedge) -> None:
    embed = Embedder()
    with k.turn(agent="pipeline") as turn:
        kb = turn.vectors("kb")
        before = k.seq
        assert kb.put_documents({"a": TEXT, "b": "short"}, embed, split=words, payloads={"a": {"lang": "en"}}) == [
            "a",
            "b",
        ]
        written = k.seq - before
        assert written == 2 + len(embed.texts)
        assert turn.documents("kb/texts").items() == {"a": TEXT, "b": "short"}
        assert [e.origin for e in turn.documents("kb/texts").entries()] == ["source"] * 2
        assert chunks(turn) == {
            **{f"a#{n:06}": chunk for n, chunk in enumerate(words(TEXT))}, "b#000000": "short",
        }  # fmt: skip
        hit = kb.search(vectors([words(TEXT)[1]])[0], k=1, where={"lang": "en"})[0]
        assert (hit.id, hit.payload) == (
            "a#000001", {"lang": "en", "document": "a", "chunk": 1, "text": words(TEXT)[1]},
        )  # fmt: skip
    assert k.fsck(full=True).findings == ()


def test_the_same_content_is_neither_embedded_nor_written_again(k: Kedge) -> None:
    embed = Embedder()
    with k.turn(agent="pipeline") as turn:
        kb = turn.vectors("kb")
        kb.put_documents({"a": TEXT, "b": "short"}, embed, split=words)
        seq, done = k.seq, len(embed.texts)
        assert kb.put_documents({"a": TEXT, "b": "short"}, embed, split=words) == []
        assert (k.seq, len(embed.texts)) == (seq, done)
        changed = TEXT.replace("zeta", "iota")
        assert kb.put_documents({"a": changed, "b": "short"}, embed, split=words) == ["a"]
        assert embed.texts[done:] == [words(changed)[-1]], "one chunk differs"
        assert kb.put_documents({"a": changed}, embed, split=words, payloads={"a": {"lang": "en"}}) == ["a"]


def test_a_shorter_version_removes_its_old_chunks(k: Kedge) -> None:
    embed = Embedder()
    with k.turn(agent="pipeline") as turn:
        kb = turn.vectors("kb")
        kb.put_documents({"a": TEXT, "a#b": "other", "a#000001": "other"}, embed, split=words)
        kb.upsert(["a#note"], vectors(["x"]), [{"text": "mine"}])
        kb.put_documents({"a": "alpha beta"}, embed, split=words)
        assert chunks(turn) == {
            "a#000000": "alpha beta", "a#b#000000": "other", "a#000001#000000": "other", "a#note": "mine",
        }  # fmt: skip
        assert kb.put_documents({"a": None, "never": None}, embed) == ["a"]
        assert "a#000000" not in chunks(turn)
        assert turn.documents("kb/texts").get("a") is None
        assert k.at(k.seq - 2).documents("kb/texts").get("a") == "alpha beta"


@pytest.mark.both
def test_of_two_concurrent_versions_one_stays_whole(k: Kedge) -> None:
    calls: list[list[str]] = []

    def embed(texts: list[str]) -> Any:
        calls.append(texts)
        if len(calls) == 1:  # another turn writes a longer version meanwhile
            with k.turn(agent="pipeline") as other:
                other.vectors("kb").put_documents({"a": TEXT}, vectors, split=words)
        return vectors(texts)

    with k.turn(agent="pipeline") as turn:
        assert turn.vectors("kb").put_documents({"a": "alpha beta"}, embed, split=words) == ["a"]
        assert (chunks(turn), turn.documents("kb/texts").get("a")) == ({"a#000000": "alpha beta"}, "alpha beta")
    assert calls[0] == ["alpha beta"]


def overtaken(turn: kedge.Turn, other: kedge.Turn, texts: dict[str, str]) -> None:
    with turn.batch():
        turn.context.put("x", 1)
        turn.vectors("kb").put_documents(texts, vectors, split=words)
        other.vectors("kb").put_documents({"a": f"{len(texts)} {TEXT} eta theta"}, vectors, split=words)


@pytest.mark.both
def test_a_batch_does_not_mix_its_version_with_a_concurrent_one(k: Kedge) -> None:
    with k.turn(agent="pipeline") as turn, k.turn(agent="pipeline") as other:
        for texts in ({"a": TEXT}, {"b": TEXT, "a": "short"}):
            with pytest.raises(kedge.ExpectationFailed, match="the text 'a' of 'kb' was written"):
                overtaken(turn, other, texts)
            whole = turn.documents("kb/texts").items()
            assert list(whole) == ["a"]
            assert list(chunks(turn).values()) == words(whole["a"])
        with turn.batch():
            turn.vectors("kb").put_documents({"c": TEXT}, vectors, split=words)
            with pytest.raises(kedge.InvalidValue, match="the text 'c' is in this batch already"):
                turn.vectors("kb").put_documents({"c": "z"}, vectors, split=words)
            turn.vectors("kb").put_documents({"d": TEXT}, vectors, split=words)
        turn.vectors("kb").put_documents({"c": None, "d": None}, vectors, split=words)
        with turn.batch():
            turn.context.put("x", 1, expect=0)
            turn.vectors("kb").put_documents({"b": TEXT, "a": "short"}, vectors, split=words)
            other.context.delete("x")  # the journal compares all again
        assert turn.documents("kb/texts").items() == {"a": "short", "b": TEXT}
        assert k.fsck(full=True).findings == ()


def test_it_is_part_of_a_batch(k: Kedge) -> None:
    with k.turn(agent="pipeline") as turn:
        with turn.batch() as batch:
            turn.context.put("loading", 1)
            assert turn.vectors("kb").put_documents({"a": TEXT}, Embedder(), split=words) is None
            turn.vectors("kb").upsert(["z"], vectors(["z"]), [{"text": "z"}])
        assert len(batch.seqs) == 3 + len(words(TEXT))
        assert set(chunks(turn)) == {"z", *(f"a#{n:06}" for n in range(len(words(TEXT))))}
        hit = turn.vectors("kb").search(vectors([words(TEXT)[2]])[0], k=1)[0]
        assert hit.id == "a#000002", "each chunk has its own vector"


@pytest.mark.both
def test_a_new_embedder_is_filled_by_a_backfill(k: Kedge) -> None:
    with k.turn(agent="pipeline") as turn:
        turn.vectors("kb").put_documents({"a": TEXT, "b": "short"}, Embedder(), split=words)
    k.deploy("e2", {"shared/embedder": {"name": "e2", "dim": 5}}, canary=0.0)
    with k.turn(agent="pipeline", deployment="e2") as turn:
        assert turn.vectors("kb").put_documents({"b": "short"}, lambda texts: vectors(texts, 5)) == ["b"]
    report = k.backfill("e2", lambda texts: vectors(texts, 5))
    assert (report.embedded, report.unchanged, report.failed) == (len(words(TEXT)), 1, ())
    hits = k.view(deployment="e2").vectors("kb").search(vectors(["short"], 5)[0], k=1)
    assert (hits[0].id, hits[0].payload["document"], hits.count_unembedded()) == ("b#000000", "b", 0)
    with k.turn(agent="pipeline", deployment="e2") as turn:
        counted = Embedder()
        assert turn.vectors("kb").put_documents({"a": TEXT, "b": "short"}, counted, split=words) == []
        assert counted.texts == [], "the backfill has made them"
    assert len(k.view().vectors("kb").search(vectors(["short"])[0], k=1)) == 1


@pytest.mark.both
def test_a_rollback_leaves_the_texts_and_a_replay_makes_their_chunks(k: Kedge) -> None:
    k.deploy("e2", {"shared/embedder": {"name": "e2", "dim": 5}})
    k.promote("e2")
    with k.turn(agent="pipeline") as turn:
        turn.vectors("kb").put_documents({"a": TEXT}, lambda texts: vectors(texts, 5), split=words)
    k.rollback("e2")
    assert (chunks(k.view()), k.view().documents("kb/texts").get("a")) == ({}, TEXT)
    assert [(i.store, i.space, i.key) for i in k.replay_pending()] == [("documents", "kb/texts", "a")]

    def again(turn: kedge.Turn, item: kedge.ReplayInput) -> None:
        turn.vectors("kb").put_documents({item.key: item.value}, Embedder(), split=words)

    assert len(k.replay(again).replayed) == 1
    assert list(chunks(k.view()).values()) == words(TEXT)
    assert k.replay_pending() == []
    assert k.fsck(full=True).findings == ()


WRONG: dict[str, Any] = {
    "texts": lambda kb: kb.put_documents(["a"], vectors),
    "a text": lambda kb: kb.put_documents({"a": 1}, vectors),
    "an id": lambda kb: kb.put_documents({"": "a"}, vectors),
    "the embedder": lambda kb: kb.put_documents({"a": "a"}, "module:embed"),
    "its rows": lambda kb: kb.put_documents({"a": "a"}, lambda _: [[1, 2, 3], [1, 2, 3]]),
    "their dimension": lambda kb: kb.put_documents({"a": "a"}, lambda texts: vectors(texts, 4)),
    "the split": lambda kb: kb.put_documents({"a": "a"}, vectors, split=lambda text: [text, 1]),
    "no function": lambda kb: kb.put_documents({"a": "a"}, vectors, split=7),
    "payloads": lambda kb: kb.put_documents({"a": "a"}, vectors, payloads={"a": 1}),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_input_writes_nothing(k: Kedge, what: str) -> None:
    with k.turn(agent="pipeline") as turn:
        before = k.seq
        with pytest.raises((kedge.InvalidValue, kedge.InvalidVector)):
            WRONG[what](turn.vectors("kb"))
        assert k.seq == before


def test_the_embedder_may_be_a_coroutine(place: str) -> None:
    async def embed(texts: list[str]) -> Any:
        await asyncio.sleep(0)
        return vectors(texts)

    async def work() -> None:
        async with kedge.aio.open(place, durability="normal") as k, k.turn(agent="pipeline") as turn:
            await k.collection("kb", dim=3)
            kb = turn.vectors("kb")
            assert await kb.put_documents({"a": TEXT}, embed, split=words) == ["a"]
            assert await kb.count() == len(words(TEXT))
            assert await kb.put_documents({"a": TEXT}, embed, split=words) == []

    asyncio.run(work())
