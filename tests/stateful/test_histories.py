"""The laws on random histories of one machine, against the brute-force oracle."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.histories import Histories
from tests.stateful.other_process import OtherProcess
from tests.stateful.share import SECONDS, share
from tests.stateful.vector_histories import VectorHistories
from tests.thresholds import lowered


@pytest.fixture
def other_process() -> Iterator[OtherProcess]:
    other = OtherProcess()
    yield other
    other.close()


@pytest.mark.soak
@pytest.mark.timeout(SECONDS)
def test_random_histories_agree_with_the_oracle(other_process: OtherProcess) -> None:
    machine = type("Histories", (Histories,), {"other": other_process})
    run_state_machine_as_test(machine, settings=share(60))


@pytest.mark.soak
@pytest.mark.timeout(SECONDS)
def test_random_histories_of_sealed_vectors_agree_with_the_oracle(other_process: OtherProcess) -> None:
    machine = type("VectorHistories", (VectorHistories,), {"other": other_process})
    with lowered():
        run_state_machine_as_test(machine, settings=share(12))
