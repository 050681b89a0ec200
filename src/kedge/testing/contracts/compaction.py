"""Contract of `VectorCompactor`: no readable view changes its answer, and all rows that can go are removed."""

import random

import msgspec
import numpy as np
import pytest

from kedge.errors import PastUnreadable
from kedge.model import transitions
from kedge.model.lineage import Lineage
from kedge.model.visibility import View
from kedge.ports.backend import Backend
from kedge.ports.control import Change
from kedge.ports.vectors import Collection, Reclaimed
from kedge.testing.contracts.backend_driver import BackendDriver, Opener
from kedge.testing.contracts.histories import DEPLOYMENTS, random_change, random_lineage
from kedge.testing.contracts.vectors import DIM, SPACES, Written, check

STEPS = 60
NOTHING_BUT_NOW = 0.0


def set_retention(driver: BackendDriver, seconds: float | None) -> None:
    """Move the horizon: with 0 seconds, to the present."""
    record = transitions.set_retention(driver.backend.control.load(), seconds)
    driver.backend.control.commit(Change(record, driver.backend.clock.fresh_id(), "retention", "contract"))


def reclaimed_of(backend: Backend) -> int:
    """Return the seq before which the collection of a history is readable at snapshots only."""
    compactor = backend.vector_compactor
    assert compactor is not None
    return compactor.reclaimed("kb")


def compact(backend: Backend, collection: Collection) -> Reclaimed:
    """Compact a collection."""
    assert backend.vector_compactor is not None
    return backend.vector_compactor.compact(collection)


class History:
    """A collection with a random history, and past points at which it was read."""

    def __init__(self, backend: Backend, seed: int) -> None:
        self.backend, self.driver = backend, BackendDriver(backend)
        self.dice, self.noise = random.Random(seed), np.random.default_rng(seed)
        self.driver.live(*(f"d{n}" for n in range(1, DEPLOYMENTS + 1)))
        self.written = Written(self.driver, self.dice.choice(["cosine", "dot", "l2"]))
        self.past: list[View] = []
        self.purged: Lineage = frozenset()

    def step(self) -> None:
        """Change the control record or the vectors, and sometimes remember or name the point."""
        if self.dice.random() < 0.25:
            random_change(self.driver, self.dice)
        lineage = random_lineage(self.dice) - self.purged  # the journal refuses writes under a purged deployment
        self.written.random_step(self.dice, self.noise, lineage)
        view = self._view()
        if self.dice.random() < 0.3:
            self.past.append(msgspec.structs.replace(view, upto=self.backend.control.position().seq))
            if self.dice.random() < 0.5:
                self.backend.control.take_snapshot(f"s{len(self.past)}", "contract")

    def _view(self) -> View:
        return self.driver.view(random_lineage(self.dice) - self.purged)

    def purge_one(self) -> None:
        """Roll back and purge a deployment that is not settled, if there is one."""
        record = self.backend.control.load()
        if not record.deployments:
            return
        chosen = self.dice.choice(record.deployments)
        if not chosen.revoked:
            self.driver.change("roll_back", chosen.name)
        self.driver.change("purge", chosen.name)
        self.purged |= {chosen.number}
        self.backend.erasure.erase(self.backend.impact.lineages_with([chosen.number]))

    def check(self, backend: Backend) -> int:
        """Compare searches, counts and vectors with brute force at all readable points; count the others."""
        reclaimed, refused = reclaimed_of(backend), 0
        named = {snapshot.seq for snapshot in backend.control.snapshots()}
        written = self.written.through(backend)
        epoch = backend.control.epoch()
        views = [*self.past, *(self._view() for _ in range(4))]
        for view in [msgspec.structs.replace(one, epoch=epoch) for one in views]:
            if not view.seen.isdisjoint(self.purged):
                continue  # the caller of a port never asks for such a view
            query = self.noise.normal(size=DIM).astype(np.float32)
            if view.upto is None or view.upto >= reclaimed or view.upto in named:
                check(written, view, query, self.dice.choice([1, 3, 50]))
                self._check_vectors(backend, view)
                continue
            refused += 1
            with pytest.raises(PastUnreadable, match="reclaimed by a compaction"):
                backend.vectors.search(view, written.collection, "", query, 3, None)
            with pytest.raises(PastUnreadable, match="reclaimed by a compaction"):
                backend.vectors.tally(view, "kb")
        return refused

    def _check_vectors(self, backend: Backend, view: View) -> None:
        present = {n: vector for n, (_, _, vector) in self.written.heads(view).items() if vector is not None}
        heads = backend.journal.heads(view, "vectors", "kb", list(present))
        found = backend.vectors.vectors([heads[name] for name in present])
        assert all(np.array_equal(a, b) for a, b in zip(found, present.values(), strict=True))


class CompactionContract:
    """Fixtures: `backend`, and `opener`, which opens the same database again."""

    @pytest.mark.parametrize("seed", range(24))
    def test_no_view_answers_otherwise(self, backend: Backend, opener: Opener, seed: int) -> None:
        history, other = History(backend, seed), opener()
        reclaimed = refused = 0
        for number in range(STEPS):
            history.step()
            if number % 15 == 14:
                history.check(other)  # it holds all rows in memory when they are removed
                if history.dice.random() < 0.3:
                    history.purge_one()
                horizon = history.dice.random() < 0.7
                set_retention(history.driver, NOTHING_BUT_NOW if horizon else None)
                compacting = history.dice.choice([backend, other])
                reclaimed += compact(compacting, history.written.collection).rows
                set_retention(history.driver, None)
                refused += history.check(backend)
                history.check(other)
        again = opener()
        history.check(again)
        assert again.fsck(full=True, progress=None).findings == ()
        again.close()
        other.close()
        assert reclaimed, "a history in which nothing may go says little"

    def test_without_a_horizon_only_what_was_purged_goes(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("d1")
        written = Written(driver, "cosine")
        for lineage in (frozenset[int](), frozenset({1}), frozenset[int]()):
            driver.upsert("kb", {"a": [1, 0, 0], "b": [0, 1, 0]}, lineage=lineage)
        assert compact(backend, written.collection).rows == 0
        driver.change("roll_back", "d1")
        assert compact(backend, written.collection).rows == 0, "it may be reinstated"
        driver.change("purge", "d1")
        done = compact(backend, written.collection)
        assert (done.rows, done.bytes) == (2, 2 * DIM * 4)
        assert reclaimed_of(backend) == 0
        assert compact(backend, written.collection).rows == 0

    def test_a_snapshot_keeps_what_it_shows(self, backend: Backend) -> None:
        written = Written(BackendDriver(backend), "cosine")
        for number in range(4):
            written.driver.upsert("kb", {"a": [1, number, 0]}, embedding=SPACES[0])
            if number == 1:
                backend.control.take_snapshot("one", "contract")
        set_retention(written.driver, NOTHING_BUT_NOW)
        assert compact(backend, written.collection).rows == 2
        backend.control.release_snapshot("one", "contract")
        assert compact(backend, written.collection).rows == 1

    def test_what_a_rollback_hides_is_kept_for_its_reinstatement(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("d1")
        written = Written(driver, "cosine")
        driver.upsert("kb", {"a": [1, 0, 0]})
        driver.upsert("kb", {"a": [0, 1, 0]}, lineage=frozenset({1}))
        driver.upsert("kb", {"a": [0, 0, 1]}, lineage=frozenset({1}))
        driver.change("roll_back", "d1")
        set_retention(driver, NOTHING_BUT_NOW)
        assert compact(backend, written.collection).rows == 1, "only that which d1 itself superseded"
        query = np.array([1, 1, 1], np.float32)
        found = backend.vectors.search(driver.view(), written.collection, "", query, 5, None).found
        assert [backend.vectors.vectors([hit.head])[0].tolist() for hit in found] == [[1, 0, 0]]
        driver.change("reinstate", "d1")
        found = backend.vectors.search(driver.view(), written.collection, "", query, 5, None).found
        assert [backend.vectors.vectors([hit.head])[0].tolist() for hit in found] == [[0, 0, 1]]

    def test_a_longer_retention_brings_nothing_back(self, backend: Backend) -> None:
        written = Written(BackendDriver(backend), "cosine")
        first = written.driver.upsert("kb", {"a": [1, 0, 0]})[0]
        written.driver.upsert("kb", {"a": [0, 1, 0]})
        set_retention(written.driver, NOTHING_BUT_NOW)
        compact(backend, written.collection)
        set_retention(written.driver, None)
        assert reclaimed_of(backend) > first
        with pytest.raises(PastUnreadable, match="reclaimed by a compaction, irrevocably"):
            backend.vectors.tally(written.driver.view(upto=first), "kb")
