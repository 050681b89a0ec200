"""Stops: by file without the database, by record for all, confirmed by members, and lifted by persons only."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import kedge
from kedge import aio
from kedge.guard import stopping
from kedge.model.address import is_server, locate
from kedge.model.control_log import Entry
from kedge.turns.acts import act_of
from kedge.turns.scope import scope_of
from kedge.turns.stop_files import FILE_NAME, VARIABLE


@pytest.fixture(autouse=True)
def stop_file(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the stop file of this host: beside a file, or where the variable says."""
    if not is_server(place):
        return locate(place).parent / FILE_NAME
    monkeypatch.setenv(VARIABLE, str(tmp_path / "elsewhere"))
    return tmp_path / "elsewhere"


@pytest.fixture
def k(place: str, stop_file: Path) -> Iterator[kedge.Kedge]:  # noqa: ARG001 - its variable is read at open
    with kedge.open(place, durability="normal") as opened:
        opened.deploy("v1", {"support/prompt": "one"})
        opened.promote("v1")
        yield opened


def turn_of(k: kedge.Kedge) -> kedge.Turn:
    return k.turn(session="s1", agent="support")


def seen(k: kedge.Kedge) -> kedge.Kedge:
    k._kernel.stop_files.look()  # now, not within 20 ms
    return k


def test_a_stop_writes_the_file_and_records_and_a_release_takes_both(
    k: kedge.Kedge, place: str, stop_file: Path
) -> None:
    report = kedge.stop(place, reason="wrong refunds", by="ana")
    assert (report.file, report.file_error, report.record_error) == (str(stop_file), None, None)
    assert report.ok
    assert "by ana: wrong refunds" in stop_file.read_text()
    assert {entry.source for entry in seen(k).ladder.list()} == {"file"}
    assert turn_of(k).level is kedge.Level.OFF
    with pytest.raises(kedge.NotPermitted, match="off"):
        turn_of(k).require("act", tool="refund")
    stop_file.unlink()
    assert turn_of(seen(k)).level is kedge.Level.OFF, "it is recorded"
    stop_file.touch()
    released = kedge.release(place, by="ben")
    assert ([entry.scope.kind for entry in released.lifted], released.files) == (["everything"], (str(stop_file),))
    assert turn_of(seen(k)).level is kedge.Level.FULL


def test_a_stop_of_one_feature_leaves_the_others(k: kedge.Kedge, place: str) -> None:
    kedge.stop(place, "feature:support", level="cautious")
    assert seen(k).ladder.effective("support") is kedge.Level.CAUTIOUS
    assert k.ladder.effective("other") is kedge.Level.FULL
    kedge.stop(place)
    kedge.release(place)
    assert seen(k).ladder.effective("support") is kedge.Level.CAUTIOUS
    kedge.release(place, "feature:support")
    assert seen(k).ladder.effective("support") is kedge.Level.FULL


@pytest.mark.parametrize("release", ["loosen", "set_level", "release"])
def test_an_agent_can_stop_and_never_release(k: kedge.Kedge, place: str, stop_file: Path, release: str) -> None:
    report = kedge.stop(place, "feature:support", by="agent:support")
    assert report.recorded is not None
    entry = report.recorded.entry
    tries: dict[str, Callable[[], object]] = {
        "loosen": lambda: k.ladder.loosen(entry),
        "set_level": lambda: k.set_level("support", "full"),
        "release": lambda: kedge.release(place, "feature:support", by="agent:support"),
    }
    with turn_of(k), pytest.raises(kedge.NotPermitted):
        tries[release]()
    assert stop_file.exists()
    assert seen(k).ladder.effective("support") is kedge.Level.OFF


def test_an_agent_does_not_remove_a_file_that_nothing_else_says(place: str, k: kedge.Kedge, stop_file: Path) -> None:
    stop_file.touch()
    with pytest.raises(kedge.NotPermitted, match="cannot lift a stop"):
        kedge.release(place, by="agent:support")
    with turn_of(k), pytest.raises(kedge.NotPermitted, match="cannot lift a stop"):
        k.ladder.release()
    with pytest.raises(kedge.InvalidValue, match="kedge stop --release everything"):
        seen(k).ladder.loosen("file.1", by="ana")
    assert stop_file.exists()
    assert kedge.release(place, by="ana").files == (str(stop_file),)


def test_a_second_person_lets_go_where_two_are_required(place: str, k: kedge.Kedge, stop_file: Path) -> None:
    k.ladder.require_two_persons(by="ana")
    kedge.stop(place, by="ana")
    with pytest.raises(kedge.ApprovalNeeded) as caught:
        kedge.release(place, by="ana")
    assert stop_file.exists()
    k.ladder.approve(caught.value.request, by="ben")
    assert seen(k).ladder.effective() is kedge.Level.OFF, "the file still says so"
    assert kedge.release(place, by="ana").files == (str(stop_file),)
    assert seen(k).ladder.effective() is kedge.Level.FULL


def test_the_status_shows_what_a_file_says(k: kedge.Kedge, stop_file: Path) -> None:
    stop_file.write_text("# by ana: it sends mails\ntool:mail cautious\n", encoding="utf-8")
    (entry,) = seen(k).status().entries
    assert (str(entry.scope), entry.level, entry.by, entry.reason) == (
        "tool:mail", "cautious", str(stop_file), "by ana: it sends mails",
    )  # fmt: skip


def test_a_file_alone_stops_what_goes_on_in_an_open_turn(k: kedge.Kedge, stop_file: Path) -> None:
    with turn_of(k) as turn:
        permit = turn.require("act", tool="refund")
        turn.context.put("case", "open")
        stop_file.touch()
        seen(k)
        assert turn.level is kedge.Level.OFF
        assert not turn.may("speak")
        with pytest.raises(kedge.NotPermitted):
            permit.check()
        with pytest.raises(kedge.Frozen):
            turn.context.put("case", "closed")
        turn.memory.append("user", "hello?")
    stop_file.unlink()
    with turn_of(seen(k)) as turn:
        assert turn.level is kedge.Level.FULL
        assert turn.context.get("case") == "open"
        assert [message.content for message in turn.memory.history()] == ["hello?"]


@pytest.mark.only("sqlite", reason="of PostgreSQL, rows are locked, not the database")
def test_a_locked_database_is_stopped_by_the_file(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kedge.backends.sqlite.database.BUSY_SECONDS", 0.05)
    with (
        kedge.open(place) as k,
        turn_of(k) as turn,
        closing(sqlite3.connect(locate(place), isolation_level=None)) as other,
    ):
        turn.memory.append("user", "Where is my order?")
        other.execute("BEGIN IMMEDIATE")
        report = kedge.stop(place, reason="it hangs")
        assert report.recorded is None
        assert report.record_error is not None
        assert "locked" in report.record_error
        assert report.stopped
        assert not report.ok
        seen(k)
        assert turn.level is kedge.Level.OFF
        with pytest.raises(kedge.NotPermitted):
            turn.require("act")
        with pytest.raises(kedge.Frozen):
            turn.context.put("a", 1)
        other.execute("ROLLBACK")
        turn.close()
        kedge.release(place, by="ana")
        assert [(pending.store, pending.session) for pending in seen(k).replay_pending()] == [("memory", "s1")]


def test_garbage_turns_everything_off_and_the_status_says_why(k: kedge.Kedge, stop_file: Path) -> None:
    stop_file.write_text("feature support: stop!\n")
    assert seen(k).ladder.effective("other") is kedge.Level.OFF
    assert "cannot be read" in k.ladder.list()[-1].reason


def test_a_mistyped_scope_or_place_stops_nothing(k: kedge.Kedge, place: str, stop_file: Path) -> None:
    with pytest.raises(kedge.InvalidValue, match="scope"):
        kedge.stop(place, "suport")
    with pytest.raises(kedge.InvalidValue, match="level"):
        kedge.stop(place, level="full")
    assert not stop_file.exists()
    assert k.ladder.list() == []


def test_members_confirm_a_stop_by_name(k: kedge.Kedge, place: str) -> None:
    with kedge.open(place, durability="normal") as other, k.join("one"), other.join("two"):
        found = k.ladder.stop(reason="drill")
        assert sorted(found.recognition.by_member) == ["one", "two"]
        assert found.recognition.unconfirmed == ()
        quantiles = found.recognition.level_recognition_seconds
        assert 0 <= (quantiles["p50"] or 0.0) <= (quantiles["p99"] or 0.0) <= (quantiles["max"] or 0.0)
        assert found.level_leaks_total == 0


def test_a_member_that_does_not_confirm_is_named(k: kedge.Kedge, place: str) -> None:
    with kedge.open(place, durability="normal") as other, other.join("slow") as member:
        member._refreshing.acquire()  # it neither refreshes nor acknowledges
        try:
            report = kedge.stop(place, wait=0.0)
        finally:
            member._refreshing.release()
    assert report.recorded is not None
    assert [late.name for late in report.recorded.recognition.unconfirmed] == ["slow"]
    assert not report.ok
    assert report.stopped
    assert k.ladder.effective() is kedge.Level.OFF


def test_a_member_logs_the_file_that_it_sees_come_and_go(k: kedge.Kedge, stop_file: Path) -> None:
    with k.join("worker"):
        stop_file.write_text("# by ana: it sends mails\ntool:mail\n", encoding="utf-8")
        (seen_at,) = logged(k, "stop-file")
        assert (seen_at.reason, seen_at.detail["path"], seen_at.detail["entries"]) == (
            "by ana: it sends mails", str(stop_file), "off for tool:mail",
        )  # fmt: skip
        assert seen_at.detail["member"] == "worker"
        stop_file.unlink()
        (gone,) = logged(k, "stop-file-gone")
        assert (gone.operation, gone.detail["path"]) == (seen_at.operation, str(stop_file))


def logged(k: kedge.Kedge, kind: str) -> list[Entry]:
    """Return the entries of a kind, as soon as there are any."""
    while not (found := [entry for entry in k.log() if entry.kind == kind]):
        pass
    return found


# ── the log of acts ──


def acts(k: kedge.Kedge) -> list[tuple[str, int]]:
    values = k.view().store("kedge.acts").space("").items().values()
    return sorted((value["tool"], value["epoch"]) for value in values)


def test_an_act_is_in_the_log_before_it_happens(k: kedge.Kedge) -> None:
    with turn_of(k) as turn:
        with turn.require("act", tool="refund"):
            assert acts(k) == [("refund", k.epoch)]
        with turn.require("act", tool="lookup", reversibility="read"):
            pass
        with turn.require("speak"):
            pass
    assert acts(k) == [("refund", k.epoch)]


def test_no_act_is_stamped_with_an_epoch_before_the_stop(k: kedge.Kedge, place: str) -> None:
    with kedge.open(place, durability="normal") as other, other.join("worker") as member, turn_of(other) as turn:
        with turn.require("act", tool="refund"):
            pass
        late = turn.require("act", tool="mail")
        member._refreshing.acquire()  # it does not hear of the stop
        try:
            found = k.ladder.stop("off", "tool:mail", wait=0.0)
            assert turn.may("act", tool="mail"), "it has not heard"
            with pytest.raises(kedge.NotPermitted, match="off"), late:
                pytest.fail("the act was permitted")
            with turn.require("act", tool="refund"):
                pass
        finally:
            member._refreshing.release()
    assert stopping.leaks_since(k._kernel, found.epoch) == 0
    assert acts(k) == [("refund", found.epoch - 1), ("refund", found.epoch)]


def test_an_act_that_slips_through_is_counted(k: kedge.Kedge) -> None:
    with turn_of(k) as turn:
        permit = turn.require("act", tool="refund")
        found = k.ladder.stop("off", "tool:mail")
        assert stopping.leaks_since(k._kernel, found.epoch) == 0
        scope_of(turn).journal_act(lambda _: act_of(permit))  # stamped as of before the stop
        assert permit.epoch < found.epoch
        assert stopping.leaks_since(k._kernel, found.epoch) == 1


def test_a_store_of_kedges_own_is_not_written_by_users(k: kedge.Kedge) -> None:
    with turn_of(k) as turn, pytest.raises(kedge.InvalidValue, match="reserved"):
        turn.store("kedge.acts")


def test_the_async_facade_stops_and_releases(k: kedge.Kedge, place: str) -> None:
    async def work() -> tuple[kedge.StopReport, kedge.RecordedStop, kedge.ReleaseReport]:
        async with aio.open(place) as ak:
            report = await aio.stop(place, by="ana")
            again = await ak.ladder.stop("frozen", "feature:support", by="ana")
            return report, again, await aio.release(place, by="ana")

    report, again, released = asyncio.run(work())
    assert report.ok
    assert report.recorded is not None
    assert released.lifted == (report.recorded.entry,)
    assert again.entry.level is seen(k).ladder.effective("support") is kedge.Level.FROZEN
