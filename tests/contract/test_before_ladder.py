"""Levels and holds of databases from before level entries: they count, and are lifted, before and after the upgrade."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import kedge
from tests.contract import old_databases as old
from tests.contract.launching import RELEASE
from tests.databases import drop, raw_rows
from tests.fixtures.make_before_ladder import HELD, LEVELS


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Restore a database of that release."""
    made = old.MADE["ladder"]
    if request.param == "sqlite":
        yield old.restored_file(tmp_path, made.SQLITE)
        return
    server = request.getfixturevalue("postgres_server")
    restored = old.restored_dump(server, tmp_path, made.POSTGRES)
    yield restored
    drop(server, restored)


@pytest.mark.parametrize("upgraded", [False, True])
def test_levels_and_holds_are_entries(url: str, upgraded: bool) -> None:
    if upgraded:
        old.by_call(url)
    with old.opened(url) as k:
        assert k.levels() == LEVELS
        found = [(e.source, e.scope.name, e.level) for e in k.ladder.list()]
        persons = [("person", "billing", "off"), ("person", "search", "frozen")]
        assert found == [*persons, *(("rollback", name, "frozen") for name in (HELD[0], HELD[1], HELD[1]))]
        assert all(k._kernel.backend.control.load().entries[0] == e for e in k.ladder.list("feature:billing"))
        k.set_level("triage", "full")
        assert k.levels() == LEVELS, "the rollbacks hold it"
        first, second = k.ladder.list("feature:triage")
        k.ladder.loosen(first.id, by="ann")
        assert k.levels() == LEVELS
        k.ladder.loosen(second, by="ann")
        k.ladder.loosen(k.ladder.list("feature:billing")[0])
        assert k.levels() == {"ranker": "frozen", "search": "frozen"}
        k.recover()
        assert k.levels() == {"search": "frozen"}


def test_before_the_upgrade_a_launch_is_refused_before_it_changes_anything(url: str) -> None:
    with old.opened(url) as k:
        before = k._kernel.backend.control.load(), k._kernel.backend.control.entries()
        calls: list[Callable[[], object]] = [
            lambda: k.guard.launch(RELEASE | {"deployment": "new"}, once=True),
            lambda: k.guard.plan(RELEASE | {"deployment": "new"}),
            k.guard.resume,
        ]
        for call in calls:
            with pytest.raises(kedge.IllegalTransition, match=r"run `kedge upgrade` first"):
                call()
        assert (k._kernel.backend.control.load(), k._kernel.backend.control.entries()) == before


def test_before_the_upgrade_older_processes_read_every_change_of_level(url: str) -> None:
    with old.opened(url) as k:
        entry = k.ladder.tighten("off", "feature:triage", reason="worse", by="ann")
        assert k.ladder.tighten("frozen", "feature:triage", by="ben") == entry, "the stricter one stands"
        k.set_level("writer", "off")
        for level, scope in (("cautious", "feature:writer"), ("off", "everything"), ("off", "session:s1")):
            with pytest.raises(kedge.Conflict, match=r"run `kedge upgrade` first"):
                k.ladder.tighten(level, scope)  # type: ignore[arg-type] # a level
        with pytest.raises(kedge.Conflict, match=r"run `kedge upgrade` first"):
            k.ladder.tighten("off", "feature:writer", expires=60)
        with pytest.raises(kedge.Conflict, match=r"run `kedge upgrade` first"):
            k.set_level("writer", "supervised")
        ((stored,),) = raw_rows(url, "SELECT record FROM control")
        assert b'"entries"' not in bytes(stored)
        assert b'"triage":"off"' in bytes(stored)
    old.by_call(url)
    with kedge.open(url, durability="normal") as k:
        assert k.ladder.effective("triage") == "off"
        assert k.ladder.tighten("cautious", "feature:writer", by="ann").by == "ann"
        k.set_level("writer", "full")
        assert "writer" not in k.levels()
