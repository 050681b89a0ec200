"""The LangGraph drill on PostgreSQL: LangGraph's savers and store, and Kedge, in databases of one server."""

import itertools
from contextlib import ExitStack
from pathlib import Path

import psycopg
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.store.postgres import PostgresStore

from examples import langgraph_drill_team as team

_TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes", "store")
_numbers = itertools.count(1)


def new_database(server: str) -> str:
    """Make a database on the server of an address, and return its address."""
    name = f"langgraph_drill_{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}".encode())
        connection.execute(f"CREATE DATABASE {name}".encode())
    return f"{server.rpartition('/')[0]}/{name}"


class OnPostgres(team.OnLangGraph):
    """Threads and items in LangGraph's PostgreSQL saver and store, vectors in Chroma where it is installed."""

    def __init__(self, server: str, folder: Path, stack: ExitStack) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.releases = folder, {"support": "v1", "billing": "v1"}
        self.server, self.url, self.snapshot_url = server, new_database(server), ""
        self.saver = stack.enter_context(PostgresSaver.from_conn_string(self.url))
        self.store = stack.enter_context(PostgresStore.from_conn_string(self.url))
        self.saver.setup()
        self.store.setup()
        self.cases = team.ChromaCases(folder / "chroma") if team.HAS_CHROMA else team.StoreCases(self.store)

    def snapshot(self) -> None:
        """Copy what is there, while nobody writes."""
        with ExitStack() as stack:
            copy = OnPostgres(self.server, self.folder / "unused", stack)  # it makes the tables
        self.snapshot_url = copy.url
        (self.folder / "snapshot").mkdir()
        _copy(self.url, self.snapshot_url)
        team.copy_vectors(self.folder, self.folder / "snapshot")

    def restored(self, stack: ExitStack) -> "OnPostgres":
        """Return a host with a copy of the snapshot."""
        (self.folder / "restored").mkdir()
        team.copy_vectors(self.folder / "snapshot", self.folder / "restored")
        host = OnPostgres(self.server, self.folder / "restored", stack)
        _copy(self.snapshot_url, host.url)
        return host

    def delete_checkpoints(self, keys: list[tuple[str, str, str]]) -> None:
        """Delete checkpoints and their pending writes: the saver itself deletes whole threads only."""
        with psycopg.connect(self.url) as connection, connection.cursor() as cursor:
            for table in ("checkpoints", "checkpoint_writes"):
                cursor.executemany(
                    f"DELETE FROM {table} WHERE (thread_id, checkpoint_ns, checkpoint_id) = (%s, %s, %s)".encode(), keys
                )


def _copy(source: str, target: str) -> None:
    """Copy the rows of LangGraph's tables into a database that has none."""
    with psycopg.connect(source) as old, psycopg.connect(target) as new:
        for table in _TABLES:
            with (
                old.cursor().copy(f"COPY {table} TO STDOUT (FORMAT BINARY)".encode()) as rows,
                new.cursor().copy(f"COPY {table} FROM STDIN (FORMAT BINARY)".encode()) as into,
            ):
                for part in rows:
                    into.write(part)
