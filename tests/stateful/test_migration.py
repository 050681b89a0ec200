"""Random histories migrate to PostgreSQL and back: both ends are equal, sound and usable."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis.stateful import run_state_machine_as_test

import kedge
from kedge.testing import postgres
from tests import databases
from tests.stateful.histories import Histories
from tests.stateful.share import SECONDS, share


class Moving(Histories):
    """A history that moves, at its end, to another backend and back."""

    server: ClassVar[postgres.Server]

    def teardown(self) -> None:
        """Move it, and look at both ends."""
        for pair in self.turns:
            pair.real.close()
        for handle in self.handles:
            handle.recover()
            handle.close()
        there, back = databases.create(self.server), f"sqlite:///{self.folder / 'back' / 'kedge.db'}"
        try:
            for source, target in ((self.url, there), (there, back)):
                assert kedge.migrate_store(source, target) is not None
                assert [d for d in kedge.compare_stores(source, target).differences if d.differs] == []
                with kedge.open(target, read_only=True) as k:
                    assert k.fsck(full=True).findings == ()
            self.url = back
            self.handles = [self.open()]
            self.turns = []
            super().teardown()
        finally:
            databases.drop(self.server, there)


@pytest.mark.soak
@pytest.mark.timeout(SECONDS)
def test_random_histories_are_the_same_wherever_they_are_moved(postgres_server: postgres.Server) -> None:
    machine = type("Moving", (Moving,), {"server": postgres_server})
    run_state_machine_as_test(machine, settings=share(2))
