"""Writes: batches, single durable writes, and the start of a turn."""

import itertools
from collections.abc import Iterator

import kedge
from bench.harness import Measured, Setting, interleave, median, micro, ratio
from bench.raw import RawWriter
from kedge.model.writes import encode

TEXT = "Where is my order? It was to arrive on Friday, and the tracking page has not changed since. "


def batches(setting: Setting) -> Iterator[Measured]:
    """Compare a batch of messages with executemany of the same rows."""
    size = setting.sizes.batch
    messages = [("user" if i % 2 else "assistant", f"{TEXT}{i}") for i in range(size)]
    payloads = [encode({"role": role, "content": content}) for role, content in messages]
    journal, everything = RawWriter(setting.fresh("batch-journal")), RawWriter(setting.fresh("batch-all"))
    try:
        with kedge.open(setting.fresh("batch-kedge")) as k, k.turn(session="s", agent="a") as turn:

            def prepare() -> None:
                journal.prepare(payloads)
                everything.prepare(payloads)

            raw, ours, raw_all = interleave(
                setting.sizes.rounds,
                journal.write_journal,
                lambda: turn.memory.extend(messages),
                everything.write_all,
                prepare=prepare,
            )
    finally:
        journal.close()
        everything.close()
    yield Measured(
        f"batch append of {size:,}: rate vs executemany into `writes` and its indexes",
        1 / ratio(ours, raw), "×", f"{micro(ours)} vs {micro(raw)}; {size / median(ours):,.0f} writes/s", at_least=0.5,
    )  # fmt: skip
    yield Measured(
        f"batch append of {size:,}: rate vs executemany into all tables that Kedge writes",
        1 / ratio(ours, raw_all), "×", f"{micro(ours)} vs {micro(raw_all)} (writes, heads, counters, turns)",
    )  # fmt: skip


def single(setting: Setting) -> Iterator[Measured]:
    """Compare one durable write with the same row in a transaction of its own."""
    value = {"status": "shipped", "carrier": "northern", "note": TEXT}
    count = setting.sizes.puts
    raw = RawWriter(setting.fresh("single-raw"))
    numbers = itertools.count()
    try:
        with kedge.open(setting.fresh("single-kedge")) as k, k.turn(session="s", agent="a") as turn:

            def ours() -> None:
                for _ in range(count):
                    turn.context.put(f"case/{next(numbers)}", value)

            def theirs() -> None:
                for _ in range(count):
                    raw.write_one()

            def prepare() -> None:
                raw.prepare([encode(value)] * count, "case/")

            seconds = interleave(setting.sizes.rounds, ours, theirs, prepare=prepare)
    finally:
        raw.close()
    yield Measured(
        "single durable write: time vs BEGIN IMMEDIATE; INSERT; COMMIT of the same row",
        ratio(*seconds), "×", f"{micro(seconds[0], count)} vs {micro(seconds[1], count)}", at_most=3,
    )  # fmt: skip


def turns(setting: Setting) -> Iterator[Measured]:
    """Measure the start of a turn."""
    count = setting.sizes.puts
    numbers = itertools.count()
    with kedge.open(setting.fresh("turns")) as k:
        k.deploy("v1", {"support/prompt": TEXT, "support/model": {"name": "m", "at": 7}})
        k.promote("v1")
        k.settle("v1")
        k.turn(session="known", agent="support").close()

        def again() -> None:
            for _ in range(count):
                k.turn(session="known", agent="support").close()

        def fresh() -> None:
            for _ in range(count):
                k.turn(session=f"s-{next(numbers)}", agent="support").close()

        known, new = interleave(setting.sizes.rounds, again, fresh)
    yield Measured("start of a turn in a known session", median(known) / count * 1e6, "µs", "no durable write")
    yield Measured("start of a turn in a new session", median(new) / count * 1e6, "µs", "one durable write")
