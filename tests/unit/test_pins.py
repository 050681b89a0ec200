"""What a process keeps of the control record."""

from __future__ import annotations

from kedge.model.control import ControlRecord
from kedge.model.lineage import EMPTY
from kedge.model.visibility import View
from kedge.pins import NOTHING, Known, Pins


def test_a_slow_thread_brings_no_older_record_back() -> None:
    known = Known()
    assert known.at(1) is None
    newer = known.learn(ControlRecord(epoch=2))
    assert known.learn(ControlRecord(epoch=1)).epoch == 1
    assert known.record is newer
    assert (known.at(1), known.at(2)) == (None, newer)


def test_an_epoch_s_artifacts_are_forgotten_with_it_and_never_pile_up() -> None:
    pins = Pins()
    for epoch in (1, 2):
        for number in range(1_000):
            view = View(epoch, frozenset({number}), EMPTY)
            assert pins.of(view, "a") is None
            pins.keep(view, "a", NOTHING)
            assert pins.of(view, "a") is NOTHING
    assert len(pins._kept[1]) <= 256
