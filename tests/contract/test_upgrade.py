"""Law "Upgrades": looking works before, the upgrade keeps every answer, and older processes write nothing after it."""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge.backends.postgres import schema as postgres_schema
from kedge.backends.sqlite import schema as sqlite_schema
from kedge.cli.main import main
from kedge.model import upgrade
from kedge.model.control import ControlRecord
from kedge.model.record_format import decode_record
from kedge.support import failpoints
from kedge.turns.scope import scope_of
from tests.contract import old_databases as old
from tests.databases import drop, raw_rows, run
from tests.stateful.share import SOAKING

STORED: dict[str, Any] = {
    name: json.loads(lzma.decompress(made.ANSWERS.read_bytes()))["answers"] for name, made in old.MADE.items()
}
LOOKS = (
    ("status",), ("plan", "prompt-v3"), ("log",), ("fleet",), ("show", "context", "case/"), ("show", "memory", "s2"),
    ("assignment", "s2"), ("verdicts",), ("fsck", "--full"),
)  # fmt: skip


NEWEST = list(old.MADE)[-1]
COMPACT_SINCE = 3  # the first writer version whose new databases have a compact control record
WHOLE = [name for name, made in old.MADE.items() if made.WRITER < COMPACT_SINCE]

# What costs most runs on a database of the newest release that it concerns; `make soak` runs it on all.
newest_only = pytest.mark.parametrize("made", list(old.MADE) if SOAKING else [NEWEST])
with_whole_records = pytest.mark.parametrize("made", WHOLE if SOAKING else WHOLE[-1:])


@pytest.fixture(params=list(old.MADE))
def made(request: pytest.FixtureRequest) -> str:
    """Return by which change an earlier release made the database: that before it."""
    return str(request.param)


@pytest.fixture(params=["sqlite", "postgres"])
def url(made: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Restore a database that an earlier release made."""
    if request.param == "sqlite":
        yield old.restored_file(tmp_path, old.MADE[made].SQLITE)
        return
    server = request.getfixturevalue("postgres_server")
    restored = old.restored_dump(server, tmp_path, old.MADE[made].POSTGRES)
    yield restored
    drop(server, restored)


def check_answers(url: str, made: str, **options: Any) -> None:
    with old.opened(url, **options) as k:
        assert old.differences(old.MADE[made].answers(k), STORED[made]) == []


def is_expanded(url: str) -> bool:
    with old.opened(url, read_only=True) as k:
        return k.status().schema.schema == k.status().schema.latest


def check_upgraded(url: str, made: str) -> None:
    """Every answer is what it was, nothing is found, and nothing is left to upgrade."""
    check_answers(url, made, read_only=True)
    check_answers(url, made)
    with old.opened(url, read_only=True) as k:
        assert k.status().schema.is_current
        report = k.fsck(full=True)
        assert (report.findings, report.notes) == ((), ())


def test_looking_works_before_the_upgrade_and_changes_nothing(
    url: str, made: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check_answers(url, made, read_only=True)
    with old.opened(url, read_only=True) as k:
        assert k.fsck(full=True).findings == ()
        assert not k.status().schema.is_current
        with pytest.raises(kedge.ReadOnly):
            k.upgrade()
    for command in LOOKS:
        assert main([*command, "--db", url]) == 0, command
        assert ("Upgrade" in capsys.readouterr().out) == (command == ("status",))
    check_answers(url, made, read_only=True)


@pytest.mark.parametrize(
    ("made", "way"),
    [(name, way) for name in old.MADE for way in old.WAYS if name == NEWEST or way == "call" or SOAKING],
)
def test_an_upgrade_keeps_every_answer(url: str, made: str, way: str, capsys: pytest.CaptureFixture[str]) -> None:
    old.WAYS[way](url)
    check_upgraded(url, made)
    assert main(["upgrade", "--db", url]) == 0
    assert "Nothing to do" in capsys.readouterr().out


@newest_only
@pytest.mark.parametrize("point", ["migrate:statement", "migrate:before-commit", "fence:before-commit"])
def test_a_killed_upgrade_is_resumed(url: str, made: str, point: str) -> None:
    if point.startswith("migrate") and is_expanded(url):
        pytest.skip("on this backend, no migration came since")
    old.command(url, "upgrade", code=-9, **{failpoints.ENVIRONMENT: point})
    check_answers(url, made, read_only=True)
    old.by_command(url)
    check_upgraded(url, made)


OLDER = """
import sys, kedge
from kedge.model import upgrade
from kedge.model.control import ControlRecord
from kedge.model.record_format import decode_record

upgrade.WRITER = int(sys.argv[2])
k = kedge.open(sys.argv[1])
turn = k.turn(session="s9", agent="support")
turn.context.put("before", 1)
print("open", flush=True)
sys.stdin.readline()
other = k.turn(session="s9", agent="support")
calls = {
    "put again": lambda: turn.context.put("after", 1),
    "first put": lambda: other.context.put("after", 1),
    "observe": lambda: turn.observe("resolved", True),
    "cache": lambda: turn.cache.get_or_compute("after", lambda: 1),
    "headers": lambda: turn.headers(),
    "session": lambda: k.turn(session="s10", agent="support"),
    "deploy": lambda: k.deploy("after", {"support/prompt": "x"}),
    "snapshot": lambda: k.snapshot("after"),
    "collection": lambda: k.collection("after", dim=3),
    "join": lambda: k.join("after"),
    "set level": lambda: k.set_level("support", "frozen"),
}
for name, call in calls.items():
    try:
        call()
        print(name, "went through", flush=True)
    except kedge.NewerSchema as error:
        assert "restart it with the newer Kedge" in str(error), error
    except BaseException as error:
        print(name, repr(error), flush=True)
assert k.view().context.get("before") == 1
"""


@newest_only
def test_a_process_of_an_older_writer_writes_nothing_once_upgraded(url: str, made: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", OLDER, url, str(old.MADE[made].WRITER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, cwd=old.ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    old.by_call(url)
    position = raw_rows(url, "SELECT max(seq) FROM writes"), raw_rows(url, "SELECT max(seq) FROM control_log")
    out, err = process.communicate("go\n", timeout=60)
    assert (process.returncode, out) == (0, ""), err
    assert position == (raw_rows(url, "SELECT max(seq) FROM writes"), raw_rows(url, "SELECT max(seq) FROM control_log"))


def test_an_older_process_still_writes_before_the_upgrade_is_finished(
    url: str, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with old.opened(url) as k, k.turn(session="s9", agent="support") as turn:
        turn.context.put("expanded", 1)
        schema = k.status().schema
        assert (schema.schema, schema.min_writer) == (schema.latest, old.MADE[made].FENCE)
    monkeypatch.setattr(upgrade, "WRITER", old.MADE[made].WRITER)
    with old.opened(url) as k, k.turn(session="s9", agent="support") as turn:
        turn.context.put("by the older", 1)


def record_of(url: str) -> ControlRecord:
    ((encoded,),) = raw_rows(url, "SELECT record FROM control")
    return decode_record(bytes(encoded))


@with_whole_records
def test_the_record_stays_readable_for_older_processes_until_the_upgrade(url: str) -> None:
    with old.opened(url) as k:
        k.deploy("meanwhile", {"chain/prompt": "five"})
        k.promote("meanwhile")
        with k.turn(agent="clerk", parent={}, peer="new") as turn:
            turn.context.put("from/new", 1)
        k.rollback("external:new")
        assert not record_of(url).compact
        assert "external:new" in {d.name for d in record_of(url).deployments}
    old.by_call(url)
    record = record_of(url)
    assert record.compact
    with kedge.open(url, durability="normal") as k:
        assert record.hidden_peers == {d.number for d in k.peers() if d.status is kedge.Status.ROLLED_BACK} != set()
        assert k.view().context.get("from/new") is None
        k.reinstate("external:new")
        assert k.view().context.get("from/new") == 1
        assert k.fsck(full=True).findings == ()


@with_whole_records
def test_a_process_that_knows_the_record_of_before_the_upgrade_does_not_bring_it_back(url: str) -> None:
    with old.opened(url) as k:
        k.deploy("meanwhile", {"support/prompt": "five"})
        old.by_call(url)
        k.promote("meanwhile")
        assert record_of(url).compact
        assert k.deployment("meanwhile").status is kedge.Status.LIVE
        assert k.fsck(full=True).findings == ()


def test_a_new_database_refuses_older_writers(new_place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place = new_place()
    with kedge.open(place) as k:
        assert k.status().schema.is_current
        assert k.upgrade().rows == 0
    latest = upgrade.WRITER
    monkeypatch.setattr(upgrade, "WRITER", latest - 1)
    with kedge.open(place) as k, pytest.raises(kedge.NewerSchema, match=f"accepts writers from version {latest} on"):
        k.deploy("v1", {"support/prompt": "x"})


# ── any further migration ──

FURTHER = {
    "sqlite": "CREATE TABLE further (id INTEGER PRIMARY KEY, what TEXT);\n\n"
    "INSERT INTO further (id, what) VALUES (0, 'a (first), row');\n\n"
    "INSERT INTO further (id, what) SELECT seq, name FROM writes;\n\n"
    "ALTER TABLE turns ADD COLUMN mark INTEGER;\n\nALTER TABLE further ADD COLUMN more TEXT NOT NULL DEFAULT 'none';",
    "postgres": "CREATE TABLE kedge.further (\n    id BIGINT PRIMARY KEY, -- a number\n    what TEXT NOT NULL\n);\n\n"
    "INSERT INTO kedge.further (id, what) VALUES (0, 'a (first), row');\n\n"
    "INSERT INTO kedge.further (id, what) SELECT seq, 'write' FROM kedge.writes;\n\n"
    "ALTER TABLE kedge.turns ADD COLUMN mark BIGINT;\n\n"
    "ALTER TABLE kedge.further ADD COLUMN more TEXT NOT NULL DEFAULT 'none';",
}
ASKS = (
    "SELECT count(mark) FROM {0}turns",
    "WITH all_of AS (SELECT id, what, more FROM {0}further) SELECT count(*) FROM all_of WHERE more = 'none'",
)


def test_a_reader_follows_any_further_migration(new_place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place = new_place()
    kind = "sqlite" if place.startswith("sqlite") else "postgres"
    with kedge.open(place) as k, k.turn(session="s", agent="support") as turn:
        turn.context.put("key", 1)
    module = sqlite_schema if kind == "sqlite" else postgres_schema
    scripts = [*module.migrations(), FURTHER[kind]]
    monkeypatch.setattr(module, "_scripts", lambda: scripts)
    with kedge.open(place, read_only=True) as reader:
        database: Any = scope_of(reader.view()).backend.database  # type: ignore[attr-defined]
        prefix = "" if kind == "sqlite" else "kedge."

        def counted() -> list[int]:
            asks = [ask.format(prefix) for ask in ASKS]
            return [database.ask(ask if kind == "sqlite" else ask.encode())[0][0] for ask in asks]

        assert counted() == [0, 2], "the rows that it will insert are read"
        assert reader.fsck(full=True).findings == ()
        with kedge.open(place) as k:
            assert k.status().schema.schema == len(scripts)
        for statement in ("UPDATE {0}turns SET mark = 1", "INSERT INTO {0}further (id, what) VALUES (-1, 'x')"):
            run(place, statement.format(prefix))
        assert counted() == [1, 3], "what was expanded meanwhile is read"
        assert reader.fsck(full=True).findings == ()
