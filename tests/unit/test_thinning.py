"""Which tests run on PostgreSQL: of every thinned test function at least one case, always the same ones."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tests.databases import thinned_out
from tests.docs.pages import ROOT


def case(function: str, backend: str, number: int, one_in: int | None, *, both: bool = False) -> Any:
    """Return what stands for a collected test."""
    return SimpleNamespace(
        nodeid=f"tests/x.py::{function}[{backend}-{number}]",
        callspec=SimpleNamespace(params={"new_place": backend}),
        module=SimpleNamespace() if one_in is None else SimpleNamespace(POSTGRES_ONE_IN=one_in),
        get_closest_marker=lambda name: pytest.mark.both if both and name == "both" else None,
    )


@pytest.mark.parametrize(("cases", "one_in", "run"), [(1, 1000, 1), (7, 1000, 1), (10, 5, 2), (11, 5, 3), (6, None, 6)])
def test_at_least_one_case_of_each_function_runs_on_postgresql(cases: int, one_in: int | None, run: int) -> None:
    items = [case(f"law_{law}", backend, n, one_in) for law in "ab" for backend in ("sqlite", "postgres")
             for n in range(cases)]  # fmt: skip
    left_out = {item.nodeid for item in thinned_out(items)}
    assert {item.nodeid for item in thinned_out(items[::-1])} == left_out
    for law in "ab":
        kept = [i for i in items if law in i.nodeid.partition("[")[0][-1] and i.nodeid not in left_out]
        assert sum("sqlite" in item.nodeid for item in kept) == cases
        assert sum("postgres" in item.nodeid for item in kept) == run


def test_a_marked_function_runs_all_its_cases_on_postgresql() -> None:
    assert thinned_out([case("law", "postgres", n, 1000, both=True) for n in range(5)]) == []


def collected(*arguments: str) -> set[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:randomly", *arguments]
    answer = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, check=False)
    return {line for line in answer.stdout.splitlines() if "::" in line}


def test_every_law_of_racing_readers_is_tested_on_both() -> None:
    file = "tests/race/test_readers.py"
    found = collected(file)
    on_sqlite = {name.partition("[")[0] for name in found if "sqlite" in name}
    on_postgres = {name.partition("[")[0] for name in found if "postgres" in name}
    assert on_sqlite == on_postgres != set()
