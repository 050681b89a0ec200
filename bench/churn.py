"""State changes of indexed rows: in a column beside the vector, or in a separate table."""

import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np

from bench.harness import Measured, Setting, median
from kedge.testing import postgres

ONE_IN = 20  # rows changes in one statement
ROUNDS = 5
TABLES = """
CREATE EXTENSION vector;
CREATE TABLE joined (seq BIGINT PRIMARY KEY, state BIGINT NOT NULL, vector vector NOT NULL) WITH (fillfactor = 80);
CREATE TABLE vectors (seq BIGINT PRIMARY KEY, vector vector NOT NULL);
CREATE TABLE states (seq BIGINT PRIMARY KEY, state BIGINT NOT NULL) WITH (fillfactor = 80);
"""
INDEXES = """
CREATE INDEX joined_near ON joined USING hnsw ((vector::vector({0})) vector_cosine_ops);
CREATE INDEX vectors_near ON vectors USING hnsw ((vector::vector({0})) vector_cosine_ops);
CREATE INDEX ON joined (state, seq);
CREATE INDEX ON states (state, seq);
"""


def churn(setting: Setting) -> Iterator[Measured]:
    """Compare both on a server that syncs to disk; yield nothing if it is not installed."""
    if find_spec(postgres.PACKAGE) is None or find_spec("psycopg") is None:
        setting.say("PostgreSQL is not installed: make bench DB=postgres")
        return
    import psycopg  # noqa: PLC0415 - not there where the server is not

    with (
        postgres.running({"fsync": "on", "maintenance_work_mem": "256MB"}) as server,
        psycopg.connect(server.url(), autocommit=True) as connection,
    ):
        rows = setting.sizes.rows // 10
        _fill(connection, rows, setting.sizes.dim)
        column: list[tuple[float, int]] = []
        beside: list[tuple[float, int]] = []
        for number in range(ROUNDS):
            for table, taken in (("joined", column), ("states", beside)):
                taken.append(_restate(connection, table, number))
        indexes = ("joined_near", "vectors_near")
        grown = {name: _one(connection, f"SELECT pg_relation_size('{name}')") for name in indexes}
    seconds, logged = ([median([one[at] for one in taken]) for taken in (column, beside)] for at in (0, 1))
    yield Measured(
        f"{rows // ONE_IN:,} of {rows:,} indexed rows change state: a column of the row vs a separate table",
        seconds[0] / seconds[1], "×",
        f"{seconds[0] * 1e3:.1f} ms vs {seconds[1] * 1e3:.1f} ms; log {logged[0] / (rows // ONE_IN):,.0f} vs "
        f"{logged[1] / (rows // ONE_IN):,.0f} bytes a row; the vectors' index after {ROUNDS} times: "
        f"{grown['joined_near'] / 1e6:.1f} vs {grown['vectors_near'] / 1e6:.1f} MB",
    )  # fmt: skip


def _fill(connection: Any, count: int, dim: int) -> None:
    rows = np.random.default_rng(3).standard_normal((count, dim), np.float32)
    connection.execute(TABLES.encode())
    with connection.cursor() as cursor, cursor.copy(b"COPY vectors FROM STDIN") as copy:
        for seq, row in enumerate(rows):
            copy.write_row((seq, "[" + ",".join(f"{x:.5f}" for x in row) + "]"))
    connection.execute(b"INSERT INTO joined SELECT seq, 0, vector FROM vectors")
    connection.execute(b"INSERT INTO states SELECT seq, 0 FROM vectors")
    connection.execute(INDEXES.format(dim).encode())


def _restate(connection: Any, table: str, number: int) -> tuple[float, int]:
    """Change the state of rows spread over a table; return the seconds, and the bytes of write-ahead log."""
    before = _one(connection, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
    began = time.perf_counter()
    connection.execute(f"UPDATE {table} SET state = state + 1 WHERE seq % {ONE_IN} = {number}".encode())
    seconds = time.perf_counter() - began
    return seconds, int(_one(connection, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn") - before)


def _one(connection: Any, sql: str) -> Any:
    return connection.execute(sql.encode()).fetchone()[0]
