"""The laws of `EmbeddingCoverage`: every name once and in order, and documents that lost their vector."""

from kedge.model.reads import Reads, pack
from kedge.ports.backend import Backend
from kedge.testing.contracts.backend_driver import BackendDriver, delete, put

ONE = frozenset({1})


class CoverageContract:
    """Fixture: `backend`."""

    def test_pages_hold_every_name_once_in_order(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        names = ["a", "b", "é", "\ud7ff", "\ue000", "\U0010ffff"]
        driver.append([put(name, 1, store="documents", space="kb") for name in reversed(names)], lineage=ONE)
        driver.append([delete("b", store="documents", space="kb"), put("other", 1, store="documents", space="faq")])
        driver.change("roll_back", "v1")
        coverage = backend.coverage
        for limit in (1, 4, 100):
            found: list[str] = []
            while page := coverage.names_after("documents", "kb", found[-1] if found else "", limit):
                found += page
            assert found == names
        assert coverage.names_count("documents", "kb") == len(names)
        assert (coverage.names_count("documents", "none"), coverage.names_after("vectors", "kb", "", 9)) == (0, [])
        backend.erasure.erase(backend.impact.lineages_with([1]))
        assert coverage.names_after("documents", "kb", "", 9) == ["b"], "the others were written by what was erased"

    def test_names_since_leave_out_writes_of_given_lineages(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        since = driver.put("old", 1, store="documents", space="kb")
        driver.append([put(name, 1, store="documents", space="kb") for name in ("b", "a")])
        driver.append([put(name, 1, store="documents", space="kb") for name in ("a", "inside")], lineage=ONE)
        driver.delete("gone", store="documents", space="kb")
        inside = backend.impact.lineages_with([1])
        names_since = backend.coverage.names_since
        assert names_since("documents", "kb", since) == ["a", "b", "gone", "inside"]
        assert names_since("documents", "kb", since, inside) == ["a", "b", "gone"]
        assert names_since("documents", "kb", backend.control.position().seq) == []

    def test_a_vector_is_of_the_version_that_its_batch_read(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        versions = [driver.put("a", number, store="documents", space="kb") for number in range(3)]
        stray = driver.put("a", 1, store="documents", space="faq")
        read = pack(Reads([*versions[:2], stray]))
        driver.upsert("kb", {"a": [1, 2], "unread": [1, 3]}, embedding="e1", reads=read)
        heads = backend.journal.heads(driver.view(), "vectors", "kb", ["a", "unread"])
        assert backend.coverage.embedding_spaces(heads.values()) == {head.seq: "e1" for head in heads.values()}
        assert backend.coverage.embedded_versions("kb", heads.values()) == {heads["a"].seq: versions[1]}
        driver.upsert("kb", {"b": [1, 2]}, reads=pack(Reads([versions[2]])))
        assert backend.coverage.embedded_versions("kb", heads.values()) == {heads["a"].seq: versions[1]}, "read later"
        driver.upsert("kb", {"a": [1, 4]}, author=type(driver.author)("another turn"))
        heads = backend.journal.heads(driver.view(), "vectors", "kb", ["a"])
        assert backend.coverage.embedded_versions("kb", heads.values()) == {}, "a turn that journaled no reads"

    def test_documents_are_uncovered_by_what_the_view_hides(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        seqs = driver.append([put(name, 1, store="documents", space="kb") for name in ("c", "b", "a")])
        clean = driver.upsert("kb", {"b": [1, 0], "c": [2, 0]})
        driver.upsert("kb", {"a": [1, 1], "b": [1, 2], "c": [2, 2], "no document": [1, 3]}, lineage=ONE)
        driver.delete("c", store="vectors", space="kb", lineage=frozenset({2}))
        after = driver.view(())
        driver.change("stage", "v2")
        lineages = backend.impact.lineages_with([1])

        def uncovered(*, include_covered: bool) -> list[tuple[str, int, int]]:
            rows = backend.coverage.uncovered(after, lineages, "kb", include_covered=include_covered)
            return [(row.name, row.document, row.covering) for row in rows]

        assert uncovered(include_covered=False) == [("a", seqs[2], 0)]
        assert uncovered(include_covered=True) == [
            ("a", seqs[2], 0),
            ("b", seqs[1], clean[0]),
            ("c", seqs[0], clean[1]),
        ]
        newer = driver.put("b", 2, store="documents", space="kb")
        assert uncovered(include_covered=False) == [("a", seqs[2], 0), ("b", newer, clean[0])]
        assert backend.coverage.uncovered(after, [], "kb", include_covered=True) == []
