"""Costs of a member on the hot path, and the time to the last acknowledgement of a rollback."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import kedge
from bench.harness import Action, Measured, Setting, interleave, median, micro, ratio
from kedge.model.visibility import View
from kedge.turns.artifact_cache import AgentArtifacts
from kedge.turns.kernel import Kernel

ROOT = Path(__file__).parents[1]
CALLS = 1_000
PROCESSES = 4
DEPLOYMENT = "v2"


def leases(setting: Setting) -> Iterator[Measured]:
    """Compare a turn's level in a member with one read from the store, and measure the check of the lease."""
    folder = setting.fresh("leases")
    with kedge.open(folder) as k, kedge.open(folder) as other:
        k.deploy("v1", {"support/prompt": "x"})
        k.promote("v1")
        with k.join("bench") as member, k.turn(agent="support") as inside, other.turn(agent="support") as outside:
            level, store, lease, pinned, begun, elsewhere, in_session = interleave(
                setting.sizes.rounds,
                _many(lambda: inside.level),
                _many(lambda: outside.level),
                _many(member.check),
                _many(lambda: _pin(k._kernel)),
                _many(lambda: k.turn(agent="support").close()),
                _many(lambda: other.turn(agent="support").close()),
                _many(lambda: k.turn(session="s", agent="support").close()),
            )
    each = 1e6 / CALLS
    yield Measured("turn.level in a member, no change pending", median(level) * each, "µs", "no I/O", at_most=5)
    yield Measured(
        "turn.level in a member vs a read from the store", ratio(level, store), "×",
        f"{micro(level, CALLS)} vs {micro(store, CALLS)}",
    )  # fmt: skip
    yield Measured("check of the lease before each call", median(lease) * each, "µs", "no I/O", at_most=5)
    yield Measured(
        "pin of a view in a member, no change pending", median(pinned) * each, "µs",
        "control record, its view, the agent's artifacts; no I/O", at_most=5,
    )  # fmt: skip
    yield Measured(
        "start of an agent's turn: in a member vs in another process", ratio(begun, elsewhere), "×",
        f"{micro(begun, CALLS)}, no I/O, vs {micro(elsewhere, CALLS)}, which reads the epoch",
    )  # fmt: skip
    yield Measured(
        "start of an agent's turn in a known session, in a member", median(in_session) * each, "µs", "one statement"
    )


def _pin(kernel: Kernel) -> AgentArtifacts | None:
    """Do what a turn does to pin its view."""
    record = kernel.record()
    return kernel.artifact_cache.get(View(record.epoch, record.seen_by(record.live), record.settled), "support")


def _many(call: Action) -> Action:
    def repeated() -> None:
        for _ in range(CALLS):
            call()

    return repeated


def acknowledgements(setting: Setting) -> Iterator[Measured]:
    """Measure the time from the commit of a rollback to the acknowledgements of separate processes."""
    folder = setting.fresh("acknowledgements")
    with kedge.open(folder) as k, ExitStack() as stack:
        k.deploy(DEPLOYMENT, {"support/prompt": "x"}, canary=1.0)
        for _ in range(PROCESSES):
            process = stack.enter_context(_member(folder))
            assert process.stdin is not None
            stack.callback(process.stdin.close)
        delays = []
        for number in range(setting.sizes.flips):
            time.sleep(0.05 + number % 7 * 0.003)
            found = k.rollback(DEPLOYMENT).convergence
            assert found is not None
            assert found.acknowledged == PROCESSES
            delays.append(found.seconds or 0.0)
            k.reinstate(DEPLOYMENT)
    yield Measured(
        f"commit of a rollback to the last acknowledgement of {PROCESSES} processes",
        median(delays) * 1e3, "ms", f"median; slowest {max(delays) * 1e3:.1f} ms", at_most=250,
    )  # fmt: skip


def _member(folder: Path) -> "subprocess.Popen[str]":
    """Start a process, and wait until it has joined."""
    command = [sys.executable, "-m", "bench.member", str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == "joined"
    return process
