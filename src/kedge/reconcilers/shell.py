"""Shell reconciler: one command prints what runs, another applies what is pinned."""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from kedge.errors import InvalidValue
from kedge.model.artifacts import Artifact, plain
from kedge.model.secrets import redact, secrets_of_command
from kedge.reconcilers.limits import limit
from kedge.support.fork_lock import ForkSafeLock

_SHOWN_CHARACTERS = 200
_VALUE_CHARACTERS = 10_000  # in the environment, whose size is limited


class CommandFailed(Exception):
    """A command failed, or did not end in time."""


class ShellReconciler:
    """Runs commands: a string through `/bin/sh -c`, a list as it is.

    `observe` prints what runs now, or nothing. Both commands have `KEDGE_KEY` in their environment; `converge` also has
    `KEDGE_DIGEST`, `KEDGE_URI`, `KEDGE_VERSION` and `KEDGE_VALUE` (empty if the pin has none; a long or non-text value
    is empty too), and reads the whole pin as JSON from stdin. Errors are journaled, so they never contain the command
    line; what it prints to stderr is redacted.
    """

    def __init__(
        self,
        artifacts: str,
        *,
        observe: str | Sequence[str],
        converge: str | Sequence[str],
        timeout_seconds: float = 10.0,
        deadline_seconds: float = 60.0,
    ) -> None:
        self.artifacts = artifacts
        self.timeout_seconds = timeout_seconds
        self.deadline_seconds = deadline_seconds
        self._observe = _argv("observe", observe)
        self._converge = _argv("converge", converge)
        self._running: dict[subprocess.Popen[bytes], int] = {}  # with the process that started it: a fork kills nothing
        self._lock = ForkSafeLock()

    def observe(self, key: str, timeout: float) -> str | None:
        """Return what the command printed, stripped; None if it printed nothing."""
        printed = self._run("observe", self._observe, {"KEDGE_KEY": key}, b"", timeout)
        try:
            return printed.decode().strip() or None
        except UnicodeDecodeError:
            raise CommandFailed("the observe command printed bytes that are not UTF-8; print text") from None

    def converge(self, key: str, pin: Artifact, timeout: float) -> None:
        """Run the command, and raise unless it exits with 0."""
        given = {
            "KEDGE_KEY": key,
            "KEDGE_DIGEST": pin.digest,
            "KEDGE_URI": pin.uri or "",
            "KEDGE_VERSION": pin.version or "",
            "KEDGE_VALUE": pin.value if isinstance(pin.value, str) and len(pin.value) <= _VALUE_CHARACTERS else "",
        }
        self._run("converge", self._converge, given, msgspec.json.encode(plain(key, pin)), timeout)

    def _run(self, what: str, argv: list[str], given: dict[str, str], stdin: bytes, timeout: float) -> bytes:
        seconds, which = limit(self.timeout_seconds, timeout)
        process = subprocess.Popen(  # noqa: S603 - the configuration of the reconciler
            argv,
            env={**os.environ, **given},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,  # so that its child processes end with it
        )
        with self._lock.here:
            self._running[process] = os.getpid()
        try:
            printed, complaint = process.communicate(stdin, timeout=seconds)
        except BaseException as error:
            _kill(process)
            _reap(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise CommandFailed(f"the {what} command did not end within {which}, and was killed") from None
            raise
        finally:
            with self._lock.here:
                self._running.pop(process, None)
        if process.returncode:
            known = secrets_of_command(argv, os.environ)
            said = redact(complaint.decode(errors="replace").strip(), known)[-_SHOWN_CHARACTERS:]
            raise CommandFailed(f"the {what} command exited with {process.returncode}{f': {said}' if said else ''}")
        return printed

    def interrupt(self) -> None:
        """Kill the commands that run."""
        with self._lock.here:
            running = [process for process, starter in self._running.items() if starter == os.getpid()]
        for process in running:
            _kill(process)


def _argv(what: str, command: str | Sequence[str]) -> list[str]:
    argv = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
    if not command or not all(isinstance(word, str) for word in argv):
        raise InvalidValue(
            f"invalid {what} command ({type(command).__name__}): must be a shell command line or a list of words"
        )
    return argv


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a running command, with all processes in its group."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):  # macOS raises the latter if only zombies are left
            os.killpg(process.pid, signal.SIGKILL)


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Reap a killed command, even if other processes still hold the other ends of its pipes."""
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):  # its unread input is lost with it
                pipe.close()
