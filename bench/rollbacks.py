"""Costs that must not depend on size: commit of a rollback, notice in other processes, idle memory."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import kedge
from bench.big import BAD
from bench.harness import Measured, Setting, commit_time, median, ratio, timed

ROOT = Path(__file__).parents[1]


def commits(setting: Setting) -> Iterator[Measured]:
    """Compare the commit at many writes with the commit at few, each followed by a reinstatement."""
    built = setting.big
    many: list[float] = []
    few: list[float] = []
    whole: list[float] = []
    with kedge.open(built.big) as big, kedge.open(built.small) as small:
        for number in range(-2, setting.sizes.flips):
            for k, taken in ((big, many), (small, few)):
                seconds = commit_time(partial(k.rollback, BAD, verify=False))
                if number >= 0:
                    taken.append(seconds)
                k.reinstate(BAD)
        for _ in range(min(3, setting.sizes.flips)):
            with timed(whole):
                big.rollback(BAD)
            big.reinstate(BAD)
    yield Measured(
        f"rollback commit: time at {built.writes:,} writes vs at {built.few_writes:,}",
        ratio(many, few), "×", f"{median(many) * 1e3:.2f} ms vs {median(few) * 1e3:.2f} ms", at_most=1.5,
    )  # fmt: skip
    yield Measured(f"rollback commit at {built.writes:,} writes", median(many) * 1e3, "ms", at_most=20)
    yield Measured(f"rollback with verification at {built.writes:,} writes", median(whole) * 1e3, "ms")
    disk = sum(file.stat().st_size for file in built.big.rglob("*") if file.is_file())
    share = f"batches of {setting.sizes.load_batch:,}, {setting.sizes.vectors_per_cent} in 100 vectors of 64 numbers"
    yield Measured(f"load of {built.writes:,} writes", built.writes_per_second, "writes/s", share)
    yield Measured("disk of one write, with indexes and heads", disk / built.writes, "bytes", "all files")


def notices(setting: Setting) -> Iterator[Measured]:
    """Measure the time from the call of a rollback to its notice in a second process."""
    built = setting.big
    command = [sys.executable, "-m", "bench.observer", str(built.big)]
    with (
        subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as observer,
        kedge.open(built.big) as k,
    ):
        assert observer.stdin is not None
        assert observer.stdout is not None
        assert observer.stdout.readline() == "ready\n"
        delays = []
        for number in range(setting.sizes.flips):
            time.sleep(0.05 + number % 7 * 0.003)
            called = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            epoch = k.rollback(BAD, verify=False).epoch
            heard, at = map(int, observer.stdout.readline().split())
            assert heard == epoch
            delays.append((at - called) / 1e9)
            k.reinstate(BAD)
            observer.stdout.readline()
        observer.stdin.close()
    yield Measured(
        "call of a rollback to its notice in a second process",
        median(delays) * 1e3, "ms", f"median; slowest {max(delays) * 1e3:.1f} ms", at_most=50,
    )  # fmt: skip


def memory(setting: Setting) -> Iterator[Measured]:
    """Measure the memory of a process that has the big database open."""
    built = setting.big
    command = [sys.executable, "-m", "bench.idle", str(built.big)]
    answer = subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    held = json.loads(answer.stdout)
    mega = 1e6
    yield Measured(
        f"resident memory with {built.writes:,} writes open, without segment files",
        held["used"] / mega, "MB",
        f"before opening {held['before'] / mega:.0f}, opened {held['opened'] / mega:.0f}, after a turn that read "
        f"from every store {held['used'] / mega:.0f}; segment files {held['mapped'] / mega:.0f}", at_most=150,
    )  # fmt: skip
