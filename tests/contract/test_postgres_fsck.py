"""`fsck` on PostgreSQL: no finding in a sound database; each kind of damage is found and named."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

import kedge
from kedge.model.fsck import inspection
from kedge.testing import postgres
from tests.databases import create, drop
from tests.populated import populate_at

ONE = "(SELECT min(seq) FROM kedge.writes WHERE salt IS NOT NULL)"
VECTOR = "(SELECT min(seq) FROM kedge.vector_rows)"
DAMAGE = {
    "a payload altered": (f"UPDATE kedge.writes SET payload = 'j\"x\"' WHERE seq = {ONE}", "digest"),
    "a payload taken away": (f"UPDATE kedge.writes SET payload = NULL WHERE seq = {ONE}", "digest"),
    "a salt taken away": (f"UPDATE kedge.writes SET salt = NULL, payload = NULL WHERE seq = {ONE}", "digest"),
    "a write moved": (f"UPDATE kedge.writes SET name = 'elsewhere' WHERE seq = {ONE}", "head"),
    "a write deleted": (f"DELETE FROM kedge.writes WHERE seq = {ONE}", "counter"),
    "a lineage changed": ("UPDATE kedge.writes SET lineage = 1 WHERE source AND seq > 2", "write"),
    "a seq taken twice": (("UPDATE kedge.control_log SET seq = (SELECT max(seq) FROM kedge.writes) "
                          "WHERE seq = (SELECT max(seq) FROM kedge.control_log)"), "journal"),
    "a sequence set back": ("SELECT setval('kedge.seqs', 3)", "journal"),
    "a lane lost": ("DELETE FROM kedge.lanes WHERE id = 7", "lanes"),
    "a vector altered": (f"UPDATE kedge.vector_rows SET vector = '[1,2,3,4]' WHERE seq = {VECTOR}", "digest"),
    "a vector lost": (f"DELETE FROM kedge.vector_rows WHERE seq = {VECTOR}", "vector"),
    "a row's state lost": (f"DELETE FROM kedge.row_states WHERE seq = {VECTOR}", "vector"),
    "a row's state changed": ("UPDATE kedge.row_states SET state = (SELECT max(id) FROM kedge.states)", "state"),
    "a head lost": ("DELETE FROM kedge.heads WHERE seq = (SELECT max(seq) FROM kedge.heads)", "head"),
    "a head made up": (("INSERT INTO kedge.heads SELECT space, 1, rank, seq, state, deleted, name FROM kedge.heads "
                       "WHERE lineage = 0 LIMIT 1"), "head"),
    "a counter off": ("UPDATE kedge.counters SET puts = puts + 1", "counter"),
    "a count of states off": ("UPDATE kedge.state_counts SET rows = rows + 1", "counter"),
    "a state's superseders changed": ("UPDATE kedge.states SET superseders = '[77]' WHERE id = 1", "state"),
    "a lineage's members changed": ("UPDATE kedge.lineages SET members = '[99]' WHERE id = 1", "lineage"),
    "the record set back": ("UPDATE kedge.control SET epoch = epoch - 1", "control"),
    "an epoch skipped": ("UPDATE kedge.control_log SET epoch = epoch + 1 WHERE epoch = 3", "control"),
    "a deployment renamed": ("UPDATE kedge.deployments SET name = 'other' WHERE name = 'v2'", "deployment"),
    "a manifest altered": ("UPDATE kedge.deployments SET manifest = '{}' WHERE name = 'v2'", "deployment"),
    "a snapshot moved": ("UPDATE kedge.snapshots SET seq = 1", "snapshot"),
    "a session's generation lost": ("DELETE FROM kedge.sessions WHERE session = 's1' AND generation = 1", "session"),
    "a session's entry moved": ("UPDATE kedge.sessions SET at = at + 1", "session"),
    "what a turn saw": ("UPDATE kedge.turns SET seen = 99 WHERE id = (SELECT min(turn) FROM kedge.reads)", "turn"),
    "a seen set": ("UPDATE kedge.seen_sets SET members = '[2, ' || id || ']' WHERE id > 0", "turn"),
    "a turn lost": ("DELETE FROM kedge.turns WHERE id = (SELECT min(turn) FROM kedge.reads)", "reads"),
    "a call's writes lost": ("UPDATE kedge.idempotency SET seqs = seqs || 1::int8", "idempotency"),
    "a cached result cut": ("UPDATE kedge.cache SET payload = ''", "cache"),
}  # fmt: skip


@pytest.fixture(scope="module")
def populated(postgres_server: postgres.Server) -> Iterator[str]:
    url = create(postgres_server)
    populate_at(url)
    yield url
    drop(postgres_server, url)


@pytest.fixture
def url(populated: str, postgres_server: postgres.Server) -> Iterator[str]:
    copy = create(postgres_server, like=populated)
    yield copy
    drop(postgres_server, copy)


def damage(url: str, sql: str) -> int:
    """Change something that the triggers guard."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        return connection.execute(sql.encode()).rowcount


@pytest.mark.parametrize("full", [False, True])
def test_a_healthy_database_is_clean(populated: str, full: bool) -> None:
    with kedge.open(populated, read_only=True) as k:
        report = k.fsck(full=full)
    assert report.findings == ()
    assert report.checked["writes"] > 30
    assert report.checked["digests"] > 20
    assert report.checked["vector rows"] > 5


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_and_named(url: str, name: str) -> None:
    sql, kind = DAMAGE[name]
    assert damage(url, sql)
    with kedge.open(url, read_only=True) as k:
        report = k.fsck(full=True)
    assert not report.ok
    assert kind in {finding.kind for finding in report.findings}, report.findings
    assert all(finding.where and finding.message for finding in report.findings)


def test_a_sample_is_clean_and_smaller(populated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "SAMPLE_WINDOWS", 3)
    monkeypatch.setattr(inspection, "SAMPLE_WINDOW_SEQS", 5)
    with kedge.open(populated, read_only=True) as k:
        sample, whole = k.fsck(), k.fsck(full=True)
    assert sample.findings == ()
    assert 0 < sample.checked["writes"] < whole.checked["writes"]
