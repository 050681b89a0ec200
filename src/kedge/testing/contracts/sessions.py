"""Contract of sessions in `Control`: the first caller fixes what a session sees, once a generation."""

import threading
from functools import partial

import pytest

from kedge.model.session_settings import SessionSettings
from kedge.ports.backend import Backend
from kedge.ports.control import EpochMoved, Session, SessionFilter
from kedge.testing.contracts.backend_driver import BackendDriver, Opener


class SessionContract:
    """Fixtures: `backend`, and `opener`, which opens the same database again."""

    def begin(self, backend: Backend, name: str, base: set[int], after: int = 0, epoch: int | None = None) -> Session:
        """Fix a session."""
        at = backend.control.epoch() if epoch is None else epoch
        return backend.control.begin_session(name, at, frozenset(base), None, after=after, by="x")

    def test_a_session_appears_once(self, backend: Backend, opener: Opener) -> None:
        assert backend.control.session("s") is None
        assert backend.control.standing("s") == (backend.control.load(), None)
        first = self.begin(backend, "s", {1})
        assert backend.control.standing("s") == (backend.control.load(), first)
        assert (first.generation, first.base) == (1, frozenset({1}))
        other = opener()
        assert self.begin(other, "s", {2}) == first, "the first caller decides"
        assert other.control.session("s") == first
        other.close()

    def test_of_many_at_once_one_decides(self, backend: Backend) -> None:
        found: list[Session] = []

        def begin(number: int) -> None:
            found.append(self.begin(backend, "s", {number}))

        threads = [threading.Thread(target=begin, args=(n,)) for n in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({session.base for session in found}) == 1

    def test_a_generation_follows_the_one_it_knows(self, backend: Backend) -> None:
        self.begin(backend, "s", {1})
        second = self.begin(backend, "s", {2}, after=1)
        assert (second.generation, second.base) == (2, frozenset({2}))
        assert self.begin(backend, "s", {3}, after=1) == second
        assert backend.control.session("s") == second
        assert backend.control.standing("s") == (backend.control.load(), second)

    def test_settings_and_ends_are_kept_by_generation(self, backend: Backend) -> None:
        begin = partial(backend.control.begin_session, "s", 0, frozenset({1}), None, by="x")
        settings = SessionSettings("promoted", "user-7", ("t", 5))
        first = begin(after=0, settings=settings)
        assert (first.settings, first.ended, first.unit) == (settings, False, "user-7")
        assert backend.control.session("s") == first
        second = begin(after=1, settings=SessionSettings(60.0), ended=True)
        assert backend.control.standing("s") == (backend.control.load(), second)
        assert backend.control.sessions_named(["s"]) == {"s": second}
        assert backend.control.session("s", first.seq) == first
        assert backend.control.sessions(SessionFilter(), None, 9) == [second]
        assert backend.control.sessions(SessionFilter(number=1), None, 9) == [], "it has ended"

    def test_the_past_keeps_its_generation(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        before = driver.put("k", 1)
        first = self.begin(backend, "s", {1})
        between = driver.put("k", 2)
        second = self.begin(backend, "s", {2}, after=1)
        assert backend.control.session("s", before) is None
        assert backend.control.session("s", between) == first
        assert backend.control.session("s", second.seq) == second

    def test_an_assignment_is_refused_once_the_record_has_moved(self, backend: Backend) -> None:
        epoch = backend.control.epoch()
        BackendDriver(backend).change("stage", "v1")
        with pytest.raises(EpochMoved):
            self.begin(backend, "s", {1}, epoch=epoch)
        assert backend.control.session("s") is None

    def test_sessions_are_counted_once_each(self, backend: Backend) -> None:
        self.begin(backend, "s", {1})
        self.begin(backend, "s", {2}, after=1)
        self.begin(backend, "t", {1})
        counts = backend.control.counts()
        assert counts["sessions"] == 2
        assert counts["seq"] == backend.control.position().seq

    def test_sessions_do_not_crowd_the_log(self, backend: Backend) -> None:
        BackendDriver(backend).change("stage", "v1")
        for n in range(30):
            self.begin(backend, f"s{n}", {1})
        assert backend.control.entries(limit=1)[0].kind == "stage"

    def test_generations_come_in_the_order_of_assignment(self, backend: Backend) -> None:
        def begin(name: str, after: int, unit: str | None = None) -> Session:
            settings = SessionSettings(unit_id=unit)
            return backend.control.begin_session(
                name, 0, frozenset({1}), None, after=after, by="x", settings=settings
            )  # fmt: skip

        a, b, c = begin("a", 0), begin("b", 0, "u"), begin("c", 0, "v")
        again, other = begin("a", 1), begin("d", 0, "u")
        port, upto = backend.assignments, other.seq
        assert port.assigned(0, upto, 10) == [a, b, c, again, other]
        assert port.assigned(a.seq, again.seq, 2) == [b, c]
        assert port.newest(again.seq, 2) == [again, c]
        assert port.generations(["a", "d", "none"]) == [a, again, other]
        assert port.of_units(["u", "w"], 0, upto) == [b, other]
        assert port.of_units(["u"], b.seq, upto) == [other]
