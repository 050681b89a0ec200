"""Random histories: every way of reading equals a scan of all writes, in present and past views."""

import random
from collections.abc import Iterable

import pytest

from kedge.errors import IllegalTransition
from kedge.model.lineage import EMPTY, Lineage
from kedge.model.verification import KeyCheck
from kedge.model.visibility import View
from kedge.model.writes import Head, Key, Pending, encode
from kedge.ports.backend import Backend
from kedge.testing.contracts.backend_driver import BackendDriver

DEPLOYMENTS = 4
NAMES = ["a", "a/1", "a/2", "b", "c"]
HISTORIES = 30
STEPS = 60


def random_lineage(dice: random.Random) -> Lineage:
    """Return a small set of deployments, empty one time in three."""
    return frozenset(dice.sample(range(1, DEPLOYMENTS + 1), dice.choice([0, 0, 1, 1, 2, 3])))


def random_change(driver: BackendDriver, dice: random.Random) -> None:
    """Roll back, reinstate or settle a deployment, if that is legal."""
    record = driver.backend.control.load()
    kind = dice.choice(["roll_back", "roll_back", "reinstate", "reinstate", "settle"])
    if not record.deployments or (kind == "settle" and dice.random() < 0.8):
        return
    try:
        driver.change(kind, dice.choice(record.deployments).name)
    except IllegalTransition:
        return


def random_writes(driver: BackendDriver, dice: random.Random, written: dict[Key, list[int]]) -> None:
    """Append a batch of puts and deletes of one store, sometimes at the rank of an earlier write."""
    store, space = dice.choice([("context", ""), ("documents", "kb"), ("memory", "s")])
    pending = []
    for _ in range(dice.choice([1, 1, 2, 4])):
        key = Key(store, space, dice.choice(NAMES))
        if store == "memory":
            named = [k for k in written if k.store == "memory"]
            key = dice.choice(named) if named and dice.random() < 0.3 else Key(store, space, "")
        gone = key.name != "" and (store == "memory" or dice.random() < 0.3)
        payload = None if gone else encode({"role": "x", "content": dice.random()})
        pending.append(Pending(key, payload, source=dice.random() < 0.2))
    last = driver.backend.control.position().seq
    rank = dice.randint(1, last) if dice.random() < 0.2 else None
    if rank is not None and store == "memory":
        pending = [p for p in pending if p.payload is not None]
    if not pending:
        return
    seqs = driver.append(pending, lineage=random_lineage(dice), rank=rank)
    for write, seq in zip(pending, seqs, strict=True):
        name = write.key.name or f"{seq if rank is None else rank:016x}.{seq:016x}"
        written.setdefault(Key(store, space, name), []).append(seq)


def seqs_of(heads: Iterable[Head]) -> list[int]:
    """Return the seqs of heads."""
    return [head.seq for head in heads]


class HistoryContract:
    """Fixture: `backend`."""

    @pytest.mark.parametrize("seed", range(HISTORIES))
    def test_reads_equal_the_truth(self, backend: Backend, seed: int) -> None:
        dice = random.Random(seed)
        driver = BackendDriver(backend)
        driver.live(*(f"d{n}" for n in range(1, DEPLOYMENTS + 1)))
        written: dict[Key, list[int]] = {}
        moments: list[tuple[View, dict[Key, int | None]]] = []
        for step in range(STEPS):
            if dice.random() < 0.25:
                random_change(driver, dice)
            random_writes(driver, dice, written)
            if step % 6 == 0:
                view = driver.view(random_lineage(dice))
                truth = self.check(backend, view, written)
                upto = backend.control.position().seq
                moments.append((View(view.epoch, view.seen, view.settled, upto), truth))
        for _ in range(6):
            self.check(backend, driver.view(random_lineage(dice)), written)
        for past, truth in moments:
            assert self.check(backend, past, written) == {key: truth.get(key) for key in written}, "a stable past"

    def check(self, backend: Backend, view: View, written: dict[Key, list[int]]) -> dict[Key, int | None]:
        """Compare every way of reading with the truth; return the seqs of the true heads."""
        journal = backend.journal
        true = {key: backend.verification.true_head(view, key) for key in written}
        for key, head in true.items():
            assert journal.head(view, key) == head
        if view.upto is None:
            assert backend.verification.check_keys(view, written) == [
                KeyCheck(key, None, EMPTY, None) if head is None else KeyCheck(key, head.seq, head.lineage, head.seq)
                for key, head in true.items()
            ]
        for store, space in {(key.store, key.space) for key in written}:
            here = {key.name: head for key, head in true.items() if (key.store, key.space) == (store, space) and head}
            assert journal.heads(view, store, space, sorted(here)) == here
            for prefix in ("", "a", "a/", "0"):
                self.check_range(backend, view, (store, space, prefix), here)
        messages = [h for k, h in sorted(true.items(), key=lambda i: i[0].name) if k.store == "memory" and h]
        present = seqs_of(head for head in messages if not head.deleted)
        assert seqs_of(journal.history(view, "s", None).heads) == present
        for limit in (0, 1, 2, 5, 1_000):
            newest = present[max(0, len(present) - limit) :]
            assert seqs_of(journal.history(view, "s", limit).heads) == newest
        return {key: None if head is None else head.seq for key, head in true.items()}

    def check_range(self, backend: Backend, view: View, where: tuple[str, str, str], here: dict[str, Head]) -> None:
        """Compare a range with the truth: its heads in name order, and the lineages of its tombstones."""
        store, space, prefix = where
        found = backend.journal.range(view, store, space, prefix)
        inside = [here[name] for name in sorted(here) if name.startswith(prefix)]
        assert seqs_of(found.heads) == seqs_of(head for head in inside if not head.deleted)
        revocable = {head.lineage for head in inside if head.deleted and not head.lineage <= view.settled}
        assert found.tombstones >= revocable
        assert found.tombstones <= {head.lineage for head in inside if head.deleted}
