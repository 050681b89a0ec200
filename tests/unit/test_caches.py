"""The cache of the control record in a process."""

from __future__ import annotations

from kedge.backends.record_cache import RecordCache
from kedge.model.control import ControlRecord
from kedge.model.lineage import EMPTY
from kedge.model.visibility import View
from kedge.turns.artifact_cache import NO_ARTIFACTS, ArtifactCache


def test_a_slow_thread_brings_no_older_record_back() -> None:
    known = RecordCache()
    assert known.at(1) is None
    newer = known.learn(ControlRecord(epoch=2))
    assert known.learn(ControlRecord(epoch=1)).epoch == 1
    assert known.record is newer
    assert (known.at(1), known.at(2)) == (None, newer)


def test_an_epoch_s_artifacts_are_forgotten_with_it_and_never_pile_up() -> None:
    pins = ArtifactCache()
    for epoch in (1, 2):
        for number in range(1_000):
            view = View(epoch, frozenset({number}), EMPTY)
            assert pins.get(view, "a") is None
            pins.put(view, "a", NO_ARTIFACTS)
            assert pins.get(view, "a") is NO_ARTIFACTS
    assert len(pins._entries[1]) <= 256
