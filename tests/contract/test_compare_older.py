"""Comparison of databases of which one has an older schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import kedge
from kedge.cli.main import main
from tests.contract import old_databases as old
from tests.databases import drop


@pytest.fixture(params=["sqlite", "postgres"])
def restored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Restore the database that the commit before made, as often as it is called."""
    made: list[str] = []
    server = request.getfixturevalue("postgres_server") if request.param == "postgres" else None

    def restore() -> str:
        folder = tmp_path / f"{len(made)}"
        folder.mkdir()
        made.append(old.restored_file(folder) if server is None else old.restored_dump(server, folder))
        return made[-1]

    yield restore
    if server is not None:
        for url in made:
            drop(server, url)


def is_expanded(url: str) -> bool:
    with old.opened(url, read_only=True) as k:
        return k.status().schema.schema == k.status().schema.latest


def test_an_older_database_equals_its_upgraded_copy(restored: Callable[[], str]) -> None:
    older, untouched, upgraded = restored(), restored(), restored()
    old.by_call(upgraded)
    assert main(["diff", "--with", upgraded, "--db", older]) == 0
    for a, b in ((older, untouched), (older, upgraded), (upgraded, older)):
        found = kedge.compare_stores(a, b)
        assert [difference for difference in found.differences if difference.differs] == []
        assert (found.same, found.skipped) == (True, ())
        assert sum(difference.same for difference in found.differences) > 100
    with old.opened(upgraded) as k, k.turn(session="s9", agent="support") as turn:
        turn.context.put("later", 1)
    assert kedge.compare_stores(older, upgraded).same, "up to where the older one ends"
    assert (is_expanded(older), is_expanded(upgraded)) == (False, True), "comparing expands nothing"
