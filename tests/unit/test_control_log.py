"""Decoding of what both backends store with control changes: text or bytes, JSON or arrays."""

import pytest

from kedge.errors import ArtifactChanged
from kedge.model import control_log
from kedge.model.artifacts import Artifact
from kedge.model.control import ControlRecord
from kedge.model.control_log import CREATED, Change, EpochMoved, NewEntry
from kedge.model.record_format import decode_record, encode_record

ENTRY = (3, 1, 2.0, "op", "promote", "v1", "ada")


def test_an_entry_reads_the_same_from_either_backend() -> None:
    lite = control_log.decode_entry((*ENTRY, "why ü", '{"a": 1}', 0))
    assert lite == control_log.decode_entry((*ENTRY, "why ü".encode(), b'{"a": 1}', False))
    assert (lite.reason, lite.detail, lite.is_step) == ("why ü", {"a": 1}, False)


def test_a_session_reads_the_same_from_either_backend() -> None:
    lite = control_log.decode_session(("s", 1, 2, 3, 4.0, "[5, 6]", None, None, None))
    assert lite == control_log.decode_session(("s", 1, 2, 3, 4.0, [5, 6], None, None, None))
    assert lite.base == {5, 6}


def test_an_operation_is_applied_by_its_change_not_by_its_steps() -> None:
    step, change = (*ENTRY, "", "{}", 1), (*ENTRY, "", "{}", 0)
    assert control_log.applied([step]) is None
    assert control_log.applied([step, change]) == control_log.decode_entry(change)
    assert control_log.has_step([step], "promote")
    assert not control_log.has_step([step], "settle")


def test_the_entry_of_a_change_carries_its_record() -> None:
    record = ControlRecord(epoch=4)
    entry = NewEntry.of(Change(record, "op", "settle", "ada", deployment="v1"), encode_record(record))
    assert decode_record(entry.record or b"") == record
    assert decode_record(CREATED.record or b"") == ControlRecord()


def test_a_version_label_keeps_its_digest() -> None:
    artifact = Artifact(version="1", digest="sha256:aa")
    control_log.check_version("support/prompt", artifact, None)
    control_log.check_version("support/prompt", artifact, "sha256:aa")
    with pytest.raises(ArtifactChanged, match="use another version label"):
        control_log.check_version("support/prompt", artifact, "sha256:bb")


def test_an_epoch_that_moved_is_refused() -> None:
    control_log.check_epoch(4, 4)
    with pytest.raises(EpochMoved, match="at epoch 5, not 4"):
        control_log.check_epoch(5, 4)
