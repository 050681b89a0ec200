"""`KedgeVectorStore` and `KedgeRetriever` pass LangChain's own suites, and these notice broken ones: `make hosts`."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("langchain_tests", reason="`make hosts` installs it")

from tests.hosts import suites
from tests.hosts.langchain_stores import STORES, SUITE

EVERYDAY = ()
VECTOR_STORE_TESTS, RETRIEVER_TESTS = 25, 5  # of the pinned version, with the check that none is overridden
MUTANTS = sorted(set(STORES) - {"KedgeVectorStore"})


def run(folder: Path, place: str, **environment: str) -> suites.Outcome:
    (folder / "suite").mkdir()
    (folder / "suite" / "test_suite.py").write_text(SUITE, encoding="utf-8")
    return suites.run(folder / "suite", ["test_suite.py"], "", KEDGE_PLACE=place, **environment)


@pytest.mark.parametrize("origin", ["", "source"], ids=["derived", "source"])
@pytest.mark.parametrize("canary", ["", "yes"], ids=["live", "canary"])
def test_it_passes_the_suites(place: str, tmp_path: Path, canary: str, origin: str) -> None:
    outcome = run(tmp_path, place, KEDGE_STORE="KedgeVectorStore", KEDGE_CANARY=canary, KEDGE_ORIGIN=origin)
    assert (outcome.failed, outcome.skipped) == ((), ()), outcome.output
    assert outcome.passed == VECTOR_STORE_TESTS + RETRIEVER_TESTS


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_suite_notices_a_broken_store(tmp_path: Path, mutant: str) -> None:
    outcome = run(tmp_path, f"sqlite:///{tmp_path / 'kedge.db'}", KEDGE_STORE=mutant)
    assert outcome.failed, outcome.output
    assert outcome.passed, "it is broken in one place"
