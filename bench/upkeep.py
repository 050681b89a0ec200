"""For information: load, plan, verify and purge of a large database."""

from collections.abc import Iterator

import kedge
from bench.big import BAD, TEXT
from bench.harness import Measured, Setting, timed

WIDE = "v3"


def upkeep(setting: Setting) -> Iterator[Measured]:
    """Measure once what is done seldom; the last of it destroys what the others need."""
    built = setting.big
    yield Measured("load through public calls", built.writes_per_second, "writes/s", "batches, full durability")
    with kedge.open(built.big) as k:
        yield _plan(k, BAD, f"plan of a rollback of a tenth of {built.writes:,} writes")
        turns = max(10, built.writes // 1_000)
        _many_turns(k, turns)
        yield _plan(k, WIDE, f"plan a rollback of {turns:,} turns among {built.writes:,} writes")
        k.rollback(BAD, verify=False)
        taken: list[float] = []
        with timed(taken):
            assert k.fsck().ok
        yield Measured(f"sampled fsck of {built.writes:,} writes", taken.pop(), "s")
        with timed(taken):
            assert k.fsck(full=True).ok
        yield Measured("full fsck", built.writes / taken[0], "writes/s", f"{taken.pop():.1f} s")
        with timed(taken):
            report = k.purge(BAD, confirm=BAD)
        yield Measured("purge", report.erased_writes / taken[0], "writes/s", f"{taken[0]:.2f} s")


def _plan(k: kedge.Kedge, name: str, what: str) -> Measured:
    taken: list[float] = []
    with timed(taken):
        plan = k.plan(name)
    return Measured(what, taken[0], "s", f"{plan.writes_total:,} writes vanish", at_most=1)


def _many_turns(k: kedge.Kedge, turns: int) -> None:
    k.deploy(WIDE, {"support/tools": "three"})
    for number in range(turns):
        with k.turn(f"wide-{number % 50}", "support", deployment=WIDE) as turn:
            turn.memory.extend([("user", TEXT)])
            turn.memory.append("assistant", TEXT)
            turn.context.put(f"case/{number}", number)
