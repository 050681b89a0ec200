"""Backups by PostgreSQL's own tools, taken while agents write, restore to a whole database."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

import kedge
from kedge.testing import postgres
from tests.databases import create, drop

WRITERS = 2
AHEAD = 5  # turns of each writer before the dump begins


def test_what_is_restored_beneath_open_connections_is_not_gone_on_with(
    postgres_server: postgres.Server, tmp_path: Path
) -> None:
    url = create(postgres_server)
    name, dump = url.rpartition("/")[2], str(tmp_path / "dump")
    with kedge.open(url, durability="normal") as k, kedge.open(url, durability="normal") as m:
        member = m.join("one", lease_seconds=60)
        with k.turn(session="s", agent="clerk") as turn:
            turn.context.put("before", 1)
        postgres_server.client("pg_dump", "--format=custom", f"--file={dump}", name)
        k.deploy("v1", {"support/prompt": "x"})
        while member.epoch != k.epoch:
            time.sleep(0.01)
        postgres_server.client("pg_restore", "--clean", f"--dbname={name}", dump)
        calls = (k.view, k.deployments, lambda: k.epoch, lambda: k.turn(session="s", agent="clerk"))
        for call in calls:
            with pytest.raises(kedge.Corruption, match=r"does not have epoch 1, .*reopen the database"):
                call()
        with pytest.raises(kedge.Corruption, match=r"is at epoch 0, but .* acknowledged epoch 1|does not have epoch 1"):
            member._refresh()  # so that its lease runs out; its thread may have asked before
        with kedge.open(url) as another:
            another.deploy("v2", {"support/prompt": "y"})  # its epoch is 1, too
        for call in calls:
            with pytest.raises(kedge.Corruption, match=r"does not have epoch 1, .*reopen the database"):
                call()
    with kedge.open(url) as k:
        assert k.view(session="s").context.items() == {"before": 1}
    drop(postgres_server, url)


def test_what_was_dumped_under_writers_holds_every_law(postgres_server: postgres.Server, tmp_path: Path) -> None:
    url, copy_url = create(postgres_server), create(postgres_server, empty=True)
    is_over = threading.Event()
    done: list[tuple[int, int]] = []
    ahead = threading.Semaphore(0)

    def write(number: int) -> None:
        with kedge.open(url, durability="normal") as k:
            for turns in range(10_000):
                with k.turn(session=f"s-{number}-{turns}", agent="support") as turn:
                    turn.memory.extend([("user", "x"), ("assistant", "y")])
                    turn.context.put(f"{number}/{turns}", turns)
                    turn.vectors("kb").upsert([f"{number}-{turns}"], [[1, number, turns]])
                done.append((number, turns))
                ahead.release()
                if is_over.is_set():
                    return

    with kedge.open(url, durability="normal") as k:
        k.collection("kb", dim=3)
        k.deploy("v1", {"support/prompt": "x"}, canary=1.0)
        writers = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        for _ in range(WRITERS * AHEAD):
            assert ahead.acquire(timeout=30)
        before = set(done)
        postgres_server.client("pg_dump", "--format=custom", f"--file={tmp_path / 'dump'}", url.rpartition("/")[2])
        after = set(done)
        is_over.set()
        for writer in writers:
            writer.join(30)
        k.rollback("v1")  # which the dump has not
    assert after > before, "they wrote meanwhile"
    postgres_server.client("pg_restore", f"--dbname={copy_url.rpartition('/')[2]}", str(tmp_path / "dump"))
    with kedge.open(copy_url, durability="normal") as copy:
        assert copy.deployment("v1").status is kedge.Status.CANARY
        for number, turns in before:
            view = copy.view(session=f"s-{number}-{turns}")
            assert [m.content for m in view.memory.history()] == ["x", "y"]
            assert view.context.get(f"{number}/{turns}") == turns
        assert copy.rollback("v1").ok
        assert not copy.view().context.items()
        with copy.turn(session="later", agent="support") as turn:
            turn.context.put("later", 1)
        assert copy.fsck(full=True).findings == (), "nor is a number given twice"
    for made in (url, copy_url):
        drop(postgres_server, made)
