"""The laws of `Erasure`: content goes, rows and other lineages stay, and a retry finishes what a crash left."""

from contextlib import suppress

import pytest

from kedge.errors import KedgeError, PastUnreadable
from kedge.model.lineage import Lineage
from kedge.model.visibility import View
from kedge.model.writes import Head, Key
from kedge.ports.backend import Backend
from kedge.ports.metrics import Sample
from kedge.ports.vectors import Collection
from kedge.support import failpoints
from kedge.testing.contracts.backend_driver import BackendDriver, context, put

ONE, TWO = frozenset({1}), frozenset({2})


class Broken(KedgeError):
    """Raised by a test in the middle of an erasure."""


def truth(backend: Backend, key: Key, seen: Lineage) -> Head:
    """Return the newest write at a key that these deployments see, purged or not."""
    head = backend.verification.true_head(View(backend.control.epoch(), seen, frozenset()), key)
    assert head is not None
    return head


class ErasureContract:
    """Fixture: `backend`."""

    @pytest.mark.parametrize("point", [None, "erase:before-commit", "erase-heads:before-commit"])
    def test_content_goes_and_the_rest_stays(self, backend: Backend, point: str | None) -> None:
        driver = BackendDriver(backend)
        driver.live("v1", "v2")
        backend.vector_writer.declare(Collection("kb", 2, "cosine", "embedder"), at=1.0)
        driver.put("a", "clean", lineage=TWO)
        for lineage in (ONE, ONE | TWO, TWO):
            backend.metrics.observe(Sample("resolved", sorted(lineage), 1.0, lineage=lineage))
        backend.metrics.observe(Sample("kedge:verdict", "counted", 1.0, lineage=ONE))
        seqs = driver.append([put("a", "tainted"), put("b", "tainted")], lineage=ONE)
        driver.upsert("kb", {"a": [1, 2], "b": [1, 3]}, lineage=ONE)
        lost = backend.journal.heads(driver.view(), "vectors", "kb", ["a", "b"])["b"]
        driver.upsert("kb", {"a": [1, 4]}, lineage=TWO)
        driver.change("roll_back", "v1")
        driver.change("purge", "v1")
        lineages = backend.impact.lineages_with([1])
        counts = backend.impact.count_writes(lineages)
        told: list[tuple[int, int]] = []

        def fail() -> None:
            raise Broken("injected")

        if point is not None:
            failpoints.arm(point, fail, nth=1)
            with pytest.raises(Broken):
                backend.erasure.erase(lineages)
        erased = backend.erasure.erase(lineages, lambda done, last: told.append((done, last)))
        assert erased == (0 if point == "erase-heads:before-commit" else 4)
        assert [done for done, _ in told] == [last for _, last in told[-1:]], "one part covers so short a journal"
        assert backend.erasure.erase(lineages) == 0
        backend.metrics.observe(Sample("resolved", "late", 1.0, lineage=ONE))
        assert [sample.value for sample in backend.metrics.observations("resolved")] == [[2]]
        assert len(backend.metrics.observations("kedge:verdict")) == 1
        assert backend.impact.count_writes(lineages) == counts
        assert backend.impact.affected_keys(lineages, 10) == []
        assert [truth(backend, context(name), ONE).seq for name in "ab"] == seqs, "the rows stay"
        assert [truth(backend, context(name), ONE).payload for name in "ab"] == [None, None]
        assert truth(backend, context("a"), TWO).payload == b'j"clean"'
        with suppress(PastUnreadable):
            assert backend.vectors.vectors([lost])[0].tolist() == [0, 0]
        kept = backend.journal.heads(driver.view(), "vectors", "kb", ["a"])["a"]
        assert backend.vectors.vectors([kept])[0].tolist() == [1, 4]
        assert backend.fsck(full=True, progress=None).findings == ()
