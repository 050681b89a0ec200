"""The laws of what agents remember, over every adapter of LangGraph and LangChain; mutants break them: `make hosts`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import kedge

pytest.importorskip("langgraph.graph", reason="`make hosts` installs it")
pytest.importorskip("langchain_core", reason="`make hosts` installs it")

from kedge.integrations.embedding import embedder_artifact
from kedge.testing.contracts import memories as laws
from tests.hosts.memories import MEMORIES, MUTANTS, FakeEmbeddings

EVERYDAY = ("[sqlite-items-", "[sqlite-documents-", "[sqlite-history-", "mutant[sqlite")
POSTGRES_ONE_IN = 4


@pytest.fixture
def k(place: str) -> Iterator[kedge.Kedge]:
    with kedge.open(place, durability="normal") as opened:
        laws.start(opened, embedder_artifact(FakeEmbeddings()))
        yield opened


class TestMemories(laws.MemoryContract):
    @pytest.fixture(params=MEMORIES)
    def memory_on(self, request: pytest.FixtureRequest) -> laws.MemoryOn:
        return MEMORIES[request.param]


CAUGHT_BY = {
    "forgets reads": laws.what_is_found_there_stamps_what_is_written,
    "forgets the caller": laws.what_was_read_before_stamps_what_is_written_there,
    "forgets the caller, indexed": laws.what_was_read_before_stamps_what_is_written_there,
    "sees everything": laws.canaries_are_isolated,
    "forgets documents": laws.what_is_found_there_stamps_what_is_written,
    "adds alone": laws.what_was_read_before_stamps_what_is_written_there,
    "forgets messages": laws.what_is_found_there_stamps_what_is_written,
    "answers are source": laws.a_rollback_takes_it_back_and_a_reinstate_returns_it,
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_laws_notice_a_mutant(k: kedge.Kedge, mutant: str) -> None:
    with pytest.raises(AssertionError):
        CAUGHT_BY[mutant](k, MUTANTS[mutant])
