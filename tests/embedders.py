"""Embedders that other processes can import: each word of a text is a direction."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

NARROW, WIDE = 8, 16

Rows = npt.NDArray[np.float32]


def _embed(texts: Sequence[str], dim: int) -> Rows:
    rows = np.zeros((len(texts), dim), np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in text.split():
            seed = int.from_bytes(hashlib.sha256(f"{dim} {word}".encode()).digest()[:8], "big")
            np.add(row, np.random.default_rng(seed).normal(size=dim), out=row, casting="same_kind")
    return rows


def narrow(texts: Sequence[str]) -> Rows:
    return _embed(texts, NARROW)


def wide(texts: Sequence[str]) -> Rows:
    return _embed(texts, WIDE)


def slow(texts: Sequence[str]) -> Rows:
    """Embed like `wide`, in a fiftieth of a second a text."""
    time.sleep(len(texts) / 50)
    return wide(texts)


def picky(texts: Sequence[str]) -> Rows:
    """Embed like `wide`, but fail on one word."""
    if any("bones" in text for text in texts):
        raise ValueError("bones are hard to swallow")
    return wide(texts)


def die(texts: Sequence[str]) -> Rows:
    """End the process, like the out-of-memory killer."""
    os._exit(len(texts))


def last(texts: Sequence[str]) -> Rows:
    """Lock the file that HELD names until this process ends, and never return."""
    file = Path(os.environ["HELD"]).open("w", encoding="utf-8")  # noqa: SIM115 - the system closes it
    fcntl.flock(file, fcntl.LOCK_EX)
    file.write(str(os.getpid()))
    file.flush()
    while True:
        time.sleep(len(texts))
