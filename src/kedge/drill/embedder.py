"""Embedders of the drill: hashed random projections of words, defined by the artifact that pins them."""

import hashlib
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SUFFIXES = ("ations", "ation", "ings", "ing", "edly", "ies", "ied", "ers", "er", "ed", "es", "ly", "s", "e")
_STEM_CHARACTERS_MIN = 3
_NONZEROS_PER_WORD = 16
_STOPWORDS_TEXT = """
a an and any are as at be been but by can do does for from given has have if in into is it its may must no none not of
on one only or other otherwise return returns self set should so such than that the their them then there these they
this to true false use used uses using was when where which while will with you your i how does what about also
"""
STOPWORDS = frozenset(_STOPWORDS_TEXT.split())


class EmbedderConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of an embedder: all that its vectors depend on, except the texts for its word weights.

    `word_characters` cuts words short (0 keeps them whole and stems them); `word_buckets` shares that many directions
    among all words (0 gives each its own).
    """

    name: str
    dim: int = 256
    word_characters: int = 0
    word_buckets: int = 0
    rare_words_weigh_more: bool = True


GOOD = EmbedderConfig(name="stdlib-embedder-3")
"""Whole stemmed words, weighted by how rare they are."""

BAD = EmbedderConfig(name="stdlib-embedder-4-mini", word_characters=3, word_buckets=96, rare_words_weigh_more=False)
"""A cheaper embedder: three-letter prefixes, a small hash table and no word weights. It confuses words."""


def words(text: str) -> list[str]:
    """Return the words of a text in order, lower-cased, identifiers split, stopwords left out."""
    return [word for word in (found.lower() for found in _WORD.findall(text)) if word not in STOPWORDS]


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """Return a word without its commonest English endings."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _STEM_CHARACTERS_MIN:
            return word[: -len(suffix)]
    return word


def stems(text: str) -> list[str]:
    """Return the stemmed words of a text, in order."""
    return [stem(word) for word in words(text)]


class Embedder:
    """Texts to unit vectors of `config.dim`; the same text always gives the same bytes."""

    def __init__(self, config: EmbedderConfig, training_texts: Iterable[str]) -> None:
        self.config = config
        self._token = _tokenizer(config)
        self._idf: dict[str, float] = {}
        self._idf_unknown = 1.0
        if config.rare_words_weigh_more:
            self._learn(training_texts)
        self._directions: dict[str, Vector] = {}

    def embed(self, text: str) -> Vector:
        """Return the unit vector (dim,) of a text; one without words gets a direction of its own."""
        counts = Counter(self._token(word) for word in words(text)) or Counter(["\0nothing"])
        total = np.zeros(self.config.dim, np.float64)
        for token in sorted(counts):
            total += (1 + math.log(counts[token])) * self._idf.get(token, self._idf_unknown) * self._direction(token)
        length = float(np.sqrt((total * total).sum()))
        if length == 0.0:  # directions that cancel out exactly
            total[0] = length = 1.0
        return (total / length).astype(np.float32)

    def embed_all(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the matrix (len(texts), dim) of their vectors."""
        return np.stack([self.embed(text) for text in texts])

    def _learn(self, texts: Iterable[str]) -> None:
        seen: Counter[str] = Counter()
        total = 0
        for text in texts:
            total += 1
            seen.update({self._token(word) for word in words(text)})
        self._idf = {token: math.log((1 + total) / (1 + n)) for token, n in seen.items()}
        self._idf_unknown = math.log(1 + total)

    def _direction(self, token: str) -> Vector:
        found = self._directions.get(token)
        if found is None:
            found = self._directions[token] = _direction(token, self.config.dim)
        return found


def _tokenizer(config: EmbedderConfig) -> Callable[[str], str]:
    def token(word: str) -> str:
        kept = word[: config.word_characters] if config.word_characters else stem(word)
        return f"#{zlib.crc32(kept.encode()) % config.word_buckets}" if config.word_buckets else kept

    return token


def _direction(token: str, dim: int) -> Vector:
    """Return a sparse ±1 vector that a hash of the token decides (Achlioptas 2003, sparse random projection)."""
    drawn = hashlib.shake_128(token.encode()).digest(3 * _NONZEROS_PER_WORD)
    direction = np.zeros(dim, np.float32)
    for at in range(0, len(drawn), 3):
        direction[int.from_bytes(drawn[at : at + 2], "big") % dim] += 1 if drawn[at + 2] & 1 else -1
    return direction


__all__ = ["BAD", "GOOD", "STOPWORDS", "Embedder", "EmbedderConfig", "Vector", "stem", "stems", "words"]
