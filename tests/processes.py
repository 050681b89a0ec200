"""Fork server: processes that run Python code of the tests, without importing Kedge anew each time.

`start` and `run` take the arguments of a `python` command (`-m MODULE …` or `-c CODE …`). The process is forked from
one that has imported Kedge and has one thread. Its parent is a keeper, which waits for it and reports how it ended.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 100.0  # a process that takes longer has failed
_PRELOADED = ("kedge.cli.main", "kedge.backends.sqlite.backend", "kedge.backends.postgres.backend", "tests.workers")


# ── the side of the tests ──


class Process:
    """A process, much like `subprocess.Popen`: a negative `returncode` is the signal that ended it."""

    def __init__(self, argv: Sequence[str], files: Sequence[int], environment: Mapping[str, str]) -> None:
        self._told, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(_server(), [b"."], [theirs.fileno(), *files])
        self._lines = self._told.makefile("rw", encoding="utf-8")
        request = {"argv": list(argv), "environment": {**os.environ, **environment}}
        self._lines.write(json.dumps(request) + "\n")
        self._lines.flush()
        self.pid = int(self._lines.readline())
        self.returncode: int | None = None

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float = SECONDS) -> int:
        """Wait until it has ended."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            self.returncode = int(self._lines.readline())
            self._lines.close()
            self._told.close()
        return self.returncode


class Talker(Process):
    """A process with pipes to its standard input and from its standard output."""

    def __init__(self, argv: Sequence[str], errors: IO[str] | IO[bytes]) -> None:
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        self.stdin = os.fdopen(ours_in, "w", encoding="utf-8")
        self.stdout = os.fdopen(ours_out, "r", encoding="utf-8")
        try:
            super().__init__(argv, [theirs_in, theirs_out, errors.fileno()], {})
        finally:
            os.close(theirs_in)
            os.close(theirs_out)


def run(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a process until it ends; return its exit code and all that it printed."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err, Path(os.devnull).open() as nothing:
        process = Process(argv, [nothing.fileno(), out.fileno(), err.fileno()], environment)
        try:
            code = process.wait()
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(argv, code, out.read(), err.read())


@functools.cache
def _server() -> socket.socket:
    """Start the server of this process."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", __name__, str(theirs.fileno())]
    path = os.pathsep.join(["src", "."])
    with theirs:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, pass_fds=[theirs.fileno()]
        )

    def stop() -> None:
        ours.close()
        process.wait()

    atexit.register(stop)
    return ours


# ── the server, the keeper of a process, and the process ──


def main(channel: socket.socket) -> None:
    """Fork a keeper for each request, until the tests end; return in a process that has done its work."""
    for name in _PRELOADED:
        with contextlib.suppress(ModuleNotFoundError):  # an extra
            importlib.import_module(name)
    assert threading.active_count() == 1
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the keepers are not waited for
    while True:
        asked, files, _, _ = socket.recv_fds(channel, 1, 4)
        if not asked:
            return
        if os.fork() == 0:
            channel.close()
            _keep(socket.socket(fileno=files[0]), files[1:])
            return
        for file in files:
            os.close(file)


def _keep(told: socket.socket, files: Sequence[int]) -> None:
    """Start the process and report its end; return in the process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with told, told.makefile("rw", encoding="utf-8") as lines:
        request = json.loads(lines.readline())
        pid = os.fork()
        if pid:
            for file in (0, 1, *files):
                os.close(file)
            lines.write(f"{pid}\n")
            lines.flush()
            _, status = os.waitpid(pid, 0)
            lines.write(f"{os.waitstatus_to_exitcode(status)}\n")
            lines.flush()
            os._exit(0)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    _become(*request["argv"])


def _become(option: str, what: str, *arguments: str) -> None:
    """Do what `python OPTION WHAT ARGUMENTS…` does."""
    from kedge.support import failpoints  # noqa: PLC0415 - the other side has no use for it

    if failpoints.ENVIRONMENT in os.environ:
        failpoints.arm_from(os.environ[failpoints.ENVIRONMENT])
    sys.argv = [what if option == "-m" else option, *arguments]
    if option == "-m":
        sys.modules.pop(what, None)
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
