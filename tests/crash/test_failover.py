"""Failover to a standby: no acknowledged write is lost, and no outcome is guessed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

import kedge
from kedge.cli.main import main
from kedge.testing import postgres
from tests.crash.writer import SIZE
from tests.databases import create, drop, raw_rows
from tests.stateful.share import SOAKING

ROOT = Path(__file__).resolve().parents[2]
SOON = 100.0


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def eventually(holds: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + SOON
    while not (found := holds()):
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.02)
    return found


def confirmed_by_any(server: postgres.Server, names: str = "*") -> None:
    """Have a server acknowledge nothing before a standby has it on disk."""
    run(server.url(), f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
    server.reload()


@contextmanager
def pair() -> Iterator[tuple[postgres.Server, postgres.Server]]:
    """Lend a primary and a standby that confirms its commits."""
    with postgres.running() as primary, postgres.running(of=primary) as standby:
        confirmed_by_any(primary)
        state = "SELECT sync_state FROM pg_stat_replication"
        eventually(lambda: ("sync",) in raw_rows(primary.url(), state))
        yield primary, standby


class Writer:
    """A process that appends, and what it has said."""

    def __init__(self, url: str, who: str, folder: Path) -> None:
        self.who, self._said = who, folder / who
        self._errors = folder / f"{who}.err"
        with self._said.open("wb") as said, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.writer", url, who],
                cwd=ROOT, env={**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."])},
                stdin=subprocess.PIPE, stdout=said, stderr=errors,
            )  # fmt: skip

    def said(self) -> list[Any]:
        return [json.loads(line) for line in self._said.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def acknowledged(self) -> dict[int, list[int]]:
        return {number: seqs for number, seqs in self.said() if isinstance(seqs, list)}

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(SOON) == 0, self._errors.read_text()


class Roller(threading.Thread):
    """Stages, writes and rolls back, release after release."""

    def __init__(self, k: kedge.Kedge) -> None:
        super().__init__()
        self._k, self.is_over = k, threading.Event()
        self.gone: list[str] = []

    def run(self) -> None:
        while not self.is_over.is_set():
            name = f"v{len(self.gone)}"
            self._until(partial(self._k.deploy, name, {"support/prompt": name}, canary=1.0), name, "canary")
            self._write(name)
            self._until(partial(self._k.rollback, name), name, "rolled back")
            self.gone.append(name)
            time.sleep(0.1)

    def _until(self, change: Callable[[], object], name: str, status: str) -> None:
        """Change the record; where the outcome is not known, look before it is done again."""
        while True:
            try:
                if name in {d.name for d in self._k.deployments()} and self._k.deployment(name).status == status:
                    return
                change()
            except (kedge.Retryable, kedge.OutcomeUnknown):
                time.sleep(0.05)

    def _write(self, name: str) -> None:
        key = f"bad/{name}"
        is_done = False
        while not is_done:
            try:
                with self._k.turn(agent="support", deployment=name) as turn:
                    is_done = turn.context.put(key, 1, idempotency=key) > 0
            except (kedge.Retryable, kedge.OutcomeUnknown):
                time.sleep(0.05)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("writers", "batches", "failovers"),
    [(2, 15, 1)] + [pytest.param(6, 400, 3, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])] * SOAKING,
)
def test_a_failover_loses_nothing(tmp_path: Path, writers: int, batches: int, failovers: int) -> None:
    for number in range(failovers):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pair() as (primary, standby):
            fail_over(folder, primary, standby, writers, batches)


def fail_over(folder: Path, primary: postgres.Server, standby: postgres.Server, writers: int, batches: int) -> None:
    url = primary.url(then=standby)
    with kedge.open(url) as k:
        started = [Writer(url, f"w{n}", folder) for n in range(writers)]
        roller = Roller(k)
        roller.start()

        def all_wrote(least: int) -> bool:
            return all(len(writer.acknowledged()) >= least for writer in started) and len(roller.gone) > 1

        eventually(lambda: all_wrote(batches))
        primary.kill()
        before = {writer.who: len(writer.acknowledged()) for writer in started}
        rolled_back = len(roller.gone)
        standby.promote()
        confirmed_by_any(standby, "")
        eventually(lambda: all_wrote(max(before.values()) + batches) and len(roller.gone) > rolled_back + 1)
        roller.is_over.set()
        roller.join(SOON)
        report = rollback_seen_by_all(k, started)
        assert report.ok
        for writer in started:
            writer.end()
        check(k, url, started, roller.gone)


def rollback_seen_by_all(k: kedge.Kedge, writers: list[Writer]) -> kedge.RollbackReport:
    k.deploy("last", {"support/prompt": "last"}, canary=1.0)
    report = k.rollback("last")
    assert report.convergence is not None
    assert (report.convergence.acknowledged, report.convergence.laggards) == (len(writers), ())
    return report


def check(k: kedge.Kedge, url: str, writers: list[Writer], gone: list[str]) -> None:
    """Every acknowledged batch is there as it was acknowledged, the others whole, and each once."""
    calls = dict(raw_rows(url, "SELECT key, seqs FROM idempotency"))
    for writer in writers:
        done = writer.acknowledged()
        assert list(done) == list(range(len(done)))
        assert {number: calls[f"{writer.who}/{number}"] for number in done} == done
        history = [(m.seq, m.content) for m in k.view(session=f"s-{writer.who}").memory.history()]
        whole = [(seq, f"{writer.who} {number} {n}") for number, seqs in done.items() for n, seq in enumerate(seqs)]
        assert history[: len(whole)] == whole
        assert len(history) in {len(whole), len(whole) + SIZE}, "at most the last was there and not acknowledged"
    keys = raw_rows(url, "SELECT key FROM idempotency GROUP BY key HAVING count(*) > 1")
    assert keys == []
    assert not [name for name in k.view().context.items() if name.startswith("bad/")]
    assert {k.deployment(name).status for name in gone} == {kedge.Status.ROLLED_BACK}
    assert k.fsck(full=True).findings == ()


# ── what a commit waits for ──


@pytest.fixture
def unconfirmed(postgres_server: postgres.Server, postgres_url: str) -> Iterator[str]:
    """A database whose commits wait for a standby that is not there, from the next one that is armed so."""
    yield postgres_url
    confirmed_by_any(postgres_server, "")


WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = current_database()"


def test_what_no_standby_has_confirmed_is_not_acknowledged(unconfirmed: str, postgres_server: postgres.Server) -> None:
    """Whoever cancels the wait has the server commit, with a warning alone."""
    failed: list[BaseException] = []
    with kedge.open(unconfirmed) as k:

        def write(change: Callable[[], object]) -> None:
            try:
                change()
            except kedge.OutcomeUnknown as error:
                failed.append(error)

        changes = (lambda: put_one(k, "a"), lambda: k.deploy("v1", {"support/prompt": "x"}))
        for number, change in enumerate(changes):
            confirmed_by_any(postgres_server)
            thread = threading.Thread(target=write, args=(change,))
            thread.start()
            ((pid,),) = eventually(lambda: raw_rows(unconfirmed, WAITING))
            run(unconfirmed, f"SELECT pg_cancel_backend({pid})")
            confirmed_by_any(postgres_server, "")
            thread.join(SOON)
            assert len(failed) == number + 1
            assert "no standby has confirmed it" in str(failed[-1])
        assert put_one(k, "a") == k.view().context.entry("a").seq, "a repeat finds it"  # type: ignore[union-attr]
        assert [d.name for d in k.deployments()] == ["v1"]


def test_what_is_found_again_is_not_acknowledged_unconfirmed_either(
    unconfirmed: str, postgres_server: postgres.Server
) -> None:
    failed: list[BaseException] = []
    with kedge.open(unconfirmed) as k:

        def write() -> None:
            try:
                put_one(k, "a")
            except kedge.OutcomeUnknown as error:
                failed.append(error)

        confirmed_by_any(postgres_server)
        thread = threading.Thread(target=write)
        thread.start()
        ((writes,),) = eventually(lambda: raw_rows(unconfirmed, WAITING))
        run(unconfirmed, f"SELECT pg_terminate_backend({writes})")
        ((looks,),) = eventually(lambda: raw_rows(unconfirmed, f"{WAITING} AND pid <> {writes}"))
        run(unconfirmed, f"SELECT pg_cancel_backend({looks})")
        confirmed_by_any(postgres_server, "")
        thread.join(SOON)
    assert "is there, but no standby has confirmed it" in str(failed)


def test_a_point_in_the_past_waits_for_no_standby(
    unconfirmed: str, postgres_server: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor for a disk: while it does, it holds up who writes."""
    monkeypatch.setattr("kedge.backends.postgres.liveness.ASK_SECONDS", 0.2)
    monkeypatch.setattr("kedge.backends.postgres.liveness.SYNC_SECONDS", 0.3)
    with kedge.open(unconfirmed) as k:
        seq = put_one(k, "a")
        confirmed_by_any(postgres_server)
        other = threading.Thread(target=run, args=(unconfirmed, "CREATE TABLE theirs ()"))
        other.start()
        eventually(lambda: raw_rows(unconfirmed, WAITING))
        assert k.at(seq).context.items() == {"a": 1}
        confirmed_by_any(postgres_server, "")
        other.join(SOON)


def put_one(k: kedge.Kedge, key: str) -> int:
    with k.turn(agent="clerk") as turn:
        return turn.context.put(key, 1, idempotency=f"the key of {key}")


def test_nobody_waits_for_ever_for_a_standby(
    unconfirmed: str, postgres_server: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kedge.backends.postgres.liveness.ASK_SECONDS", 0.2)
    monkeypatch.setattr("kedge.backends.postgres.liveness.SYNC_SECONDS", 0.3)
    monkeypatch.setattr("kedge.backends.postgres.settings._LOCK_SECONDS", 1)
    with kedge.open(unconfirmed) as k:
        confirmed_by_any(postgres_server)
        with pytest.raises(kedge.OutcomeUnknown, match="lost during the commit.*repeat the call with the same idemp"):  # noqa: RUF043
            put_one(k, "a")
        confirmed_by_any(postgres_server, "")
        seq = put_one(k, "a")
        assert raw_rows(unconfirmed, "SELECT seq FROM writes") == [(seq,)], "it was there, and once"


# ── what a server has forgotten ──


@pytest.mark.parametrize("what", ["epoch", "turn", "nothing"])
def test_a_server_that_forgot_what_this_process_knows_is_not_gone_on_with(
    postgres_server: postgres.Server, what: str
) -> None:
    """As an asynchronous standby that was promoted would, or a backup that was restored beneath."""
    url = create(postgres_server)
    name = url.rpartition("/")[2]
    with kedge.open(url) as k, kedge.open(url, read_only=True) as looker:
        put_one(k, "a")
        run(postgres_server.url(), end_all(name))
        create_like = f"CREATE DATABASE {name}_before TEMPLATE {name}"
        run(postgres_server.url(), create_like)
        if what == "epoch":
            k.deploy("v1", {"support/prompt": "x"})
        elif what == "turn":
            put_one(k, "b")
        looker.deployments()
        run(postgres_server.url(), end_all(name), f"DROP DATABASE {name} WITH (FORCE)")
        run(postgres_server.url(), f"ALTER DATABASE {name}_before RENAME TO {name}")
        if what == "nothing":
            assert k.view().context.items() == {"a": 1}
            assert looker.deployments() == []
        else:
            told = "does not have epoch 1 as it was" if what == "epoch" else "does not have the turn"
            for _ in range(2):
                with pytest.raises(kedge.Corruption, match=told + ".*reopen the database"):
                    k.view().context.items()
        if what == "epoch":
            with pytest.raises(kedge.Unreachable, match="does not have epoch 1 as it was: it lags behind, or lost it"):
                looker.deployments()
    with kedge.open(url) as k:
        assert k.view().context.items() == {"a": 1}
        assert k.epoch == 0
    drop(postgres_server, url)


def end_all(name: str) -> str:
    return f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"


# ── reading a standby ──


@pytest.mark.timeout(200)
def test_a_standby_says_where_it_is_and_refuses_what_it_cannot_promise(capsys: pytest.CaptureFixture[str]) -> None:
    with postgres.running() as primary, postgres.running(of=primary) as standby, kedge.open(primary.url()) as k:
        k.deploy("v1", {"support/prompt": "one"}, canary=1.0)
        k.snapshot("before")
        seq = k.seq
        k.promote("v1")
        with kedge.open(standby.url(), read_only=True) as copy:
            copy.wait_for_epoch(k.epoch)
            assert copy.is_standby
            assert copy.status().is_standby
            assert copy.status().epoch == k.epoch
            assert copy.at("before").artifacts.get("support/prompt") is None
            assert copy.at(seq, deployment="v1").artifacts["support/prompt"].value == "one"
            for look in (copy.view, lambda: copy.view(deployment="v1"), partial(copy.turn, agent="support")):
                with pytest.raises(kedge.ReadOnly, match=f"is a standby, now at epoch {k.epoch}: it may lag behind"):
                    look()
            with k.turn(agent="support") as turn:
                late = turn.context.put("key", 1)
            eventually(lambda: (1,) in raw_rows(standby.url(), "SELECT count(*) FROM writes WHERE name = 'key'"))
            with pytest.raises(kedge.PastUnreadable, match="its last seq that this standby has for certain is"):
                copy.at(late)
            with pytest.raises(kedge.ReadOnly, match="use the primary"):
                kedge.compare_stores(primary.url(), standby.url())
        for command in (("status",), ("show", "artifacts"), ("show", "artifacts", "--at", "before")):
            assert main([*command, "--db", standby.url()]) == 0
            assert f"This is a standby at epoch {k.epoch}. The primary may have newer" in capsys.readouterr().err
        run(standby.url(), "SELECT pg_wal_replay_pause()")  # which asks for it
        eventually(lambda: raw_rows(standby.url(), "SELECT pg_get_wal_replay_pause_state()") == [("paused",)])
        report = k.rollback("v1")
        with kedge.open(standby.url(), read_only=True, standby="stale") as copy:
            assert copy.view().artifacts["support/prompt"].value == "one"
            with pytest.raises(kedge.Busy, match=f"at epoch {k.epoch - 1} after 0.1 s, not {report.epoch}"):
                copy.wait_for_epoch(report.epoch, timeout=0.1)
            run(standby.url(), "SELECT pg_wal_replay_resume()")
            copy.wait_for_epoch(report.epoch)
            assert copy.view().artifacts.get("support/prompt") is None
        with pytest.raises(kedge.InvalidValue, match="invalid standby 'wait'"):
            kedge.open(standby.url(), read_only=True, standby="wait")
