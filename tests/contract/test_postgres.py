"""PostgreSQL in the contract suites, and its own laws: schema, concurrent opening, past views, order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import kedge
from kedge.backends.postgres import schema, sql
from kedge.backends.postgres.backend import PostgresBackend
from kedge.backends.postgres.link import Link
from kedge.model import upgrade
from kedge.model.writes import Key
from kedge.ports.backend import Backend
from kedge.ports.vectors import METRICS
from kedge.support import failpoints
from kedge.testing import contracts, postgres
from kedge.testing.contracts.backend_driver import BackendDriver, put
from kedge.testing.contracts.cache import CACHE_BYTES
from kedge.testing.contracts.fleet import ONE, at
from tests.concurrency import run_all
from tests.databases import create, drop, raw_rows
from tests.stateful.share import SOAKING

A_WHILE = 0.3  # in which what waits for nothing is done


@pytest.fixture
def opener(postgres_url: str) -> contracts.Opener:
    return lambda: PostgresBackend(postgres_url, durability="normal", cache_bytes=CACHE_BYTES)


@pytest.fixture
def backend(opener: contracts.Opener) -> Iterator[PostgresBackend]:
    opened = opener()
    assert isinstance(opened, PostgresBackend)
    yield opened
    opened.close()


@pytest.fixture
def empty_url(postgres_server: postgres.Server) -> Iterator[str]:
    url = create(postgres_server, empty=True)
    yield url
    drop(postgres_server, url)


class TestControl(contracts.ControlContract):
    pass


class TestSessions(contracts.SessionContract):
    pass


class TestCompaction(contracts.CompactionContract):
    @pytest.mark.parametrize("seed", range(24) if SOAKING else (3, 6, 15))
    def test_no_view_answers_otherwise(self, backend: Backend, opener: contracts.Opener, seed: int) -> None:
        super().test_no_view_answers_otherwise(backend, opener, seed)


class TestJournal(contracts.JournalContract):
    pass


class TestHistories(contracts.HistoryContract):
    @pytest.mark.parametrize("seed", range(3))  # a share of them: each takes a server a thousand questions
    def test_reads_equal_the_truth(self, backend: Backend, seed: int) -> None:
        super().test_reads_equal_the_truth(backend, seed)


class TestVectors(contracts.VectorContract):
    @pytest.mark.parametrize(("metric", "seed"), [(metric, seed) for metric in METRICS for seed in range(2)])
    def test_search_equals_brute_force(self, backend: Backend, metric: str, seed: int) -> None:
        super().test_search_equals_brute_force(backend, metric, seed)


class TestVectorsWithoutExtension(contracts.VectorContract):
    """The same where pgvector is not there: vectors are plain bytes, and compared here."""

    @pytest.fixture
    def opener(self, empty_url: str, monkeypatch: pytest.MonkeyPatch) -> contracts.Opener:
        monkeypatch.setattr(schema, "_EXTENSION", "CREATE EXTENSION no_such_thing")
        return lambda: PostgresBackend(empty_url, durability="normal", cache_bytes=CACHE_BYTES)

    def test_it_is_not_there(self, backend: PostgresBackend) -> None:
        assert not backend.database.has_vector_type

    @pytest.mark.parametrize(("metric", "seed"), [("cosine", 0), ("dot", 1), ("l2", 2)])
    def test_search_equals_brute_force(self, backend: Backend, metric: str, seed: int) -> None:
        super().test_search_equals_brute_force(backend, metric, seed)


class TestFleet(contracts.FleetContract):
    def test_a_refresh_waits_for_a_change_that_is_being_committed(
        self, backend: Backend, opener: contracts.Opener
    ) -> None:
        answers: list[int] = []
        other = opener()
        thread = threading.Thread(target=lambda: answers.append(other.fleet.refresh(at(ONE, 0))))

        def refresh_meanwhile() -> None:
            thread.start()
            thread.join(A_WHILE)

        failpoints.arm("control:before-commit", refresh_meanwhile, nth=1)
        assert BackendDriver(backend).change("stage", "v1").epoch == 1
        thread.join()
        other.close()
        assert answers == [1]
        assert self.one(backend).expired

    def test_a_change_waits_for_a_refresh_that_is_being_committed(
        self, backend: Backend, opener: contracts.Opener
    ) -> None:
        shown: list[list[str]] = []
        other = opener()

        def change() -> None:
            BackendDriver(other).change("stage", "v1")
            shown.append([member.uid for member in other.fleet.members()])

        thread = threading.Thread(target=change)

        def change_meanwhile() -> None:
            thread.start()
            thread.join(A_WHILE)

        failpoints.arm("refresh:before-commit", change_meanwhile, nth=1)
        assert backend.fleet.refresh(at(ONE, 0)) == 0
        thread.join()
        other.close()
        assert shown == [[ONE.uid]]

    def test_a_refresh_waits_for_no_append(self, backend: Backend, opener: contracts.Opener) -> None:
        answers: list[int] = []
        other = opener()

        def refresh_meanwhile() -> None:
            answers.append(other.fleet.refresh(at(ONE, 0)))

        failpoints.arm("append:before-commit", refresh_meanwhile, nth=1)
        BackendDriver(backend).append([put(f"a/{number}", number) for number in range(500)])  # it holds all lanes
        other.close()
        assert answers == [0]

    def test_a_refresh_is_on_disk_before_it_is_answered(
        self, backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings: list[str] = []
        write = backend.database.write

        def write_and_look(what: str, act: Callable[[Link], object], **options: Any) -> object:
            def both(link: Link) -> object:
                done = act(link)
                settings.append(link.one(b"SHOW synchronous_commit")[0])
                return done

            return write(what, both, **options)

        monkeypatch.setattr(backend.database, "write", write_and_look)
        backend.fleet.refresh(at(ONE, 0))
        backend.fleet.leave(ONE.uid)
        assert settings == ["on", "off"]


class TestCoverage(contracts.CoverageContract):
    pass


class TestErasure(contracts.ErasureContract):
    pass


class TestImpact(contracts.ImpactContract):
    pass


class TestAttribution(contracts.AttributionContract):
    pass


class TestProvenance(contracts.ProvenanceContract):
    pass


class TestReplayLog(contracts.ReplayLogContract):
    pass


class TestVerification(contracts.VerificationContract):
    pass


class TestMetrics(contracts.MetricsContract):
    pass


class TestCache(contracts.CacheContract):
    pass


# ── statements ──


FILLED = {
    b"{vector}": b"vector",
    b"{distance}": b"<=>",
    b"{nearness}": b"v.vector <=> $3::vector",
    b"{operators}": b"vector_cosine_ops",
}
FILLED |= {b"{nearness}": b"v.vector <=> $3::vector", b"{dim}": b"3", b"{embedding}": b"1"}
STATEMENTS = sorted(path.stem for path in Path(sql.__file__).parent.glob("*.sql"))


@pytest.mark.parametrize("module", STATEMENTS)
def test_every_statement_is_one_that_the_server_understands(backend: PostgresBackend, module: str) -> None:
    """With the types that its parameters have, whether or not another test comes by it."""
    with backend.database.connect() as connection:
        for text in sql.queries(module).values():
            for placeholder, content in FILLED.items():
                text = text.replace(placeholder, content)  # noqa: PLW2901 - filled bit by bit
            if not text.lstrip().startswith((b"CREATE ", b"DROP ")):  # what defines is not prepared
                connection.execute(b"PREPARE asked AS " + text)
                connection.execute(b"DEALLOCATE asked")


# ── schema ──


COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
WHERE table_schema = 'kedge' ORDER BY 1, 2
"""


def test_migrating_step_by_step_equals_a_fresh_schema(empty_url: str, postgres_url: str) -> None:
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE SCHEMA kedge")
        connection.execute("CREATE TABLE kedge.schema_version (id BIGINT PRIMARY KEY, version BIGINT NOT NULL)")
        for script in schema.migrations():
            connection.execute(script.replace("{vector}", "vector").encode())
    assert raw_rows(empty_url, COLUMNS) == raw_rows(postgres_url, COLUMNS)


def test_a_database_of_before_the_code_is_brought_up(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = schema.migrations()
    with monkeypatch.context() as old:
        old.setattr(schema, "migrations", lambda: scripts[:1])
        kedge.open(empty_url).close()
    with kedge.open(empty_url, read_only=True) as k:
        assert k.members() == []
    with kedge.open(empty_url, code="sha256:1") as k, k.join("m"):
        assert [member.code for member in k.members()] == [{"*": "sha256:1"}]


def test_opening_again_changes_nothing(empty_url: str) -> None:
    kedge.open(empty_url).close()
    tables = ("SELECT * FROM schema_version", "SELECT * FROM meta ORDER BY name", "SELECT * FROM control_log")
    before = [raw_rows(empty_url, table) for table in tables]
    kedge.open(empty_url).close()
    assert [raw_rows(empty_url, table) for table in tables] == before
    assert len(before[2]) == 1


def test_many_open_a_new_database_at_once(empty_url: str) -> None:
    failed: list[BaseException] = []
    start = threading.Barrier(6)

    def opened(number: int) -> None:
        start.wait()
        try:
            with kedge.open(empty_url) as k:
                k.deploy(f"d{number}", {"a/prompt": "x"})
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            failed.append(error)

    run_all(opened, range(6))
    assert failed == []
    with kedge.open(empty_url) as k:
        assert sorted(d.name for d in k.deployments()) == [f"d{n}" for n in range(6)]


def test_another_program_s_schema_is_left_alone(empty_url: str) -> None:
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA kedge")
        connection.execute("CREATE TABLE kedge.notes (text TEXT)")
    with pytest.raises(kedge.NotAKedgeDatabase, match="a schema `kedge` of another program"):
        kedge.open(empty_url)
    assert {row[0] for row in raw_rows(empty_url, COLUMNS)} == {"notes"}


def test_a_newer_schema_is_refused(empty_url: str) -> None:
    kedge.open(empty_url).close()
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("UPDATE kedge.schema_version SET version = 99")
    with pytest.raises(kedge.NewerSchema, match=r"schema 99, newer than this Kedge's \d+; upgrade Kedge"):
        kedge.open(empty_url)


def test_read_only_makes_and_writes_nothing(empty_url: str) -> None:
    with pytest.raises(kedge.UnknownName, match="there is no Kedge database at"):
        kedge.open(empty_url, read_only=True)
    assert raw_rows(empty_url, COLUMNS) == []
    with kedge.open(empty_url) as k:
        k.deploy("v1", {"a/prompt": "x"})
    with kedge.open(empty_url, read_only=True) as k:
        assert [d.name for d in k.deployments()] == ["v1"]
        assert k.at(k.seq).artifacts.get("a/prompt") is None
        with pytest.raises(kedge.ReadOnly, match="open read-only"):
            k.promote("v1")


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (lambda url: url + "_not", kedge.UnknownName, "this database does not exist; create it"),
        (lambda url: url.replace("postgres@", "nobody@"), kedge.InvalidValue, "rejected the login"),
        (lambda url: url + "?nonsense=1", kedge.InvalidValue, "is not a PostgreSQL address"),
    ],
)
def test_an_address_that_leads_nowhere_is_told(
    postgres_url: str, change: Callable[[str], str], error: type[kedge.KedgeError], told: str
) -> None:
    with pytest.raises(error, match=told):
        kedge.open(change(postgres_url))


def test_a_password_is_shown_nowhere(postgres_url: str) -> None:
    url = postgres_url.replace("postgres@", "postgres:secret@")
    with kedge.open(url) as k:
        assert "secret" not in k.url
        assert "secret" not in k.status().url
    with pytest.raises(kedge.UnknownName) as caught:
        kedge.open(url + "_not")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("table", ["writes", "control_log"])
def test_no_journal_entry_ever_changes(backend: PostgresBackend, postgres_url: str, table: str) -> None:
    BackendDriver(backend).put("a", 1)
    before = raw_rows(postgres_url, f"SELECT * FROM {table}")
    columns = [row[1] for row in raw_rows(postgres_url, COLUMNS) if row[0] == table]
    kinds = {row[1]: row[2] for row in raw_rows(postgres_url, COLUMNS) if row[0] == table}
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"SET kedge.writer = '{upgrade.WRITER}'".encode())  # past the fence
        for column in columns:
            value = {"bytea": "'\\x00'", "text": "'x'", "boolean": f"NOT {column}"}.get(kinds[column], "12345")
            with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="journal entry never changes"):
                connection.execute(f"UPDATE kedge.{table} SET {column} = {value}".encode())
        for statement in ("DELETE FROM kedge.{}", "TRUNCATE kedge.{}"):
            with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="journal entry never changes"):
                connection.execute(statement.format(table).encode())
    assert raw_rows(postgres_url, f"SELECT * FROM {table}") == before


def test_settled_releases_leave_few_heads(postgres_url: str) -> None:
    with kedge.open(postgres_url, durability="normal") as k:
        for number in range(8):
            k.deploy(f"v{number}", {"support/prompt": f"prompt {number}"})
            k.promote(f"v{number}")
            with k.turn(agent="support") as turn:
                turn.context.put("a", number)
            k.settle(f"v{number}")
    assert max(raw_rows(postgres_url, "SELECT count(*) FROM heads GROUP BY space, name")) <= (2,)


def test_a_look_at_a_key_of_many_writes_fetches_few_rows(
    backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, fetched = BackendDriver(backend), list[int]()
    seqs = [driver.put("busy", number) for number in range(30)]
    rows = Link.rows

    def count(link: Link, statement: bytes, *parameters: Any) -> list[tuple[Any, ...]]:
        found = rows(link, statement, *parameters)
        fetched.append(len(found))
        return found

    monkeypatch.setattr(Link, "rows", count)
    (looked,) = backend.verification.check_keys(driver.view(), [Key("context", "", "busy")])
    assert (looked.seq, looked.truth) == (seqs[-1], seqs[-1])
    assert sum(fetched) <= 5
