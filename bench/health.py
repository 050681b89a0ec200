"""Cost of `k.guard.health()` at many writes and at few, and of `kedge health` as a process."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import kedge
from bench.big import BAD
from bench.harness import Measured, Setting, interleave, median, ratio
from kedge.model.fleet import Standing
from kedge.turns.scope import scope_of


def health(setting: Setting) -> Iterator[Measured]:
    """Measure it after a rollback, with members, so that every check has something to look at."""
    built, members = setting.big, setting.sizes.members
    with kedge.open(built.big) as big, kedge.open(built.small) as small:
        for k in (big, small):
            k.rollback(BAD, verify=False)
            _join(k, members)
        many, few = interleave(setting.sizes.rounds, big.guard.health, small.guard.health)
        command = [sys.executable, "-m", "kedge.cli.main", "health", "--db", str(built.big), "--json"]
        call = partial(subprocess.run, command, check=False, capture_output=True)
        (process,) = interleave(min(5, setting.sizes.rounds), call, warm_up=1)
        for k in (big, small):
            _leave(k)
            k.reinstate(BAD)
    yield Measured(
        f"health: time at {built.writes:,} writes vs at {built.few_writes:,}",
        ratio(many, few), "×", f"{median(many) * 1e3:.1f} ms vs {median(few) * 1e3:.1f} ms", at_most=10,
    )  # fmt: skip
    yield Measured(f"health at {built.writes:,} writes, {members:,} members", median(many) * 1e3, "ms", at_most=250)
    yield Measured("`kedge health`, whole process", median(process) * 1e3, "ms")


def _join(k: kedge.Kedge, count: int) -> None:
    backend = scope_of(k.view()).backend
    now, epoch = backend.clock.now(), backend.control.epoch()
    for number in range(count):
        backend.fleet.refresh(Standing(f"m-{number}", f"m-{number}", "h", number, (), 3600.0, epoch, now, now))


def _leave(k: kedge.Kedge) -> None:
    fleet = scope_of(k.view()).backend.fleet
    for member in fleet.members():
        fleet.leave(member.uid)
