"""Rows to load, and how to read them back; shared by the tests of loading and importing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kedge
from kedge.ports.vectors import Floats


def optional(module: str) -> Any:
    return pytest.importorskip(
        module, reason=f"{module} is not installed; `make imports` runs this", exc_type=ImportError
    )


def matrix(rows: int, dim: int = 4, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def stored(k: kedge.Kedge, collection: str, **view: Any) -> dict[str, tuple[list[float], Any]]:
    seen = k.view(**view).vectors(collection)
    return {name: (row.vector.tolist(), row.payload) for name, row in seen.get(seen.ids()).items()}
