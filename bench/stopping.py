"""Recognition of a stop by a thousand members: from the commit of an entry to each acknowledgement, and by a file."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import kedge
from bench.fanout import ROOT, processes
from bench.harness import Measured, Setting, median
from kedge.model.ladder import effective
from kedge.model.stop_file import ALL_OFF
from kedge.testing import postgres
from kedge.turns.stop_files import StopFiles, remove_stop, write_stop

TARGET_MILLISECONDS = 500


def stopping(setting: Setting) -> Iterator[Measured]:
    """Measure on both backends; on PostgreSQL only where it is installed."""
    with tempfile.TemporaryDirectory() as folder:
        yield from _recorded(setting, f"sqlite:///{folder}/kedge.db", "SQLite")
        yield from _by_file(setting, Path(folder))
    if find_spec(postgres.PACKAGE) is None or find_spec("psycopg") is None:
        setting.say("PostgreSQL is not installed: make bench DB=postgres")
        return
    with postgres.running({"fsync": "on", "shared_buffers": "256MB", "max_connections": "200"}) as server:
        yield from _recorded(setting, server.url(), "PostgreSQL")


def _recorded(setting: Setting, url: str, backend: str) -> Iterator[Measured]:
    count, each = setting.sizes.processes, setting.sizes.members // setting.sizes.processes
    commits: list[float] = []
    halves: list[float] = []
    nearly: list[float] = []
    last: list[float] = []
    with kedge.open(url) as k, processes(count, url, str(each)):
        for _ in range(setting.sizes.flips):
            time.sleep(0.5)  # the last epoch is acknowledged, and the processes are idle
            found = k.ladder.stop("off", reason="bench", wait=30.0)
            assert len(found.recognition.by_member) >= count * each, found.recognition.unconfirmed
            commits.append(found.level_commit_seconds)
            for seconds, into in zip(
                found.recognition.level_recognition_seconds.values(), (halves, nearly, last), strict=True
            ):
                assert seconds is not None
                into.append(seconds)
            k.ladder.loosen(found.entry)
    yield Measured(f"level_commit_seconds, {backend}", median(commits) * 1e3, "ms", "one entry, synced to disk")
    yield Measured(
        f"level_recognition_seconds of {count * each:,} members, {backend}", max(last) * 1e3, "ms",
        f"to the last of {count} processes of {each}, slowest of {len(last)} stops; median of p50 "
        f"{median(halves) * 1e3:.0f}, p99 {median(nearly) * 1e3:.0f}, max {median(last) * 1e3:.0f} ms",
        at_most=TARGET_MILLISECONDS,
    )  # fmt: skip


def _by_file(setting: Setting, folder: Path) -> Iterator[Measured]:
    """Measure how long processes take to obey a file, which they look at as turns do."""
    path = folder / "STOP"
    seconds = []
    with ExitStack() as stack:
        watching = [stack.enter_context(_watcher(path)) for _ in range(setting.sizes.processes)]
        for process in watching:
            stack.callback(process.kill)
            _heard(process)
        for _ in range(setting.sizes.flips):
            began = time.monotonic()
            write_stop(path, ALL_OFF)
            seconds.append(max(_heard(process) for process in watching) - began)
            remove_stop(path)
            for process in watching:
                _heard(process)
    yield Measured(
        f"stop file to the last of {setting.sizes.processes} processes", max(seconds) * 1e3, "ms",
        f"slowest of {len(seconds)}; median {median(seconds) * 1e3:.1f} ms", at_most=TARGET_MILLISECONDS,
    )  # fmt: skip
    files = StopFiles([path])
    yield Measured("look at a stop file that is not there", _each(lambda: files.entries, 100_000) * 1e6, "µs")


def _watcher(path: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "bench.stopping", str(path)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE)


def _heard(process: "subprocess.Popen[str]") -> float:
    assert process.stdout is not None
    return float(json.loads(process.stdout.readline()))


def _each(act: Callable[[], object], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        act()
    return (time.perf_counter() - began) / times


def watch(path: Path) -> None:
    """Print when the level changed, on the machine's monotonic clock, until the process is killed."""
    files, before = StopFiles([path]), None
    while True:
        level = effective(files.entries)
        if level is not before:
            print(json.dumps(time.monotonic()), flush=True)
            before = level
        time.sleep(0.001)


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
