"""The laws of `Impact`: exact counts of hidden writes, too; keys once; heads in views of any epoch."""

from kedge.model.writes import Key
from kedge.ports.backend import Backend
from kedge.ports.impact import StoreTotal, WriteCount
from kedge.testing.contracts.backend_driver import BackendDriver, context, delete, put

ONE, TWO, BOTH = frozenset({1}), frozenset({2}), frozenset({1, 2})


class ImpactContract:
    """Fixture: `backend`."""

    def test_lineages_are_chosen_by_the_deployments_in_them(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1", "v2")
        ids = []
        for lineage in (ONE, BOTH, TWO, frozenset[int]()):
            driver.put("a", 1, lineage=lineage)
            found = backend.journal.head(driver.view(BOTH), context("a"))
            assert found is not None
            ids.append(found.lineage_id)
        impact = backend.impact
        assert impact.lineages_with([1]) == sorted(ids[:2])
        assert impact.lineages_with([1, 2]) == sorted(ids[:3])
        assert impact.lineages_with([1], without=[2]) == [ids[0]]
        assert impact.lineages_with([]) == impact.lineages_with([7]) == []

    def test_counts_are_exact_and_in_order_whatever_is_hidden(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        driver.append([put("a", 1), put("b", 1), put("b", 2, store="documents", space="kb")], lineage=ONE)
        driver.append([delete("a"), put("c", 1, store="documents", space="faq")], lineage=ONE)
        driver.put("a", 1)
        driver.change("roll_back", "v1")
        assert backend.impact.count_writes(backend.impact.lineages_with([1])) == [
            WriteCount("context", "", 2, 1),
            WriteCount("documents", "faq", 1, 0),
            WriteCount("documents", "kb", 1, 0),
        ]
        assert backend.impact.count_writes([]) == []
        assert backend.impact.count_writes(backend.impact.lineages_with([1]), 1) == [WriteCount("context", "", 2, 1)]
        assert backend.impact.totals(backend.impact.lineages_with([1])) == [
            StoreTotal("context", 1, 3), StoreTotal("documents", 2, 2)
        ]  # fmt: skip
        assert backend.impact.totals([]) == []

    def test_an_affected_key_comes_once(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        for lineage in (ONE, BOTH):
            driver.append([put("a", 1), put("b", 1)], lineage=lineage)
        driver.append([put("c", 1), put("d", 1, store="documents", space="kb")], lineage=ONE)
        driver.put("untouched", 1)
        lineages = backend.impact.lineages_with([1])
        keys = backend.impact.affected_keys(lineages, 10)
        assert sorted(key.label for key in keys) == ["context:/a", "context:/b", "context:/c", "documents:kb/d"]
        assert len(set(backend.impact.affected_keys(lineages, 2))) == 2
        assert backend.impact.count_affected_keys(lineages) >= 4, "a key counts once a lineage"
        assert backend.impact.affected_keys([], 10) == []
        assert backend.impact.count_affected_keys([]) == 0

    def test_heads_are_paired_in_views_of_any_epoch(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        clean = driver.put("a", "clean")
        tainted = driver.append([put("a", "tainted"), put("b", "new")], lineage=ONE)
        before, after = driver.view(), driver.view(())
        driver.change("roll_back", "v1")
        pairs = backend.impact.head_pairs(before, after, [context("b"), context("a"), context("none")])
        seqs = [tuple(head and head.seq for head in pair) for pair in pairs]
        assert seqs == [(tainted[1], None), (tainted[0], clean), (None, None)]

    def test_a_key_that_both_wrote_comes_once(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.append([put("a", 1), put("theirs", 1)])
        driver.append([put("a", 1), put("mine", 1)], lineage=ONE)
        driver.append([put("a", 1)], lineage=BOTH)
        assert backend.impact.written_by_both(1, 10) == [Key("context", "", "a")]
        driver.append([put(name, 1) for name in ("ä", "Z", "b")])
        driver.append([put(name, 2) for name in ("b", "Z", "ä")], lineage=ONE)
        assert [key.name for key in backend.impact.written_by_both(1, 3)] == ["Z", "a", "b"]
        assert backend.impact.written_by_both(1, 0) == backend.impact.written_by_both(7, 10) == []

    def test_arrivals_are_the_newest_writes_of_lineages(self, backend: Backend) -> None:
        driver, impact = BackendDriver(backend), backend.impact
        driver.live("v1", "v2")
        seqs = [driver.put(f"k{number}", 1, lineage=lineage) for number, lineage in enumerate((ONE, TWO, BOTH, ONE))]
        lineages = impact.lineages_with([1])
        found = impact.arrivals(lineages, 0, 10)
        assert [arrival.seq for arrival in found] == [seqs[3], seqs[2], seqs[0]]
        assert found[0].lineage == found[2].lineage != found[1].lineage
        assert {arrival.lineage for arrival in found} == set(lineages)
        assert found[0].at >= found[1].at >= found[2].at > 0
        assert impact.arrivals(lineages, 0, 2) == found[:2]
        assert impact.arrivals(lineages, seqs[2], 10) == found[:1]
        assert impact.arrivals([], 0, 10) == []
