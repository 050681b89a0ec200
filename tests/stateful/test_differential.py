"""One rule on both backends: random programs give the same answers on SQLite and on PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stateful import differential
from tests.stateful.share import SECONDS, SOAKING

SEEDS = range(2_000 if SOAKING else 8)


@pytest.mark.soak
@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_program_gives_the_same_answers_on_both_backends(seed: int, tmp_path: Path, postgres_url: str) -> None:
    differential.check((f"sqlite:///{tmp_path / 'kedge.db'}", postgres_url), seed)
