"""Contract of `Journal`: atomic batches in one order, at the epoch of their view, once for each idempotency key."""

import threading
from contextlib import suppress

import pytest

from kedge.errors import IdempotencyMismatch, KedgeError, RolledBack
from kedge.model.lineage import EMPTY
from kedge.model.ranges import span_of
from kedge.model.reads import RangeRead, Reads, pack
from kedge.model.writes import Author, Head, TurnEdges, decode
from kedge.ports.backend import Backend
from kedge.ports.control import EpochMoved
from kedge.ports.journal import HeadMoved
from kedge.support import failpoints
from kedge.testing.contracts.backend_driver import BackendDriver, Opener, context, delete, put

ONE = frozenset({1})
TWO = frozenset({2})


class Broken(KedgeError):
    """Raised by a test in the middle of an append."""


class JournalContract:
    """Fixtures: `backend`, and `opener`, which opens the same database again."""

    # ── appending ──

    def test_a_batch_gets_seqs_in_its_order(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        first = driver.append([put("a", 1), put("b", 2), delete("c")])
        second = driver.append([put("a", 3)])
        assert first == sorted(first)
        assert len(set(first)) == 3
        assert second[0] > first[-1]

    @pytest.mark.parametrize("point", ["append:before-rows", "append:rows", "append:heads", "append:before-commit"])
    def test_a_batch_is_all_there_or_not_at_all(self, backend: Backend, point: str) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        driver.put("a", "old")

        def fail() -> None:
            raise Broken("injected")

        failpoints.arm(point, fail, nth=1)
        with pytest.raises(Broken):
            driver.append(
                [put("a", "new"), put("b", "new"), put("m", 1, store="documents", space="fresh")], lineage=ONE
            )
        found = backend.journal.range(driver.view(), "context", "")
        assert {head.key.name: decode(head.payload) for head in found.heads} == {"a": "old"}
        assert backend.journal.spaces("documents") == []
        seqs = driver.append([put("b", "again")], lineage=ONE)
        head = backend.journal.head(driver.view(), context("b"))
        assert head is not None
        assert (head.seq, head.lineage) == (seqs[0], ONE), "ids given in the failed transaction are given anew"

    def test_an_append_is_refused_once_the_record_has_moved(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        batch = driver.batch([put("a", 1)])
        driver.change("stage", "v1")
        with pytest.raises(EpochMoved):
            backend.journal.append(batch)
        assert backend.journal.head(driver.view(), context("a")) is None

    def test_an_append_that_carries_something_purged_is_refused(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        driver.change("roll_back", "v1")
        driver.put("a", "late", lineage=ONE)
        assert backend.journal.head(driver.view({1}), context("a")) is None, "hidden on arrival"
        driver.change("purge", "v1")
        with pytest.raises(RolledBack, match="purged"):
            driver.put("a", "later", lineage=ONE)

    def test_a_source_write_has_no_lineage(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        driver.append([put("said", 1, source=True), put("made", 2)], lineage=ONE)
        driver.change("roll_back", "v1")
        heads = backend.journal.heads(driver.view(), "context", "", ["said", "made"])
        assert list(heads) == ["said"]
        assert heads["said"].source
        assert heads["said"].lineage == EMPTY

    def test_what_another_process_appended_is_there(self, backend: Backend, opener: Opener) -> None:
        other = opener()
        driver = BackendDriver(backend)
        driver.live("v1")
        BackendDriver(other).append([put("a", 1)], lineage=ONE)
        head = backend.journal.head(driver.view(), context("a"))
        assert head is not None
        assert head.lineage == ONE, "a lineage that this process did not intern"
        other.close()

    def test_of_many_writers_each_write_is_there_once(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        seqs: list[int] = []

        def write(writer: int) -> None:
            for n in range(10):
                seqs.extend(driver.append([put(f"{writer}-{n}-{m}", n) for m in range(3)]))

        threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(seqs)) == 120
        heads = backend.journal.range(driver.view(), "context", "").heads
        assert sorted(head.seq for head in heads) == sorted(seqs)

    # ── idempotency ──

    def test_the_same_call_again_returns_the_first_seqs(self, backend: Backend, opener: Opener) -> None:
        other = opener()
        writes = [put("a", 1), put("b", 2)]
        first = BackendDriver(backend).append(writes, idempotency="call-1")
        assert BackendDriver(other).append(writes, idempotency="call-1") == first
        assert backend.control.position().seq == first[-1], "nothing was written between"
        other.close()

    @pytest.mark.parametrize(
        "writes",
        [[put("a", 2)], [put("b", 1)], [put("a", 1), put("b", 1)], [delete("a")], [put("a", 1, source=True)]],
        ids=["value", "key", "more", "delete", "origin"],
    )
    def test_the_same_key_with_another_payload_is_a_conflict(self, backend: Backend, writes: list[object]) -> None:
        driver = BackendDriver(backend)
        driver.append([put("a", 1)], idempotency="call-1")
        with pytest.raises(IdempotencyMismatch, match=r"'call-1' was used for another write.*use a fresh key"):
            driver.append(writes, idempotency="call-1")  # type: ignore[arg-type]

    def test_the_same_key_with_another_vector_is_a_conflict(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        first = driver.upsert("kb", {"a": [1.0, 2.0]}, idempotency="call-1")
        assert driver.upsert("kb", {"a": [1.0, 2.0]}, idempotency="call-1") == first
        with pytest.raises(IdempotencyMismatch):
            driver.upsert("kb", {"a": [1.0, 3.0]}, idempotency="call-1")

    def test_a_key_is_matched_against_writes_that_the_caller_sees(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1", "v2")
        first = driver.append([put("a", "x")], lineage=ONE, idempotency="call-1")
        driver.change("roll_back", "v1")
        second = driver.append([put("a", "x")], lineage=TWO, idempotency="call-1")
        assert second != first, "the first is hidden from this caller"
        assert driver.append([put("a", "x")], lineage=TWO, idempotency="call-1") == second
        driver.change("reinstate", "v1")
        assert driver.append([put("a", "x")], idempotency="call-1") in (first, second)

    def test_a_repeat_is_found_behind_other_calls_with_its_key(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        first = driver.append([put("a", "x")], lineage=ONE, idempotency="call-1")
        other = driver.append([put("a", "y")], seen=(), idempotency="call-1")
        assert driver.append([put("a", "x")], lineage=ONE, idempotency="call-1") == first
        assert driver.append([put("a", "y")], idempotency="call-1") == other
        with pytest.raises(IdempotencyMismatch):
            driver.append([put("a", "z")], idempotency="call-1")
        assert [call.seqs for call in backend.journal.calls(driver.view(), "call-1")] == [other, first]
        assert [call.seqs for call in backend.journal.calls(driver.view(seen=()), "call-1")] == [other]

    def test_a_replayed_call_finds_its_first_result_whatever_it_says_now(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        first = driver.append([put("a", 1)], idempotency="replay:1", first_wins=True)
        assert driver.append([put("a", 2)], idempotency="replay:1", first_wins=True) == first

    # ── compare-and-set ──

    def test_an_expected_head_is_compared_in_the_transaction(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.append([put("a", 1, expect=0)])
        seq = driver.put("a", 2)
        with pytest.raises(HeadMoved):
            driver.append([put("other", 1), put("a", 3, expect=seq - 1)])
        assert backend.journal.head(driver.view(), context("other")) is None, "all or nothing"
        assert driver.append([put("a", 3, expect=seq)])[0] > seq

    def test_the_expected_head_is_the_one_of_the_caller_s_view(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        clean = driver.put("a", "clean")
        driver.put("a", "tainted", lineage=ONE)
        with pytest.raises(HeadMoved):
            driver.append([put("a", "mine", expect=clean)], seen={1})
        assert driver.append([put("a", "mine", expect=clean)], seen=set())[0] > clean

    def test_of_many_that_compare_one_wins(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        won: list[int] = []

        def race(n: int) -> None:
            with suppress(HeadMoved):
                won.extend(driver.append([put("a", n, expect=0)]))

        threads = [threading.Thread(target=race, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1

    # ── reading ──

    def test_no_read_is_older_than_the_last_flip(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        driver.put("a", 1, lineage=ONE)
        stale = driver.view()
        driver.change("roll_back", "v1")
        journal = backend.journal
        for read in (
            lambda: journal.head(stale, context("a")),
            lambda: journal.head(stale, context("never written")),
            lambda: journal.heads(stale, "context", "", ["a"]),
            lambda: journal.range(stale, "context", ""),
            lambda: journal.range(stale, "context", "never written"),
            lambda: journal.history(stale, "s", None),
            lambda: journal.history(stale, "s", 3),
            lambda: journal.retracted(stale, "s", "", lambda _: True),
        ):
            with pytest.raises(EpochMoved):
                read()

    def test_a_range_is_in_name_order_and_holds_its_prefix(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        names = ["a", "a/1", "a/2", "ab", "b", "a\U0010ffff", "é", "\ud7ff", "\ue000", "\U0010ffff", "\U0010ffff/x"]
        driver.append([put(name, name) for name in names])
        for prefix in ("", "a", "a/", "a\U0010ffff", "\ud7ff", "\U0010ffff", "zz"):
            found = [head.key.name for head in backend.journal.range(driver.view(), "context", "", prefix).heads]
            assert found == sorted(name for name in names if name.startswith(prefix))
            for after in (None, *names):
                for reverse in (False, True):
                    span = span_of(prefix, after, 2, reverse=reverse)
                    part = backend.journal.range(driver.view(), "context", "", span).heads
                    rest = found[::-1] if reverse else found
                    rest = [n for n in rest if after is None or (n < after if reverse else n > after)]
                    assert [head.key.name for head in part] == rest[:2]

    def test_a_range_tells_the_lineages_of_its_tombstones(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1", "v2")
        driver.append([put("a", 1), put("b", 1), put("z", 1)])
        driver.delete("a", lineage=ONE)
        driver.delete("z", lineage=TWO)
        found = backend.journal.range(driver.view(), "context", "")
        assert [head.key.name for head in found.heads] == ["b"]
        assert found.tombstones == {ONE, TWO}
        assert backend.journal.range(driver.view(), "context", "", "a").tombstones == {ONE}
        assert backend.journal.range(driver.view({2}), "context", "", "a").tombstones == frozenset()
        driver.put("a", 2)
        assert ONE not in backend.journal.range(driver.view(), "context", "").tombstones, "written over"

    def test_spaces_are_apart(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.put("a", 1, store="documents", space="kb")
        driver.put("a", 2, store="documents", space="faq")
        driver.put("a", 3)
        heads = {s: backend.journal.heads(driver.view(), "documents", s, ["a"])["a"] for s in ("kb", "faq")}
        assert {space: decode(head.payload) for space, head in heads.items()} == {"kb": 1, "faq": 2}
        assert backend.journal.spaces("documents") == ["faq", "kb"]
        assert set(backend.journal.stores()) >= {"context", "documents"}
        driver.put("a", 4, store="store:own", space="s")
        assert backend.journal.stores() == sorted({*backend.journal.stores(), "store:own"})

    # ── replay ──

    def test_a_replayed_write_ranks_at_its_input(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        asked = driver.put("a", "input")
        driver.put("later", 1)
        driver.put("a", "newest")
        replayed = driver.put("a", "replayed", rank=asked)
        head = backend.journal.head(driver.view(), context("a"))
        assert head is not None
        assert decode(head.payload) == "newest", "it loses to later visible writes"
        driver.put("b", "replayed", rank=asked)
        late = backend.journal.head(driver.view(), context("b"))
        assert late is not None
        assert (late.rank, late.seq > replayed) == (asked, True)

    def test_a_replayed_message_stands_at_its_place(self, backend: Backend) -> None:
        driver = BackendDriver(backend)

        def say(content: str, rank: int | None = None) -> int:
            message = {"role": "x", "content": content}
            return driver.put("", message, store="memory", space="s", rank=rank)

        asked = say("question")
        say("another question")
        say("answer", rank=asked)
        say("and more", rank=asked)
        heads = backend.journal.history(driver.view(), "s", None).heads
        assert [decode(h.payload)["content"] for h in heads] == ["question", "answer", "and more", "another question"]

    # ── read logs ──

    def test_what_a_turn_had_read_is_kept_with_what_it_wrote(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        author = Author("turn-1", agent="a", session="s", parent="caller")
        logs = [Reads([3, 5]), Reads([], [RangeRead("context", "", "case/", 9, 5)])]
        for log in logs:
            driver.append([put("k", 1)], author=author, reads=pack(log))
        (turn,) = backend.provenance.turns(["turn-1"])
        assert (turn.agent, turn.session, turn.parent) == ("a", "s", "caller")
        assert backend.provenance.reads_of([turn.turn])[turn.turn] == logs

    def test_an_edge_keeps_the_turn_that_wrote_nothing(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        before = backend.control.position().seq
        author = Author("turn-1", agent="a")
        backend.journal.record_edges([TurnEdges(author, ONE, pack(Reads([1])), (("call", "b"),))])
        (turn,) = backend.provenance.turns(["turn-1"])
        assert backend.provenance.reads_of([turn.turn])[turn.turn] == [Reads([1])]
        assert backend.control.position().seq == before, "an edge is no write"

    def test_turns_come_with_a_batch_callers_first(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        caller, callee = Author("caller", agent="a"), Author("callee", agent="b", parent="caller")
        edges = (TurnEdges(caller, EMPTY, pack(Reads([1])), (("child", "callee"),)), TurnEdges(callee, EMPTY))
        with pytest.raises(HeadMoved):
            driver.append([put("k", 1, expect=7)], author=callee, edges=edges)
        assert backend.provenance.turns(["caller"]) == [], "all or nothing"
        driver.append([put("k", 1)], author=callee, edges=edges, reads=pack(Reads([2])))
        turns = sorted(backend.provenance.turns(["caller", "callee"]), key=lambda turn: turn.turn)
        assert [turn.uid for turn in turns] == ["caller", "callee"]
        idents = [turn.turn for turn in turns]
        assert list(backend.provenance.reads_of(idents).values()) == [[Reads([1])], [Reads([2])]]
        backend.journal.record_edges([TurnEdges(caller, EMPTY, None, (("absorb", "callee"), ("call", "")))])
        edges_found = [(edge.kind, edge.turn, edge.peer) for edge in backend.provenance.newest_edges(10)]
        assert edges_found == [("child", "caller", "callee"), ("absorb", "caller", "callee"), ("call", "caller", "")]

    def test_the_lineage_of_a_turn_only_grows(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1", "v2")
        for number, lineage in enumerate((EMPTY, ONE, EMPTY, ONE | TWO, TWO)):
            driver.append([put(f"k{number}", 1)], lineage=lineage)
        ids = {members: head.lineage_id for members, head in _heads(driver)}
        assert [t.uid for t in backend.provenance.influenced_turns([ids[ONE | TWO]])] == [driver.author.uid]
        assert backend.provenance.influenced_turns([ids[TWO], ids[EMPTY]]) == []


def _heads(driver: BackendDriver) -> list[tuple[frozenset[int], Head]]:
    heads = driver.backend.journal.range(driver.view(), "context", "").heads
    return [(head.lineage, head) for head in heads]
