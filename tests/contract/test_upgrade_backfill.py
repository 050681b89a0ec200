"""A migration whose new column old rows must have a value in: filled in batches, resumed, and fenced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import kedge
from kedge.backends.postgres import schema as postgres_schema
from kedge.backends.postgres import upgrade as postgres_upgrade
from kedge.backends.sqlite import schema as sqlite_schema
from kedge.backends.sqlite import upgrade as sqlite_upgrade
from kedge.cli.main import main
from kedge.model import upgrade
from kedge.support import failpoints
from kedge.turns.scope import scope_of
from tests.databases import raw_rows
from tests.processes import run

TURNS = 25
BATCH_ROWS = 10
MIGRATIONS = {
    "sqlite": "ALTER TABLE turns ADD COLUMN mark INTEGER;",
    "postgres": "ALTER TABLE kedge.turns ADD COLUMN mark BIGINT;",
}
FILLS = {
    "sqlite": "UPDATE turns SET mark = length(uid) WHERE id IN (SELECT id FROM turns WHERE mark IS NULL LIMIT ?)",
    "postgres": b"UPDATE kedge.turns SET mark = length(uid) "
    b"WHERE id IN (SELECT id FROM kedge.turns WHERE mark IS NULL LIMIT $1)",
}


def install(patch: Any, place: str) -> None:
    """Make this process one of a later release: with one more migration, its backfill, and the next writer version."""
    kind = "sqlite" if place.startswith("sqlite") else "postgres"
    schema: Any = sqlite_schema if kind == "sqlite" else postgres_schema
    module: Any = sqlite_upgrade if kind == "sqlite" else postgres_upgrade
    scripts, queries = [*schema.migrations(), MIGRATIONS[kind]], module.queries
    patch.setattr(schema, "_scripts", lambda: scripts)
    patch.setattr(module, "queries", lambda name: {"mark": FILLS[kind]} if name == "backfill" else queries(name))
    patch.setattr(module, "_BATCH_ROWS", BATCH_ROWS)
    patch.setattr(upgrade, "WRITER", upgrade.WRITER + 1)


def begin_turns(k: kedge.Kedge, many: int) -> None:
    for number in range(many):
        with k.turn(session="s", agent="support") as turn:
            turn.context.put(f"key/{number}", number)


@pytest.fixture
def earlier(new_place: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Make a database with this release, then become the later one."""
    place = new_place()
    with kedge.open(place, durability="normal") as k:
        begin_turns(k, TURNS)
    install(monkeypatch, place)
    yield place
    failpoints.disarm()


def left(place: str) -> int:
    prefix = "" if place.startswith("sqlite") else "kedge."
    return int(raw_rows(place, f"SELECT count(*) FROM {prefix}turns WHERE mark IS NULL")[0][0])


def check_finished(place: str) -> None:
    assert left(place) == 0
    with kedge.open(place) as k:
        assert k.status().schema.is_current
        assert k.upgrade().rows == 0
        assert k.fsck(full=True).findings == ()


def test_rows_are_filled_in_batches_with_progress(earlier: str) -> None:
    told: list[tuple[int, int]] = []
    with kedge.open(earlier) as k:
        assert not k.status().schema.is_current
        total = left(earlier)
        report = k.upgrade(progress=lambda done, of: told.append((done, of)))
    assert report.rows == total >= TURNS
    steps = [*range(BATCH_ROWS, total, BATCH_ROWS), total]
    assert told == [*((done, 0) for done in steps), (total, total)]
    check_finished(earlier)


def test_the_command_says_how_many_rows_it_filled_in(earlier: str, capsys: pytest.CaptureFixture[str]) -> None:
    with kedge.open(earlier):
        total = left(earlier)
    assert main(["upgrade", "--db", earlier]) == 0
    assert f"{total} rows filled in." in capsys.readouterr().out
    check_finished(earlier)
    assert main(["upgrade", "--db", earlier]) == 0
    assert "Nothing to do" in capsys.readouterr().out


def test_ctrl_c_keeps_the_batches_that_are_done(earlier: str, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    failpoints.arm("upgrade:before-commit", interrupt, nth=2)
    with kedge.open(earlier):
        total = left(earlier)
    assert main(["upgrade", "--db", earlier]) == 130
    said = capsys.readouterr()
    assert "To resume, run the same command again" in said.err
    assert "Upgraded" not in said.out
    assert left(earlier) == total - BATCH_ROWS
    with kedge.open(earlier) as k:
        assert not k.status().schema.is_current, "the fence is raised at the end only"
        assert k.upgrade().rows == total - BATCH_ROWS
    check_finished(earlier)


KILLED = """
import sys, pytest, kedge
from tests.contract import test_upgrade_backfill as later
later.install(pytest.MonkeyPatch(), sys.argv[1])
with kedge.open(sys.argv[1]) as k:
    k.upgrade()
"""


@pytest.mark.parametrize("point", ["upgrade:begun:2", "upgrade:after-commit:2", "fence:before-commit"])
def test_a_killed_backfill_is_resumed(earlier: str, point: str) -> None:
    done = run("-c", KILLED, earlier, **{failpoints.ENVIRONMENT: point})
    assert done.returncode == -9, done.stdout + done.stderr
    with kedge.open(earlier) as k:
        assert not k.status().schema.is_current
        remaining = left(earlier)
        assert k.upgrade().rows == remaining
    check_finished(earlier)


def test_what_older_writers_add_meanwhile_is_filled_in_before_the_fence(
    earlier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older processes still write when nothing was left, until the fence is raised."""
    with kedge.open(earlier) as k:
        total = left(earlier)
        backend: Any = scope_of(k.view()).backend
        if earlier.startswith("sqlite"):
            where, name, part = backend.upgrade, "_fill", backend.upgrade._fill
        else:
            where, name, part = backend.database, "write", backend.database.write

        def then_others_write(what: Any, *args: Any, **options: Any) -> Any:
            filled = part(what, *args, **options)
            if filled == 0:
                begin_turns(k, 1)
            return filled

        monkeypatch.setattr(where, name, then_others_write)
        assert k.upgrade().rows == total + 1
    check_finished(earlier)
