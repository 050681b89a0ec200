"""Many releases: what one costs late, settle policies, drainage of sessions, and the warnings about them."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import kedge
from kedge import Kedge, Status
from kedge.cli import status_text
from kedge.cli.main import main
from kedge.deployments import drainage
from kedge.model import control_log
from kedge.model.visibility import View
from tests.contract.conftest import HandClock
from tests.statements import statements

DAY = 86_400.0


def cycle(k: Kedge, name: str) -> None:
    k.deploy(name, {"support/prompt": name})
    k.promote(name)
    k.settle(name)


# ── what a release costs ──


@contextmanager
def decoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Collect the rows of the control log and of deployments that are decoded, and the lineages that are judged."""
    seen: list[str] = []

    def counted(name: str, decode: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            seen.append(name)
            return decode(*arguments)

        return call

    with monkeypatch.context() as patch:
        for name in ("decode_entry", "decode_recorded"):
            patch.setattr(control_log, name, counted(name, getattr(control_log, name)))
        patch.setattr(View, "sees", counted("sees", View.sees))
        yield seen


def test_a_release_reads_no_more_after_many(k: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    with decoded(monkeypatch) as early, statements(k) as sent_early:
        cycle(k, "early")
    for number in range(60):
        cycle(k, f"v{number}")
    with decoded(monkeypatch) as late, statements(k) as sent_late:
        cycle(k, "late")
    assert len(late) <= len(early) + 2
    assert len(sent_late) <= len(sent_early) + 2
    assert len(late) < 40, "a release reads its own rows"


@pytest.mark.only("sqlite", reason="it counts the steps of SQLite's virtual machine")
def test_a_release_takes_no_more_steps_of_the_database_after_many(k: Kedge) -> None:
    def steps(name: str) -> int:
        taken = [0]
        database: Any = k._kernel.backend.database  # type: ignore[attr-defined]
        take = database._take

        def count() -> None:
            taken[0] += 1

        def counting() -> sqlite3.Connection:
            connection: sqlite3.Connection = take()
            connection.set_progress_handler(count, 10)
            return connection

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(database, "_take", counting)
            cycle(k, name)
        return taken[0]

    for number in range(10):
        cycle(k, f"a{number}")
    early = min(steps(f"b{number}") for number in range(3))
    for number in range(120):
        cycle(k, f"c{number}")
    late = min(steps(f"d{number}") for number in range(3))
    assert late < 1.5 * early


def test_looking_a_deployment_up_reads_its_own_changes(k: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        cycle(k, f"v{number}")
    k.deploy("a", {"billing/prompt": "a"})
    k.promote("a")
    k.deploy("b", {"billing/prompt": "b"})
    k.rollback("a", reason="wrong")
    with decoded(monkeypatch) as read:
        shown = k.deployment("b")
    assert (shown.status, shown.reason, shown.bases) == (Status.ROLLED_BACK, "wrong", ("a",))
    assert len(read) < 8
    k.purge("a", confirm="a")
    listed = {d.name: d for d in k.deployments()}
    assert [k.deployment(name) for name in ("v3", "a", "b")] == [listed[name] for name in ("v3", "a", "b")]
    assert listed["b"].status is Status.PURGED
    status = k.status()
    assert (status.settled_total, status.purged_total, status.settled) == (21, 2, listed["v19"])
    assert status.deployments == ()


# ── settle policies ──


def test_a_deployment_settles_after_its_time(k: Kedge, clock: HandClock) -> None:
    k.deploy("v1", {"support/prompt": "one"}, settle_after=DAY)
    k.deploy("v2", {"other/prompt": "two"}, settle_after=2 * DAY)
    assert k.deployment("v1").settle_after == DAY
    clock.time += 3 * DAY
    assert (k.settle_due(), k.status().due) == ([], ()), "none is live"
    k.promote("v1")
    k.promote("v2")
    clock.time += DAY - 1
    assert (k.settle_due(), k.status().due) == ([], ())
    clock.time += 2
    assert k.status().due == ("v1",)
    (settled,) = k.settle_due()
    assert (settled.name, settled.status, settled.by) == ("v1", Status.SETTLED, "settle-after")
    assert settled.reason == "live for 86400 s, as deployed"
    assert k.settle_due() == []
    clock.time += DAY
    k.deploy("v3", {"third/prompt": "three"})
    assert k.deployment("v2").status is Status.SETTLED, "a further deployment applies the policies"


def test_a_policy_waits_for_what_the_deployment_rests_on(k: Kedge, clock: HandClock) -> None:
    k.deploy("below", {"support/prompt": "one"})
    k.promote("below")
    k.deploy("above", {"support/prompt": "two"}, settle_after=0)
    k.promote("above")
    k.deploy("top", {"support/prompt": "three"}, settle_after=0)
    k.promote("top")
    clock.time += 1
    assert (k.settle_due(), k.status().due) == ([], ())
    k.settle("below")
    assert k.status().due == ("above", "top")
    assert [d.name for d in k.settle_due()] == ["above", "top"], "in one pass, from the bottom up"


def test_a_policy_does_not_settle_what_is_rolled_back(k: Kedge, clock: HandClock) -> None:
    k.deploy("v1", {"support/prompt": "one"}, settle_after=DAY)
    k.promote("v1")
    clock.time += DAY - 10
    k.rollback("v1")
    clock.time += DAY
    assert (k.settle_due(), k.status().due, k.deployment("v1").status) == ([], (), Status.ROLLED_BACK)
    k.reinstate("v1")
    assert k.settle_due() == [], "its time begins anew"
    clock.time += DAY
    assert [d.name for d in k.settle_due()] == ["v1"]


def test_a_member_applies_policies(place: str) -> None:
    with kedge.open(place, durability="normal") as k, k.join("worker", lease_seconds=0.5):
        k.deploy("v1", {"support/prompt": "one"}, settle_after=0.2)
        k.promote("v1")
        deadline = time.monotonic() + 60
        while k.deployment("v1").status is not Status.SETTLED and time.monotonic() < deadline:
            time.sleep(0.05)
        assert k.deployment("v1").status is Status.SETTLED


@pytest.mark.parametrize("wrong", [-1, "1d", float("nan"), True])
def test_a_policy_that_is_no_duration_is_refused(k: Kedge, wrong: Any) -> None:
    with pytest.raises(kedge.InvalidValue, match="settle_after"):
        k.deploy("v1", {"support/prompt": "one"}, settle_after=wrong)


def test_the_command_line_sets_and_applies_policies(
    k: Kedge, place: str, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    k.close()
    manifest = tmp_path / "v2.toml"
    manifest.write_text('name = "v2"\nsettle_after = "0s"\n[artifacts]\n"other/prompt" = "two"\n')
    assert main(["deploy", "v1", "-a", "support/prompt=one", "--settle-after", "30d", "--db", place]) == 0
    assert "settles 30 d after its promotion" in capsys.readouterr().out
    assert main(["deploy", str(manifest), "--db", place]) == 0
    assert main(["promote", "v2", "--yes", "--db", place]) == 0
    capsys.readouterr()
    assert main(["status", "--db", place]) == 0
    assert "Due to settle: v2; to settle them: kedge settle --due" in capsys.readouterr().out
    assert main(["settle", "--due", "--json", "--db", place]) == 0
    assert [d["name"] for d in json.loads(capsys.readouterr().out)["deployments"]] == ["v2"]
    assert main(["settle", "--due", "--db", place]) == 0
    assert "No deployment is due" in capsys.readouterr().out
    for wrong in (["settle"], ["settle", "v1", "--due"], ["deploy", "v3", "-a", "a/b=c", "--settle-after", "soon"]):
        assert main([*wrong, "--db", place]) == 2
    assert "'soon'" in capsys.readouterr().err


def test_a_fix_is_told_how_not_to_rest_on_what_it_fixes(
    k: Kedge, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    k.deploy("bad", {"support/prompt": "bad"})
    k.promote("bad")
    k.close()
    assert main(["deploy", "fix", "-a", "support/prompt=good", "--db", place]) == 0
    out = capsys.readouterr().out
    assert "depends on bad" in out
    assert "--independent" in out
    assert main(["deploy", "fix2", "-a", "support/prompt=good", "--independent", "--db", place]) == 0
    assert "--independent" not in capsys.readouterr().out


# ── many that can be rolled back ──


def test_the_status_warns_where_many_are_revocable(
    k: Kedge, place: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_text, "REVOCABLE_MANY", 2)
    for number in range(3):
        k.deploy(f"v{number}", {f"a{number}/prompt": "x"})
        k.register_peer(f"p{number}")
    assert main(["status", "--db", place]) == 0
    assert "Revocable: 3 deployments" in capsys.readouterr().out
    monkeypatch.setattr(status_text, "REVOCABLE_MANY", 3)
    assert main(["status", "--db", place]) == 0
    assert "Revocable:" not in capsys.readouterr().out


# ── drainage ──


@pytest.fixture
def drained(k: Kedge) -> Kedge:
    """Return a database with sessions that began before v1, and others that began with it."""
    for number in range(3):
        with k.turn(session=f"old-{number}", agent="support") as turn:
            turn.context.put("key", number)
    k.deploy("v1", {"support/prompt": "one"})
    k.promote("v1")
    for number in range(2):
        with k.turn(session=f"new-{number}", agent="support") as turn:
            turn.context.put("key", number)
    return k


def names(found: list[kedge.SessionInfo]) -> list[str]:
    return [session.session for session in found]


def test_sessions_are_listed_by_what_they_see(drained: Kedge) -> None:
    k = drained
    assert names(k.sessions()) == ["new-0", "new-1", "old-0", "old-1", "old-2"]
    assert names(k.sessions(seeing="v1")) == ["new-0", "new-1"]
    assert names(k.sessions(not_seeing="v1")) == ["old-0", "old-1", "old-2"]
    assert names(k.sessions("old-", limit=2)) == ["old-0", "old-1"]
    assert names(k.sessions("old-", after="old-1", not_seeing="v1")) == ["old-2"]
    seen = {session.session: session for session in k.sessions()}
    assert (seen["new-0"].sees, seen["old-0"].sees, seen["old-0"].generation) == (("v1",), (), 1)
    k.refresh("old-1")
    assert names(k.sessions(seeing="v1")) == ["new-0", "new-1", "old-1"], "as of its newest assignment"
    assert names(k.sessions(not_seeing="v1")) == ["old-0", "old-2"]
    k.rollback("v1")
    assert {session.sees for session in k.sessions()} == {()}


def test_sessions_are_refreshed_in_bulk(drained: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drainage, "PAGE", 2)
    k = drained
    done = k.refresh_sessions(not_seeing="v1", by="ann")
    assert (done.refreshed, done.unchanged) == (3, 0)
    assert str(done) == "3 sessions refreshed"
    assert k.sessions(not_seeing="v1") == []
    assert k.assignment("old-0") == ["v1"]
    k.deploy("v2", {"support/prompt": "two"}, canary=1.0)
    with k.turn(session="canaried", agent="support"):
        pass
    assert names(k.sessions(seeing="v2")) == ["canaried"]
    assert k.refresh_sessions(seeing="v2").unchanged == 1, "it would join the canary again"
    k.canary("v2", 0.0)
    assert k.refresh_sessions(seeing="v2").unchanged == 0
    assert k.sessions(seeing="v2") == []
    with k.turn(session="canaried", agent="support") as turn:
        assert "v2" not in turn.seen


def test_what_no_list_of_sessions_can_be_of_is_refused(drained: Kedge) -> None:
    k = drained
    k.register_peer("crm")
    wrong: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: k.sessions(seeing="v9"), kedge.UnknownName, "v9"),
        (lambda: k.sessions(seeing="base"), kedge.IllegalTransition, "settled"),
        (lambda: k.sessions(seeing="external:crm"), kedge.InvalidValue, "every session sees it"),
        (lambda: k.sessions(seeing="v1", not_seeing="v1"), kedge.InvalidValue, "give one"),
        (lambda: k.sessions(limit=0), kedge.InvalidValue, "limit 0"),
        (lambda: k.sessions(1), kedge.InvalidValue, "prefix 1"),  # type: ignore[arg-type]
        (lambda: k.refresh_sessions("old-"), kedge.InvalidValue, "seeing="),
    ]
    for call, error, match in wrong:
        with pytest.raises(error, match=match):
            call()


def test_the_command_line_lists_and_refreshes(drained: Kedge, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    drained.close()
    assert main(["sessions", "--not-seeing", "v1", "--limit", "2", "--json", "--db", place]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [s["session"] for s in found["sessions"]] == ["old-0", "old-1"]
    assert found["more"] is True
    assert main(["sessions", "--seeing", "v1", "--db", place]) == 0
    assert "new-1" in capsys.readouterr().out
    assert main(["sessions", "--not-seeing", "v1", "--refresh", "--yes", "--db", place]) == 0
    assert "3 sessions refreshed" in capsys.readouterr().out
    assert main(["sessions", "--not-seeing", "v1", "--db", place]) == 0
    assert "No such session" in capsys.readouterr().out
