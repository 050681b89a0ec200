"""A process that simulates many members until its input ends: `python -m bench.crowd URL COUNT [alone]`, on SQLite too.

Each member has its own lease, row, refreshes and acknowledgement, through the code of a member: `renew` decides, the
fleet's port writes. The process listens once for all of them. Simultaneous refreshes share a transaction, as in one
process; with `alone` each member has its own transaction, like a separate process. With a COUNT of 0 the process only
prints when a notice came.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from kedge.model.fleet import NO_EPOCH, Lease, Refresh, Standing, renew
from kedge.open import _backend
from kedge.ports.backend import Backend

LEASE_SECONDS = 60.0
LOOK_SECONDS = 0.002
CONNECTIONS = 4  # of those that refresh alone


def _one_by_one(backend: Backend) -> Callable[[Standing], int]:
    """Return a refresh that shares its transaction with no other: PostgreSQL's does otherwise."""
    refresh: Callable[[list[Standing]], int] = backend.fleet._refresh  # type: ignore[attr-defined]
    return lambda said: refresh([said])


class Crowd:
    """Many members on one backend."""

    def __init__(self, backend: Backend, count: int, *, is_alone: bool) -> None:
        now = backend.clock.now()
        self._backend = backend
        self._refresh = _one_by_one(backend) if is_alone else backend.fleet.refresh
        self._pool = ThreadPoolExecutor(CONNECTIONS if is_alone else count)
        self._members = [
            (Lease(LEASE_SECONDS), Standing(uid, f"m{n}", "bench", n, (), LEASE_SECONDS, NO_EPOCH, now, now))
            for n, uid in enumerate(backend.clock.fresh_id() for _ in range(count))
        ]

    def refresh(self, heard: int) -> None:
        """Bring every member to an epoch."""
        list(self._pool.map(lambda member: self._renew(member[0], member[1], heard), self._members))

    def _renew(self, lease: Lease, standing: Standing, heard: int) -> None:
        steps = renew(lease, time.monotonic, heard)
        step = next(steps, None)
        while step is not None:
            epoch = step.epoch
            if isinstance(step, Refresh):
                epoch = self._refresh(msgspec.structs.replace(standing, epoch=epoch, at=self._backend.clock.now()))
            try:
                step = steps.send(epoch)
            except StopIteration:
                step = None

    def leave(self) -> None:
        """Remove all members."""
        list(self._pool.map(lambda member: self._backend.fleet.leave(member[1].uid), self._members))
        self._pool.shutdown()

    def is_due(self) -> bool:
        """Say whether a lease is due."""
        return any(lease.is_due(time.monotonic()) for lease, _ in self._members)


def members(url: str, count: int, over: threading.Event, *, is_alone: bool) -> None:
    """Join, print that, and acknowledge every epoch."""
    backend = _backend(url, cache_bytes=1_000)
    crowd = Crowd(backend, count, is_alone=is_alone)
    hint = backend.change_hint()
    crowd.refresh(backend.control.epoch())
    print(json.dumps("joined"), flush=True)
    while not over.wait(LOOK_SECONDS):
        found = backend.change_hint()
        if found != hint or crowd.is_due():
            hint = found
            crowd.refresh(backend.control.epoch())
    crowd.leave()
    backend.close()


def listener(url: str, over: threading.Event) -> None:
    """Print when notices came, on the machine's monotonic clock."""
    import psycopg  # noqa: PLC0415 - not there where the server is not

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("LISTEN bench")
        print(json.dumps("joined"), flush=True)
        while not over.is_set():
            for _ in connection.notifies(timeout=0.2, stop_after=1):
                print(time.monotonic(), flush=True)


def main(url: str, count: int, *, is_alone: bool) -> None:
    """Run until the input ends."""
    over = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    if count:
        members(url, count, over, is_alone=is_alone)
    else:
        listener(url, over)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), is_alone="alone" in sys.argv[3:])
