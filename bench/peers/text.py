"""Real text embeddings: passages of the standard library's docstrings, through MiniLM where it is installed, or LSA."""

import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bench.peers.minilm import MiniLM, find_model
from kedge.drill.corpus import read_corpus
from kedge.drill.embedder import stems

Floats = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]

EMBEDDERS = ("minilm", "lsa")
_CHARACTERS_MIN = 40
_VOCABULARY = 4_000
_OVERSAMPLE = 32
_POWER_ITERATIONS = 2
_SEED = 5


def passages(limit: int | None = None) -> list[str]:
    """Return the paragraphs of all docstrings and their sentences, each once, shuffled by a fixed seed."""
    found: dict[str, None] = {}
    for document in read_corpus(None):
        for paragraph in re.split(r"\n\s*\n", document.text):
            whole = " ".join(paragraph.split())
            for passage in (whole, *re.split(r"(?<=[.!?:])\s+(?=[A-Z])", whole)):
                if len(passage) >= _CHARACTERS_MIN:
                    found.setdefault(passage)
    texts = sorted(found)
    order = np.random.default_rng(_SEED).permutation(len(texts))
    return [texts[i] for i in order[:limit]]


def best_embedder() -> str:
    """Return the name of the best embedder that is installed."""
    return "minilm" if find_model() is not None else "lsa"


def embed(texts: list[str], embedder: str, dim: int, progress: Progress) -> Floats:
    """Return one unit vector for each text (of `dim` dimensions by LSA, of the model's own by MiniLM)."""
    if embedder == "lsa":
        return lsa(texts, dim)
    folder = find_model()
    if folder is None:
        raise ModuleNotFoundError("the model's package is not installed; `make bench-peers` installs it")
    return MiniLM(folder).embed(texts, progress)


def lsa(texts: list[str], dim: int) -> Floats:
    """Return the left singular vectors of the word weights, scaled by their values and made unit length.

    Weights are (1 + log tf) · log(n / df), singular vectors by subspace iteration (Halko et al. 2011, arXiv:0909.4061).
    """
    counts = [Counter(stems(text)) for text in texts]
    frequency = Counter(stem for count in counts for stem in count)
    words = {stem: i for i, (stem, _) in enumerate(frequency.most_common(_VOCABULARY))}
    weights = np.zeros((len(texts), len(words)), np.float32)
    for row, count in enumerate(counts):
        for stem, times in count.items():
            if (column := words.get(stem)) is not None:
                weights[row, column] = (1 + np.log(times)) * np.log(len(texts) / frequency[stem])
    dim = min(dim, *weights.shape)
    random = np.random.default_rng(_SEED)
    basis = weights @ random.standard_normal((len(words), min(dim + _OVERSAMPLE, len(words))), np.float32)
    for _ in range(_POWER_ITERATIONS):
        basis = np.linalg.qr(basis)[0]
        basis = weights @ (weights.T @ basis)
    basis = np.linalg.qr(basis)[0]
    left, values, _ = np.linalg.svd(basis.T @ weights, full_matrices=False)
    rows: Floats = (basis @ left[:, :dim]) * values[:dim]
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows[lengths[:, 0] == 0, 0] = 1  # a text of rare words only: it has no direction, so it gets one
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)
