"""Stable past · Append-only."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge import Kedge
from kedge.model.visibility import View
from kedge.turns.scope import scope_of
from kedge.turns.view import ViewScope
from tests.laws.scene import BAD, VECTOR, clerk, full, helper, read_everywhere, release, write_everywhere


def test_a_point_reads_the_same_whatever_happens_after(bad: Kedge) -> None:
    with helper(bad) as turn:
        write_everywhere(turn, "then")
    bad.snapshot("then")
    seq = bad.seq

    def check() -> None:
        for point in ("then", seq):
            view = bad.at(point, session="s")
            assert read_everywhere(view) == full("then")
            assert view.artifacts["helper/prompt"].value == "helper/prompt of bad"
            assert bad.at(point).context.get("key") == "then"

    check()
    with clerk(bad) as turn:
        write_everywhere(turn, "later")
        turn.context.delete("key")
    check()
    bad.rollback(BAD)
    check()
    release(bad, "next")
    bad.settle("next")
    check()
    bad.refresh("s")
    check()
    bad.reinstate(BAD)
    bad.settle(BAD)
    check()


def test_what_a_past_view_did_not_see_it_never_sees(k: Kedge) -> None:
    release(k, "staged", live=False)
    with helper(k, "inside", "staged") as turn:
        write_everywhere(turn, "inside")
    k.snapshot("staged then")
    k.promote("staged")
    k.settle("staged")
    assert k.view().context.get("key") == "inside"
    assert k.at("staged then").context.get("key") is None
    assert k.at("staged then", session="inside").context.get("key") == "inside"
    assert k.at("staged then", deployment="staged").context.get("key") == "inside"


def test_a_session_unknown_then_is_read_as_a_new_one(bad: Kedge) -> None:
    bad.snapshot("then")
    with helper(bad, "later") as turn:
        write_everywhere(turn, "later")
    assert bad.at("then", session="later").memory.history() == []
    assert bad.at("then", session="later").seen == {BAD}


def test_a_turn_in_flight_does_not_change_the_past(k: Kedge) -> None:
    with clerk(k) as turn:
        write_everywhere(turn, "before")
        k.snapshot("in the middle")
        write_everywhere(turn, "after")
    assert read_everywhere(k.at("in the middle", session="s")) == full("before")


def test_a_purge_spares_what_a_snapshot_reaches_and_says_so_where_none_does(bad: Kedge) -> None:
    with helper(bad) as turn:
        seq = turn.context.put("key", "bad")
    bad.snapshot("keep")
    bad.rollback(BAD)
    with pytest.raises(kedge.SnapshotInTheWay, match="keep"):
        bad.purge(BAD, confirm=BAD)
    assert bad.at("keep").context.get("key") == "bad"
    bad.release_snapshot("keep")
    bad.purge(BAD, confirm=BAD)
    with pytest.raises(kedge.PastUnreadable):
        bad.at(seq)


LOOKS: dict[str, Callable[[kedge.ReadView], object]] = {
    "context": lambda view: view.context.get("key"),
    "context items": lambda view: view.context.items(""),
    "documents": lambda view: view.documents("kb").get("key"),
    "artifacts": lambda view: view.artifacts["helper/prompt"].value,
    "search": lambda view: view.vectors("kb").search(VECTOR, k=1),
    "vectors": lambda view: view.vectors("kb").get(["key"]),
    "vectors batches": lambda view: [batch.payloads for batch in view.vectors("kb").batches()],
    "memory": lambda view: view.memory.history(),
}


@pytest.mark.both
@pytest.mark.parametrize("what", LOOKS)
def test_a_past_view_that_races_with_a_purge_says_so(bad: Kedge, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with helper(bad) as turn:
        write_everywhere(turn, "bad")
    view = bad.at(bad.seq, session="s")
    assert LOOKS[what](view)
    bad.rollback(BAD)
    read = ViewScope.read

    def overtaken(scope: ViewScope, look: Callable[[View], Any]) -> Any:
        def late(seen: View) -> Any:
            if bad.deployment(BAD).status is kedge.Status.ROLLED_BACK:
                bad.purge(BAD, confirm=BAD)
            return look(seen)

        return read(scope, late)

    monkeypatch.setattr(ViewScope, "read", overtaken)
    with pytest.raises(kedge.PastUnreadable, match="saw 'bad', which was purged since"):
        LOOKS[what](view)


@pytest.mark.both
def test_an_error_inside_a_past_read_is_shown_unless_a_purge_caused_it(bad: Kedge) -> None:
    with helper(bad) as turn:
        write_everywhere(turn, "bad")
    scope: ViewScope = scope_of(bad.at(bad.seq, session="s"))  # type: ignore[assignment]
    purges = False

    def look(_: View) -> None:
        if purges and bad.deployment(BAD).status is kedge.Status.LIVE:
            bad.rollback(BAD)
            bad.purge(BAD, confirm=BAD)
        raise TypeError("the payload is None")

    with pytest.raises(TypeError, match="the payload is None"):
        scope.read(look)
    purges = True
    with pytest.raises(kedge.PastUnreadable, match="saw 'bad', which was purged since"):
        scope.read(look)


class Clock:
    """Time moves where a test says so."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    def fresh_id(self) -> str:
        return uuid.uuid4().hex


DAY, MINUTE = 86_400.0, 60.0


@pytest.mark.both
def test_one_write_of_a_clock_that_is_ahead_does_not_move_the_horizon(place: str) -> None:
    clock = Clock()
    with kedge.open(place, clock=clock) as k:
        k.collection("kb", dim=3)
        k.set_retention(DAY)
        with clerk(k) as turn:
            write_everywhere(turn, "then")
        seq = k.seq
        clock.time += 20 * DAY
        with clerk(k, "other") as turn:
            turn.context.put("late", 1, fresh_for=60)
        clock.time += 90 * MINUTE - 20 * DAY
        with clerk(k) as turn:
            write_everywhere(turn, "now")
        assert k.view().context.entry("late").stale  # type: ignore[union-attr]
        k.optimize()
        assert read_everywhere(k.at(seq, session="s")) == full("then")
        clock.time += 2 * DAY
        with pytest.raises(kedge.PastUnreadable, match="before the horizon"):
            k.at(seq)


@pytest.mark.only("sqlite", reason="it goes to the file; test_postgres asks the same of the server")
@pytest.mark.parametrize("table", ["writes", "control_log"])
def test_no_journal_entry_ever_changes(bad: Kedge, tmp_path: Path, table: str) -> None:
    with helper(bad) as turn:
        write_everywhere(turn, "bad")
    bad.close()
    database = sqlite3.connect(tmp_path / "kedge.db")
    columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    before = database.execute(f"SELECT * FROM {table}").fetchall()
    assert before
    for column in columns:
        with pytest.raises(sqlite3.IntegrityError, match="journal"):
            database.execute(f"UPDATE {table} SET {column} = 12345")
    with pytest.raises(sqlite3.IntegrityError, match="journal"):
        database.execute(f"DELETE FROM {table}")
    assert database.execute(f"SELECT * FROM {table}").fetchall() == before
    database.close()
