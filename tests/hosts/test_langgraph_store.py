"""`KedgeStore` passes LangGraph's own suite of stores, and the suite notices stores that are broken: `make hosts`."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("langgraph.graph", reason="`make hosts` installs it")

from tests.hosts import suites
from tests.hosts.langgraph_stores import CONFTEST, STORES

EVERYDAY = ()
TESTS = 117  # of the pinned version
MUTANTS = sorted(set(STORES) - {"HostStore"})


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return suites.unpacked("langgraph-checkpoint", tmp_path_factory.mktemp("sdist"))


def run(suite: Path, folder: Path, place: str, **environment: str) -> suites.Outcome:
    copy = suites.copied(suite, folder / "suite")
    return suites.run(copy, ["tests/test_store.py"], CONFTEST, KEDGE_PLACE=place, **environment)


@pytest.mark.parametrize("canary", ["", "yes"], ids=["live", "canary"])
def test_it_passes_the_suite_of_stores(suite: Path, place: str, tmp_path: Path, canary: str) -> None:
    outcome = run(suite, tmp_path, place, KEDGE_STORE="HostStore", KEDGE_CANARY=canary)
    assert (outcome.failed, outcome.skipped) == ((), ()), outcome.output
    assert outcome.passed == TESTS


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_suite_notices_a_broken_store(suite: Path, tmp_path: Path, mutant: str) -> None:
    outcome = run(suite, tmp_path, f"sqlite:///{tmp_path / 'kedge.db'}", KEDGE_STORE=mutant)
    assert outcome.failed, outcome.output
    assert outcome.passed > TESTS / 2, "it is broken in one place"
