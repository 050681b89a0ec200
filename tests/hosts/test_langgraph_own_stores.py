"""`KedgeStore` passes what the suites of LangGraph's SQLite and PostgreSQL stores say of any store: `make hosts`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

pytest.importorskip("langgraph.store.sqlite", reason="`make hosts` installs it")
pytest.importorskip("langgraph.store.postgres", reason="`make hosts` installs it")

from tests.hosts import suites
from tests.hosts.langgraph_own_stores import POSTGRES, POSTGRES_TESTS_CONFTEST, SQLITE, STORES

EVERYDAY = ()
MUTANTS = sorted(set(STORES) - {"KedgeStore"})
_SQL = "its own SQL, tables or functions"
_LOOP = "sync calls in an event loop, which its async store must refuse"


class Host(NamedTuple):
    """A suite: its package, the conftests that put Kedge's stores in, its tests of stores, and those left out."""

    package: str
    conftest: str
    tests_conftest: str | None
    files: list[str]
    passed: int  # of the pinned version
    left_out: dict[str, str]
    chosen: str = ""  # of the parameters of tests: others differ in connections only


HOSTS = {
    "sqlite": Host(
        "langgraph-checkpoint-sqlite",
        SQLITE,
        None,
        ["test_store.py", "test_async_store.py", "test_ttl.py"],
        141,
        {
            "test_store.py::test_vector_store_initialization": _SQL,
            "test_store.py::test_nonnull_migrations": _SQL,
            "test_store.py::test_escape_glob_literal": _SQL,
            "test_store.py::test_namespace_match_pattern": _SQL,
            "test_store.py::test_list_namespaces_prefix_uses_indexable_condition": _SQL,
            "test_store.py::test_sql_injection_vulnerability": "refuses fields that its SQL cannot quote",
            "test_store.py::test_filter_keys_with_hyphens_and_digits": "dots in a filter are paths to it, not names",
            "test_async_store.py::test_no_running_loop": _LOOP,
            "test_ttl.py::test_ttl_override_default": "reads begin the time anew only where asked to",
        },
    ),
    "postgres": Host(
        "langgraph-checkpoint-postgres",
        POSTGRES,
        POSTGRES_TESTS_CONFTEST,
        ["test_store.py", "test_async_store.py"],
        165,
        {
            "test_store.py::test_nonnull_migrations": _SQL,
            "test_store.py::test_escape_like_literal": _SQL,
            "test_store.py::test_namespace_match_pattern": _SQL,
            "test_async_store.py::test_abatch_uses_single_pool_checkout": _SQL,
            **{
                f"{file}::test_omit_expired_{name}": "its option to hide what is not swept, by rows changed in SQL"
                for file in ("test_store.py", "test_async_store.py")
                for name in (
                    "filters_read_paths",
                    "disabled_preserves_expired_rows",
                    "refresh_ttl_only_refreshes_live_rows",
                    "search_pagination",
                )
            },
            **{
                f"test_store.py::test_scores[{query}-halfvec-l2]": "distances of pgvector; Kedge's scores are cosines"
                for query in ("aaa", "bbb", "ccc", "abcd", "poisson")
            },
            "test_async_store.py::test_no_running_loop": _LOOP,
        },
        "not pipe and not pool",
    ),
}


def run(host: Host, folder: Path, *more: str, **environment: str) -> suites.Outcome:
    source = suites.unpacked(host.package, folder / "sdist")
    copy = suites.copied(source / "tests", folder / "suite" / "tests")
    if host.tests_conftest is not None:
        (copy / "conftest.py").write_text(host.tests_conftest, encoding="utf-8")
    left_out = [f"--deselect=tests/{name}" for name in host.left_out]
    chosen = [f"-k={host.chosen}"] if host.chosen else []
    files = [f"tests/{name}" for name in host.files]
    options = ["--timeout=600", "-W", "ignore", *left_out, *chosen, *more]
    return suites.run(copy.parent, [*options, *files], host.conftest, **environment)


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", HOSTS)
def test_it_passes_what_is_about_any_store(tmp_path: Path, name: str) -> None:
    outcome = run(HOSTS[name], tmp_path, "-n", "2", KEDGE_STORE="KedgeStore", KEDGE_CANARY="yes")
    assert (outcome.failed, outcome.skipped) == ((), ()), outcome.output
    assert outcome.passed == HOSTS[name].passed


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("mutant", "some"), [("KeepsExpired", "test_ttl_basic or test_basic_store_ops"), ("IgnoresFilters", "search")]
)
def test_the_suite_notices_a_broken_store(tmp_path: Path, mutant: str, some: str) -> None:
    assert mutant in MUTANTS
    outcome = run(HOSTS["sqlite"]._replace(chosen=some), tmp_path, KEDGE_STORE=mutant)
    assert outcome.failed, outcome.output
    assert outcome.passed, "it is broken in one place"
