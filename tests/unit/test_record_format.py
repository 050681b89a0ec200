"""Stored form of the control record: deltas fold to the record of every epoch, and it stays small."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.releases import BOUND_BYTES, record_after
from kedge.errors import IllegalTransition
from kedge.model import control as rules
from kedge.model import entries, record_format, transitions
from kedge.model.control import ControlRecord, Level, Revocable, Status
from kedge.model.ladder import EVERYTHING, LevelEntry, LevelSource, parse_scope, plain_entry, plain_hold
from kedge.model.levels import LEVELS
from kedge.model.record_format import decode_record, encode_record, fold, is_delta, log_form
from kedge.model.retention import RetentionPolicy

BY = {"now": 1_700_000_000.5, "by": "ann"}
OLD = (
    b'{"epoch":9,"next_number":7,"deployments":['
    b'{"number":3,"name":"v3","status":"live","kind":"release","weight":1.0,"revoked":false,"bases":[],'
    b'"artifacts":["support/prompt"],"since":5.0,"by":"ann","attribution":"reads"},'
    b'{"number":4,"name":"external:crm","status":"live","kind":"external","weight":0.0,"revoked":true,"bases":[],'
    b'"artifacts":[],"since":6.0,"by":"crm","attribution":"reads"},'
    b'{"number":5,"name":"v5","status":"staged","kind":"release","weight":0.0,"revoked":false,"bases":[3],'
    b'"artifacts":["support/prompt"],"since":7.0,"by":"ann","attribution":"view"},'
    b'{"number":6,"name":"v6","status":"staged","kind":"release","weight":0.0,"revoked":false,"bases":[3,5],'
    b'"artifacts":["support/prompt"],"since":8.0,"by":"ann","attribution":"reads"}],'
    b'"settled_ranges":[[1,1]],"purged_ranges":[[2,2]],"levels":{"support":"frozen"},"held":{"support":["op"]},'
    b'"retention_seconds":60.0,"rolled_back_peers":"refuse","reconcilers":{"gpu":"*/model"}}'
)


def test_a_record_of_an_earlier_release_decodes() -> None:
    record = decode_record(OLD)
    assert [sorted(s) for s in (record.settled, record.purged, record.rolled_back, record.live)] == [[1], [2], [4], [3]]
    assert record.entries == (plain_entry("support", Level.FROZEN), plain_hold("support", "op"))
    assert (record.below_full, record.retention_seconds) == ({"support": "frozen"}, 60.0)
    assert (record.rolled_back_peers, record.reconcilers) == ("refuse", {"gpu": "*/model"})
    assert msgspec.json.decode(encode_record(record), type=record_format._Before) == msgspec.json.decode(
        OLD, type=record_format._Before
    ), "an older process reads what this one stores before the upgrade"


def test_a_delta_of_an_earlier_release_decodes() -> None:
    before = decode_record(b'["record",{"epoch":4,"levels":{"a":"off"},"held":{"b":["op1"]}}]')
    delta = b'["delta",{"epoch":5,"length":1,"size":9,"fields":{"levels":{"c":"frozen"}}}]'
    after = record_format.apply(before, delta)
    assert after.entries == (plain_entry("c", Level.FROZEN), plain_hold("b", "op1"))
    delta = b'["delta",{"epoch":6,"length":2,"size":9,"fields":{"held":{"b":["op2","op1"],"a":["op1"]}}}]'
    assert record_format.apply(after, delta).below_full == {"a": "frozen", "b": "frozen", "c": "frozen"}


def test_plain_entries_are_stored_as_older_writers_know_them() -> None:
    record = set_level(entries.hold(ControlRecord(), ["a", "b"], "op"), "a", Level.OFF)
    _, stored = msgspec.json.decode(encode_record(record))
    assert (stored["levels"], stored["held"]) == ({"a": "off"}, {"a": ["op"], "b": ["op"]})
    assert "entries" not in stored
    rich = entries.hold(record, ["c"], "op2", HOLD)
    _, stored = msgspec.json.decode(encode_record(rich))
    assert [entry["id"] for entry in stored["entries"]] == ["L1"]
    assert decode_record(encode_record(rich)) == rich


def test_what_is_compacted_says_the_same() -> None:
    before = decode_record(OLD)
    after = transitions.compacted(before)
    assert after.peers == after.hidden_peers == {4}
    assert after.find("v6").bases == (5,)
    for name in ("settled", "purged", "rolled_back", "revocable", "live", "externals", "attributed_by_view"):
        assert getattr(after, name) == getattr(before, name), name
    assert after.closure({6}) == before.closure({6})
    assert after.dependants(3) == before.dependants(3)
    assert decode_record(encode_record(after)) == after


def test_an_older_process_does_not_take_the_new_form_for_its_own() -> None:
    for stored in (encode_record(ControlRecord(epoch=3)), _delta()):
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(stored, type=record_format._Before)


def _delta() -> bytes:
    before = set_level(ControlRecord(), "support", Level.OFF)
    after = set_level(before, "support", Level.FULL)
    stored = log_form(before, after, encode_record(after) + b" " * 1_000, (before.epoch, encode_record(before)))
    assert is_delta(stored)
    return stored


def test_a_delta_is_no_record_and_follows_its_own_epoch_only() -> None:
    with pytest.raises(msgspec.DecodeError, match="whole control record, found 'delta'"):
        decode_record(_delta())
    with pytest.raises(msgspec.DecodeError, match="epoch 2 follows epoch 0"):
        fold([_delta(), encode_record(ControlRecord())])
    with pytest.raises(msgspec.DecodeError, match="no whole control record"):
        fold([_delta()])


# ── histories ──


def _settle_peer(record: ControlRecord, dice: random.Random) -> ControlRecord:
    return transitions.settle(record, _peer(record, dice))


def _peer(record: ControlRecord, dice: random.Random) -> Revocable:
    if not record.peers:
        raise IllegalTransition("no peer")
    number = dice.choice(sorted(record.peers))
    return record.peer(number, f"external:{number}")


def _any(record: ControlRecord, dice: random.Random) -> Revocable:
    choices = [*record.deployments, *(record.peer(n, f"external:{n}") for n in record.peers)]
    if not choices:
        raise IllegalTransition("nothing there")
    return dice.choice(choices)


def _stage(record: ControlRecord, dice: random.Random) -> ControlRecord:
    known = sorted(record.peers.union(record.by_number))
    bases = dice.sample(known, min(len(known), dice.randrange(3)))
    name, artifacts = f"d{record.next_number}", ("support/prompt",) * dice.randrange(2)
    return transitions.stage(record, name, artifacts=artifacts, bases=bases, **BY)  # type: ignore[arg-type]


HOLD = LevelEntry("", EVERYTHING, Level.FROZEN, LevelSource.ROLLBACK, "ann", "why", 5.0)


def set_level(record: ControlRecord, feature: str, level: Level) -> ControlRecord:
    return entries.set_by_person(transitions.next_epoch(record), feature, level)


def _released(record: ControlRecord, dice: random.Random) -> ControlRecord:
    record = transitions.next_epoch(record)
    return entries.without(record, entries.of_operations(record, [f"op{dice.randrange(9)}"]))


def _tightened(record: ControlRecord, dice: random.Random) -> ControlRecord:
    if not record.compact:
        raise IllegalTransition("older writers would lose it")
    scope = parse_scope(dice.choice(["everything", "feature:a", "tool:t", "cohort:0-0.5", "session:s"]))
    source, by = dice.choice(list(LevelSource)), dice.choice("xy")
    wanted = LevelEntry("", scope, dice.choice(LEVELS[1:]), source, by, "a reason", 1.5, dice.choice([None, 9.0]))
    return entries.tighten(transitions.next_epoch(record), wanted)[0]


STEPS: list[Callable[[ControlRecord, random.Random], ControlRecord]] = [
    _stage,
    _stage,
    lambda r, _: transitions.stage(
        r, f"external:{r.next_number}", artifacts=(), bases=(), kind=rules.EXTERNAL, now=1.0, by="x"
    ),
    lambda r, dice: transitions.canary(r, _any(r, dice), dice.random(), now=2.0, by="x"),
    lambda r, dice: transitions.promote(r, _any(r, dice), now=3.0, by="x"),
    lambda r, dice: transitions.promote(r, _any(r, dice), now=3.0, by="x"),
    lambda r, dice: transitions.settle(r, _any(r, dice)),
    _settle_peer,
    lambda r, dice: transitions.roll_back(r, _any(r, dice), now=4.0, by="x"),
    lambda r, dice: transitions.reinstate(r, _any(r, dice), now=5.0, by="x"),
    lambda r, dice: transitions.purge(r, _any(r, dice))[0],
    lambda r, dice: set_level(r, dice.choice("ab"), dice.choice([Level.FULL, Level.FROZEN, Level.OFF])),
    lambda r, dice: _released(entries.hold(r, ["a"], f"op{r.epoch}", HOLD if r.compact else None), dice),
    lambda r, dice: _released(entries.hold(r, ["a"], f"op{r.epoch}"), dice),
    _tightened,
    lambda r, dice: entries.without(transitions.next_epoch(r), dice.sample(r.entries, min(1, len(r.entries)))),
    lambda r, dice: msgspec.structs.replace(
        transitions.next_epoch(r),
        two_persons=r.compact and dice.random() < 0.5,
        presets={"frozen": {"act": {"undoable": "no"}}} if r.compact else {},
    ),
    lambda r, dice: transitions.set_retention(r, dice.choice([None, 60.0])),
    lambda r, dice: transitions.set_reconcilers(r, {"gpu": "*/model"} if dice.random() < 0.5 else {}),
]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_the_log_folds_to_the_record_of_every_epoch(seed: int, begins_before: bool) -> None:
    dice, record = random.Random(seed), ControlRecord(compact=not begins_before)
    log, stood = [encode_record(record)], [record]
    upgraded_at = dice.randrange(60)
    for step in range(120):
        if step == upgraded_at:
            record = transitions.compacted(record)
        try:
            after = dice.choice(STEPS)(record, dice)
        except IllegalTransition:
            continue
        log.append(log_form(record, after, encode_record(after), (record.epoch, log[-1])))
        record = decode_record(encode_record(after))
        assert record == after
        stood.append(record)
    for epoch, expected in enumerate(stood):
        found = fold(reversed(log[: epoch + 1]))
        assert transitions.compacted(found) == transitions.compacted(expected), epoch
        assert found.settled == expected.settled


def test_a_whole_record_comes_now_and_then() -> None:
    record = ControlRecord()
    for number in range(50):
        record = transitions.stage(record, f"d{number}", artifacts=(), bases=(), **BY)  # type: ignore[arg-type]
    log, sizes = [(record.epoch, encode_record(record))], 0
    for turn in range(1_000):
        after = set_level(record, "support", Level.OFF if turn % 2 else Level.FROZEN)
        log.append((after.epoch, log_form(record, after, encode_record(after), log[-1])))
        record, sizes = after, sizes + len(log[-1][1])
    lengths = [record_format.deltas_of(stored) for _, stored in log]
    assert 1 < max(lengths) <= record_format.DELTAS_MAX
    assert 3 < lengths.count(0) < 100
    assert sizes < 1_000 * len(log[1][1]) * 2.2, "at most twice what changed"


def test_a_gap_in_the_log_is_bridged_by_a_whole_record() -> None:
    before = ControlRecord(epoch=4)
    after = set_level(before, "support", Level.OFF)
    assert not is_delta(log_form(before, after, encode_record(after) + b" " * 500, (3, encode_record(before))))


def test_only_what_a_deployment_rests_on_directly_is_kept() -> None:
    record = ControlRecord()
    for number in range(1, 6):
        bases = range(1, number)  # the lineage of the artifact that it overrides
        record = transitions.stage(record, f"d{number}", artifacts=(), bases=bases, now=1.0, by="x")
    assert [d.bases for d in record.deployments] == [(), (1,), (2,), (3,), (4,)]
    assert record.closure({5}) == {1, 2, 3, 4, 5}
    assert transitions.roll_back(record, "d1", now=1.0, by="x").rolled_back == {1, 2, 3, 4, 5}
    record = transitions.stage(record, "d6", artifacts=(), bases={2, 4}, now=1.0, by="x")
    assert record.find("d6").bases == (4,)


def test_the_record_stays_small_and_its_log_too() -> None:
    record = record_after(3_000, live=200, peers=1_000)
    assert (len(record.live - record.peers), len(record.peers), len(record.purged)) == (200, 1_000, 1_500)
    assert all(len(d.bases) <= 1 for d in record.deployments), "direct bases only"
    small = record_after(1_500, live=200, peers=1_000)
    assert len(encode_record(record)) < BOUND_BYTES
    assert len(encode_record(record)) < 1.1 * len(encode_record(small)), "it does not grow with what is closed"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_set_of_numbers_takes_at_most_a_bit_a_number(share: float) -> None:
    dice = random.Random(7)
    purged = frozenset(n for n in range(1, 36_501) if dice.random() < share)
    record = ControlRecord(next_number=36_501, purged=purged)
    assert decode_record(encode_record(record)) == record
    assert len(encode_record(record)) < 36_500 / 8 * 4 / 3 + 200


def test_a_set_that_cannot_be_read_is_an_error_of_decoding() -> None:
    with pytest.raises(msgspec.DecodeError, match="set of numbers"):
        decode_record(b'["record",{"epoch":1,"next_number":9,"purged":"AAAA"}]')


# ── peers ──


def test_a_peer_s_rollback_is_one_change_of_the_record() -> None:
    record = record_after(20, live=3, peers=4)
    number = min(record.peers)
    peer = record.peer(number, "external:crm")
    assert record.status(peer) is Status.LIVE
    hidden = transitions.roll_back(record, peer, **BY)  # type: ignore[arg-type]
    assert hidden.epoch == record.epoch + 1
    assert number in hidden.rolled_back
    assert number not in hidden.revocable | hidden.live | hidden.externals | hidden.settled
    assert hidden.status(hidden.peer(number, "external:crm")) is Status.ROLLED_BACK
    back = transitions.reinstate(hidden, hidden.peer(number, "external:crm"), **BY)  # type: ignore[arg-type]
    assert back == msgspec.structs.replace(record, epoch=back.epoch)
    purged, gone = transitions.purge(hidden, hidden.peer(number, "external:crm"))
    assert gone == {number}
    assert number in purged.purged
    assert number not in purged.peers | purged.hidden_peers | purged.settled
    settled = transitions.settle(record, peer)
    assert number in settled.settled


def test_what_rests_on_a_peer_goes_with_it() -> None:
    record = transitions.stage(ControlRecord(), "", artifacts=(), bases=(), kind=rules.EXTERNAL, now=1.0, by="x")
    record = transitions.stage(record, "v1", artifacts=("k",), bases={1}, now=1.0, by="x")
    with pytest.raises(IllegalTransition, match="rests on 'external #1', which is live; settle"):
        transitions.settle(transitions.promote(record, "v1", now=1.0, by="x"), "v1")
    hidden = transitions.roll_back(record, record.peer(1, "external:crm"), now=1.0, by="x")
    assert hidden.rolled_back == {1, 2}
    with pytest.raises(IllegalTransition, match="rests on 'external #1', rolled back"):
        transitions.reinstate(hidden, "v1", now=1.0, by="x")
    assert transitions.purge(hidden, hidden.peer(1, "external:crm"))[1] == {1, 2}


def test_every_field_of_a_record_is_stored() -> None:
    """A field that the stored form does not know would be lost at the next change."""
    kept = {"epoch", "deployments", "compact", *record_format._PLAIN, *record_format._SETS}
    assert {field.name for field in msgspec.structs.fields(ControlRecord)} == kept - {"levels", "held"}
    stored = {field.name for field in msgspec.structs.fields(record_format._Whole)}
    assert stored == kept - {"compact"}
    assert {"levels", "held"} <= stored, "level entries as older writers know them"


def test_settings_that_older_processes_would_drop_wait_for_the_upgrade() -> None:
    before = msgspec.structs.replace(ControlRecord(), compact=False)
    with pytest.raises(IllegalTransition, match=r"purge_after.*kedge upgrade"):
        transitions.set_purge_after(before, 1.0)
    with pytest.raises(IllegalTransition, match=r"the store 'memory'.*kedge upgrade"):
        transitions.set_policy(before, RetentionPolicy("memory", None, 1.0))
