"""The laws of `Attribution`: what turns saw is kept; counting is exact up to the limit, and stops there."""

from kedge.model.writes import Author
from kedge.ports.attribution import Examined
from kedge.ports.backend import Backend
from kedge.testing.contracts.backend_driver import BackendDriver, put

ONE, BOTH = frozenset({1}), frozenset({1, 12})


class AttributionContract:
    """Fixture: `backend`."""

    def test_agents_are_listed_once_in_order(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        for uid, agent in (("1", "b"), ("2", "a"), ("3", "b"), ("4", None), ("5", "ä")):
            driver.put("k", 1, author=Author(uid, agent=agent))
        assert backend.attribution.agents(9) == ["a", "b", "ä"]
        assert backend.attribution.agents(2) == ["a", "b"]

    def test_a_set_is_found_by_each_of_its_members_and_by_no_other_number(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        for uid, seen in (("1", BOTH), ("2", ONE), ("3", BOTH), ("4", frozenset[int]())):
            driver.put("k", 1, author=Author(uid, agent="a", seen=seen))
        found = {number: len(backend.attribution.sets_with(number)) for number in (1, 2, 11, 12, 112)}
        assert found == {1: 2, 2: 0, 11: 0, 12: 1, 112: 0}

    def test_derived_writes_without_a_lineage_are_counted_by_store(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        saw, other = Author("saw", agent="a", seen=ONE), Author("other", agent="a")
        driver.append([put("said", 1, source=True), put("made", 1)], author=saw)
        driver.put("doc", 1, store="documents", space="kb", author=saw)
        driver.put("read", 1, lineage=ONE, author=saw)
        driver.put("elsewhere", 1, author=other)
        driver.put("another's", 1, author=Author("b", agent="b", seen=ONE))
        port, lineages = backend.attribution, backend.impact.lineages_with([1])
        seen = port.sets_with(1)
        assert port.writes_without("a", seen, lineages, 9) == [Examined("context", 3, 1), Examined("documents", 1, 1)]
        assert port.writes_without("a", [], lineages, 9) == []
        assert sum(one.examined for one in port.writes_without("a", seen, [], 2)) == 2
        assert port.unknown_turns("", 1, 9) == 0
