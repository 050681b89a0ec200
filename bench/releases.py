"""Control record and releases: the record's size after a year of releases, and what one release costs late."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import kedge
from bench.harness import Measured, Setting, interleave, median, micro, ratio
from kedge.model import control as rules
from kedge.model import transitions
from kedge.model.control import ControlRecord
from kedge.model.record_format import encode_record, log_form

LIVE, PEERS = 200, 1_000
BOUND_BYTES = 64 << 10
LOGGED = 500  # the log of so many changes is measured
CHAINED = 300
SAMPLED = 150


def changes(releases: int, *, live: int = LIVE, peers: int = PEERS) -> Iterator[ControlRecord]:
    """Yield the records of a history: releases settled and purged in turn, the live ones each on the one before."""
    record, base = ControlRecord(), list[int]()
    for number in range(releases):
        if number % max(1, releases // peers) == 0 and len(record.peers) < peers:
            record = transitions.stage(record, "", artifacts=(), bases=(), kind=rules.EXTERNAL, now=1.0, by="crm")
            yield record
        name, now = f"support-2026-{number:05}", 1_700_000_000.123 + 900 * number
        made = record.next_number
        record = transitions.stage(record, name, artifacts=("support/prompt",), bases=base, now=now, by="ann")
        yield record
        if number % 2:
            record = transitions.roll_back(record, name, now=now, by="ann")
            yield record
            record, _ = transitions.purge(record, name)
            yield record
            continue
        record = transitions.promote(record, name, now=now, by="ann")
        yield record
        base.append(made)
        if len(base) > live:
            record = transitions.settle(record, record.by_number[base.pop(0)])
            yield record


def record_after(releases: int, *, live: int = LIVE, peers: int = PEERS) -> ControlRecord:
    """Return the record after that history."""
    *_, record = changes(releases, live=live, peers=peers)
    return record


def record(setting: Setting) -> Iterator[Measured]:
    """Measure the record after all releases, and the log of the last changes."""
    releases = setting.sizes.releases
    setting.say(f"computing {releases:,} releases")
    last: list[ControlRecord] = []
    for one in changes(releases):
        last = [*last[-LOGGED:], one]
    stored = encode_record(last[-1])
    what = f"{len(last[-1].live - last[-1].peers)} live, {len(last[-1].peers):,} peers"
    yield Measured(
        f"control record after {releases:,} releases, settled and purged in turn", len(stored), "bytes", what,
        at_most=BOUND_BYTES,
    )  # fmt: skip
    newest = (last[0].epoch, encode_record(last[0]))
    sizes = []
    for before, after in itertools.pairwise(last):
        newest = (after.epoch, log_form(before, after, encode_record(after), newest))
        sizes.append(len(newest[1]))
    share = sum(sizes) / len(sizes) / len(stored)
    yield Measured("log of one change, as a share of the record", share, "×", f"{sum(sizes) // len(sizes):,} bytes")


def cycles(setting: Setting) -> Iterator[Measured]:
    """Compare a release in a database with many behind it with one in a new database."""
    count, rounds = setting.sizes.cycles, setting.sizes.rounds
    with _open(setting, "many") as many, _open(setting, "few") as few:
        setting.say(f"making {count:,} releases")
        for number in range(count):
            _cycle(many, f"v{number}")
        numbers = itertools.count(count)
        late, early = interleave(
            rounds, lambda: _cycle(many, f"v{next(numbers)}"), lambda: _cycle(few, f"v{next(numbers)}")
        )
        detail = f"{micro(late)} vs {micro(early)}"
        yield Measured(
            f"deploy, promote and settle after {count:,} of them vs none", ratio(late, early), "×", detail, 1.5
        )
        yield from _statuses(setting, many, few, count)
        yield Measured("disk of one release", _disk(setting.fresh("many")) / count, "bytes")


def _statuses(setting: Setting, many: kedge.Kedge, few: kedge.Kedge, count: int) -> Iterator[Measured]:
    """Compare the look for unfinished operations, which `status` and `recover` begin with."""
    late, early = interleave(setting.sizes.rounds, many.recover, few.recover)
    yield Measured(
        f"recover, where nothing is unfinished, after {count:,} releases vs after a few", ratio(late, early), "×",
        f"{micro(late)} vs {micro(early)}", at_most=1.5,
    )  # fmt: skip
    with _open(setting, "some") as some:  # as many as status takes samples
        for number in range(SAMPLED):
            _cycle(some, f"v{number}")
        late, early = interleave(setting.sizes.rounds, many.status, some.status)
    detail = f"{micro(late)} vs {micro(early)}"
    yield Measured(f"status after {count:,} releases vs {SAMPLED}", ratio(late, early), "×", detail, at_most=2)


def chained(setting: Setting) -> Iterator[Measured]:
    """Compare a deploy on many unsettled releases of one prompt with one on a few."""
    with _open(setting, "chain") as chain, _open(setting, "short") as short:
        setting.say(f"making {CHAINED} unsettled releases of one prompt")
        for k, count in ((chain, CHAINED), (short, 2)):
            for number in range(count):
                k.deploy(f"v{number}", {"support/prompt": str(number)})
                k.promote(f"v{number}")
        numbers = itertools.count(CHAINED)
        late, early = interleave(
            min(9, setting.sizes.rounds),
            lambda: chain.deploy(f"late{next(numbers)}", {"support/prompt": "late"}),
            lambda: short.deploy(f"early{next(numbers)}", {"support/prompt": "early"}, independent=True),
        )
        alone, free = interleave(
            min(9, setting.sizes.rounds),
            lambda: chain.deploy(f"alone{next(numbers)}", {"other/prompt": "alone"}),
            lambda: short.deploy(f"free{next(numbers)}", {"other/prompt": "free"}),
        )
        what = f"deploy at {CHAINED} unsettled releases vs at 2"
        yield Measured(f"{what}, of the same prompt", ratio(late, early), "×", f"{micro(late)} vs {micro(early)}", 2)
        yield Measured(f"{what}, of another prompt", ratio(alone, free), "×", f"{micro(alone)} vs {micro(free)}", 2)
        yield Measured("deploy on a chain", median(late) * 1e3, "ms")


def _open(setting: Setting, name: str) -> kedge.Kedge:
    return kedge.open(setting.fresh(name), durability="normal")


def _cycle(k: kedge.Kedge, name: str) -> None:
    k.deploy(name, {"support/prompt": name})
    k.promote(name)
    k.settle(name)


def _disk(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
