"""The laws of `Verification`: one snapshot, the current epoch, samples that repeat; truth is in `HistoryContract`."""

import msgspec
import pytest

from kedge.ports.backend import Backend
from kedge.ports.control import EpochMoved
from kedge.testing.contracts.backend_driver import BackendDriver, context, put
from kedge.testing.contracts.vectors import Written

ONE = frozenset({1})


class VerificationContract:
    """Fixture: `backend`."""

    def test_checks_are_in_the_order_of_the_keys_and_of_the_current_epoch(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        clean, tainted = driver.put("a", 1), driver.put("b", 1, lineage=ONE)
        stale, keys = driver.view(), [context("b"), context("none"), context("a")]
        checks = backend.verification.check_keys(stale, keys)
        assert [check.key for check in checks] == keys
        assert [(check.seq, check.lineage) for check in checks] == [(tainted, ONE), (None, set()), (clean, set())]
        driver.change("roll_back", "v1")
        with pytest.raises(EpochMoved):
            backend.verification.check_keys(stale, keys)
        checks = backend.verification.check_keys(driver.view(), keys)
        assert [(check.seq, check.truth) for check in checks] == [(None, None), (None, None), (clean, clean)]

    def test_the_truth_can_be_bounded_by_a_seq(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        seqs = [driver.put("a", number) for number in range(3)]
        for seq in seqs:
            head = backend.verification.true_head(msgspec.structs.replace(driver.view(), upto=seq), context("a"))
            assert head is not None
            assert head.seq == seq

    def test_samples_repeat_and_hold_each_key_once(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        assert backend.verification.sample_keys(["context"], 5) == []
        driver.append([put(str(number % 10), 1) for number in range(40)])
        driver.append([put(str(number), 1, store="documents", space="kb") for number in range(40)])
        sample = backend.verification.sample_keys(["context"], 50)
        assert sample == backend.verification.sample_keys(["context"], 50)
        assert len(set(sample)) == len(sample) <= 10
        assert {key.store for key in sample} == {"context"}
        assert {key.store for key in backend.verification.sample_keys(["context", "documents"], 8)} == {
            "context", "documents"
        }  # fmt: skip

    def test_rows_agree_with_the_journal_in_any_view(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        assert backend.verification.vector_agreement(driver.view(), 10) == (0, 0)
        Written(driver, "cosine")
        driver.upsert("kb", {"a": [1, 0, 0], "b": [0, 1, 0]})
        driver.upsert("kb", {"a": [0, 0, 1], "c": [0, 1, 1]}, lineage=ONE)
        for view in (driver.view(), driver.view(())):
            assert backend.verification.vector_agreement(view, 100) == (4, 4)
        driver.change("roll_back", "v1")
        assert backend.verification.vector_agreement(driver.view(), 100) == (4, 4)
