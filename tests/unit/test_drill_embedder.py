"""The drill's embedders: described by their artifact; the bad release's is worse."""

import msgspec
import numpy as np
import pytest

from kedge.drill.corpus import Document, read_corpus
from kedge.drill.embedder import BAD, GOOD, Embedder, EmbedderConfig, stems, words
from kedge.drill.questions import make_questions
from kedge.drill.release import Embedders, baseline_artifacts, read_prompt, release_artifacts


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return read_corpus(1500)


def recall(config: EmbedderConfig, documents: list[Document]) -> float:
    """Return the share of questions whose document is the nearest."""
    embedder = Embedder(config, [document.text for document in documents])
    matrix = embedder.embed_all([document.text for document in documents])
    questions = make_questions(documents)[:150]
    nearest = [documents[int(np.argmax(matrix @ embedder.embed(q.text)))].id for q in questions]
    return sum(found == q.right for found, q in zip(nearest, questions, strict=True)) / len(questions)


def test_the_releases_embedder_is_truly_worse(documents: list[Document]) -> None:
    assert recall(GOOD, documents) > 0.6
    assert recall(BAD, documents) < recall(GOOD, documents) - 0.2


@pytest.mark.parametrize("config", [GOOD, BAD])
def test_vectors_are_unit_float32_and_the_same_bytes_alone_or_together(
    config: EmbedderConfig, documents: list[Document]
) -> None:
    texts = [document.text for document in documents[:50]]
    one, other = Embedder(config, texts), Embedder(config, texts)
    matrix = one.embed_all(texts)
    assert matrix.dtype == np.float32
    assert matrix.shape == (50, config.dim)
    assert np.allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-5)
    assert [row.tobytes() for row in matrix] == [other.embed(text).tobytes() for text in reversed(texts)][::-1]


@pytest.mark.parametrize("text", ["", "the of and", "☃☃☃", "naïve"])
def test_a_text_without_known_words_still_has_a_direction(text: str) -> None:
    vector = Embedder(GOOD, []).embed(text)
    assert np.isfinite(vector).all()
    assert vector.any()


def test_an_embedder_is_made_from_what_its_artifact_holds(documents: list[Document]) -> None:
    shelf = Embedders(documents[:20])
    pinned = baseline_artifacts(documents)["shared/embedder"]
    assert shelf.pinned(pinned) is shelf.pinned(dict(pinned))
    assert shelf.pinned(pinned).config == GOOD
    assert shelf.pinned(release_artifacts()["shared/embedder"]).config == BAD
    with pytest.raises(msgspec.ValidationError):
        shelf.pinned({**pinned, "no_such_field": 1})


def test_words_are_split_and_stemmed() -> None:
    assert words("parseHTTPHeaders returns the sorted_items") == ["parse", "http", "headers", "sorted", "items"]
    assert stems("parsing parsed parses parse") == ["pars"] * 4


def test_the_prompts_tell_the_agent_different_things() -> None:
    good = read_prompt(baseline_artifacts([])["answering/prompt"])
    bad = read_prompt(release_artifacts()["answering/prompt"])
    assert (good.documents, good.trusts_notes) == (8, False)
    assert (bad.documents, bad.trusts_notes) == (1, True)
