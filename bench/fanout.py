"""Acknowledgement of a rollback by a thousand members, against a raw fan-out of notices."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import kedge
from bench.harness import Measured, Setting, interleave, median
from kedge.testing import postgres

ROOT = Path(__file__).parents[1]
DEPLOYMENT = "v2"
Processes = list["subprocess.Popen[str]"]


def members(setting: Setting) -> Iterator[Measured]:
    """Measure on a server that syncs to disk; yield nothing if it is not installed."""
    if find_spec(postgres.PACKAGE) is None or find_spec("psycopg") is None:
        setting.say("PostgreSQL is not installed: make bench DB=postgres")
        return
    with postgres.running({"fsync": "on", "shared_buffers": "256MB", "max_connections": "200"}) as server:
        url, count, each = server.url(), setting.sizes.processes, setting.sizes.members // setting.sizes.processes
        with kedge.open(url) as k:
            k.deploy(DEPLOYMENT, {"support/prompt": "x"}, canary=1.0)
            (asked,) = interleave(setting.sizes.rounds, lambda: [k.epoch for _ in range(100)])
            with processes(count, url, "0") as listening:
                heard = [_fan_out(url, listening) for _ in range(setting.sizes.flips)]
            with processes(count, url, str(each)):
                together = [_roll_back(k, count * each) for _ in range(setting.sizes.flips)]
            with processes(count, url, str(each), "alone"):
                alone = [_roll_back(k, count * each) for _ in range(setting.sizes.flips)]
    yield Measured("read of the epoch", median(asked) * 1e4, "µs", "twelve times a lease in each member")
    what = f"commit of a rollback to the last acknowledgement of {count * each:,} members"
    beside = f"raw NOTIFY to {count} listening processes: {median(heard) * 1e3:.1f} ms"
    yield Measured(
        f"{what}: {count} processes of {each}", median(together) * 1e3, "ms",
        f"slowest {max(together) * 1e3:.0f} ms; a row and lease a member, a listener a process; {beside}", at_most=250,
    )  # fmt: skip
    yield Measured(
        f"{what}, one transaction a member", median(alone) * 1e3, "ms",
        f"as separate processes do, over 4 connections in each of {count} processes; "
        f"{count * each / median(alone):,.0f} refreshes a second, synced",
    )  # fmt: skip


@contextmanager
def processes(count: int, url: str, *arguments: str) -> Iterator[Processes]:
    """Start the processes, and wait until each has joined."""
    command = [sys.executable, "-m", "bench.crowd", url, *arguments]
    with ExitStack() as stack:
        started: Processes = []
        for _ in range(count):
            process = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            started.append(stack.enter_context(process))
            assert process.stdin is not None
            stack.callback(process.stdin.close)
        for process in started:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline()) == "joined"
        yield started


def _fan_out(url: str, listening: Processes) -> float:
    """Return the seconds from a raw NOTIFY until the last process received it."""
    import psycopg  # noqa: PLC0415 - not there where the server is not

    with psycopg.connect(url, autocommit=True) as connection:
        began = time.monotonic()
        connection.execute("NOTIFY bench")
        heard = [float(process.stdout.readline()) for process in listening if process.stdout is not None]
    return max(heard) - began


def _roll_back(k: kedge.Kedge, members: int) -> float:
    """Return the seconds from the commit until the last acknowledgement."""
    time.sleep(0.5)  # the last epoch is acknowledged, and the processes are idle
    found = k.rollback(DEPLOYMENT).convergence
    assert found is not None
    assert found.seconds is not None
    assert found.acknowledged >= members
    k.reinstate(DEPLOYMENT)
    return found.seconds
