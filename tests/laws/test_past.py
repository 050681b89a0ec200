"""Stable past · Append-only."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import kedge
from kedge import Kedge
from tests.laws.scene import BAD, clerk, full, helper, read_everywhere, release, write_everywhere


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
