"""Claims of this process on inputs that it replays: taken, renewed in the background, and given back."""

import os
import platform
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from kedge.errors import KedgeError, Retryable
from kedge.model.claims import Claim, decode_claim
from kedge.ports.clock import lease_clock
from kedge.turns.kernel import Kernel

CLAIM_SECONDS = 30.0
_RENEWALS = 3  # within the time of one claim


class ReplayClaim:
    """The claim on one input, held while the block runs. `taken` says whether this process got it.

    A claim is free once it has expired, or once its process is dead on this machine.
    """

    def __init__(self, kernel: Kernel, seq: int, seconds: float = CLAIM_SECONDS) -> None:
        self._kernel, self._log = kernel, kernel.backend.replay_log
        self._seq, self._seconds = seq, seconds
        self._ident = kernel.backend.clock.fresh_id()
        self._clock = lease_clock(kernel.backend.clock)
        self._held: str | None = None
        self._until = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="kedge-replay-claim", daemon=True)

    @property
    def taken(self) -> bool:
        """Whether this process holds the claim, or held it until it ran out."""
        return self._held is not None

    def check(self) -> None:
        """Raise `Retryable` if the claim has run out: another process may be replaying this input."""
        if self._clock.elapsed() > self._until:
            raise Retryable(
                f"this process lost its claim on the input at seq {self._seq}: it did not run for {self._seconds:g} s; "
                "another process may replay it; call replay again"
            )

    def __enter__(self) -> Self:
        """Try to take the claim."""
        there = self._log.holder(self._seq)
        if self._is_free(decode_claim(there)) and self._take(there):
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the claim back."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._held is not None:
            with suppress(KedgeError):  # it runs out by itself
                self._log.release(self._seq, self._held)

    def _is_free(self, claim: Claim | None) -> bool:
        if claim is None or claim.expires < self._kernel.backend.clock.now():
            return True
        return claim.machine == _machine() and not _is_alive(claim.pid)

    def _take(self, there: str | None) -> bool:
        sent = self._clock.elapsed()
        expires = self._kernel.backend.clock.now() + self._seconds
        mine = Claim(expires, os.getpid(), _machine(), self._ident).encode()
        if not self._log.claim(self._seq, there, mine):
            return False
        self._held, self._until = mine, sent + self._seconds
        return True

    def _renew(self) -> None:
        while not self._stop.wait(self._seconds / _RENEWALS):
            try:
                if not self._take(self._held):
                    return
            except KedgeError:
                continue  # tried again; `check` refuses writes once it has run out


def _machine() -> str:
    """Return what tells machines, and containers with pids of their own, apart."""
    space = ""
    with suppress(OSError):
        space = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    return f"{platform.node()}/{space}".replace(":", "_")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
