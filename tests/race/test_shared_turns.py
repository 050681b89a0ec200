"""One turn that several threads share: nothing that one of them read is lost, nor taken for read before it was."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import kedge
from kedge import Kedge, Turn
from kedge.turns.scope import scope_of
from tests.concurrency import SECONDS, pause_at, run_all
from tests.laws.scene import BAD, clerk, helper, release
from tests.race.test_forks import child, ended_well

pytestmark = pytest.mark.both
THREADS = range(6)


@pytest.fixture
def k(place: str) -> Iterator[Kedge]:
    with kedge.open(place, durability="normal") as k:
        yield k


def journaled(turn: Turn) -> set[int]:
    """Return the seqs of all writes that the journal says a turn has read."""
    provenance = scope_of(turn).backend.provenance
    return {
        seq
        for found in provenance.turns([turn.id])
        for reads in provenance.reads_of([found.turn]).get(found.turn, ())
        for seq in reads.seqs
    }


def in_thread(work: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    """Run a function in a thread; return it, and the list that gets its error."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, failed


def test_what_is_read_during_a_commit_is_journaled_with_the_next_one(k: Kedge) -> None:
    with clerk(k) as turn:
        seqs = [turn.context.put(f"fact/{n}", n) for n in range(2)]
    with clerk(k) as turn:
        turn.context.get("fact/0")
        begun, released = pause_at("append:before-rows")
        thread, failed = in_thread(lambda: turn.context.put("one", 1))
        assert begun.wait(SECONDS)
        turn.context.get("fact/1")
        released.set()
        thread.join()
        assert failed == []
        turn.context.put("two", 2)
        assert journaled(turn) == set(seqs)


def test_what_an_edge_did_not_take_stays(k: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    with clerk(k) as turn:
        seq = turn.context.put("fact", 1)
    with clerk(k) as turn:
        journal = scope_of(turn).backend.journal
        record = journal.record_edges

        def read_and_record(turns: Any) -> None:
            record(turns)
            monkeypatch.undo()
            turn.context.get("fact")

        monkeypatch.setattr(journal, "record_edges", read_and_record)
        turn.headers()
        turn.context.put("next", 1)
        assert journaled(turn) == {seq}


def test_six_threads_lose_no_read(k: Kedge) -> None:
    each = 5
    with clerk(k) as turn:
        for n in THREADS:
            for m in range(each):
                turn.context.put(f"fact/{n}/{m}", m)
        facts = {entry.seq for entry in turn.context.entries("fact/")}
    with clerk(k) as turn:

        def work(n: int) -> None:
            for m in range(each):
                turn.context.get(f"fact/{n}/{m}")
                turn.context.put(f"made/{n}/{m}", m)

        run_all(work, THREADS)
        turn.context.put("last", 1)
        assert journaled(turn) == facts


def test_a_turn_stays_influenced_whichever_of_its_threads_commits_last(
    k: Kedge, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(k, BAD)
    with helper(k) as turn:
        turn.context.put("fact", "bad")
    with clerk(k) as turn:
        turn.memory.append("user", "a question")
        journal = scope_of(turn).backend.journal
        append, begun, released = journal.append, threading.Event(), threading.Event()

        def append_late(batch: Any) -> Any:
            monkeypatch.undo()
            begun.set()
            released.wait(SECONDS)
            return append(batch)

        monkeypatch.setattr(journal, "append", append_late)
        thread, failed = in_thread(lambda: turn.context.put("clean", 1))
        assert begun.wait(SECONDS)
        turn.context.get("fact")
        turn.context.put("built on it", 1)
        released.set()
        thread.join()
        assert failed == []
    k.rollback(BAD)
    assert set(k.view().context.items()) == {"clean"}
    assert [item.agent for item in k.replay_pending()] == ["clerk"], "the turn's input is answered again"


def test_a_read_that_was_rolled_back_before_it_was_noted_ends_the_turn(
    k: Kedge, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(k, BAD)
    with helper(k) as turn:
        turn.context.put("fact", "bad")
    with clerk(k) as turn:
        journal = scope_of(turn).backend.journal
        head, begun, released = journal.head, threading.Event(), threading.Event()

        def head_late(*asked: Any) -> Any:
            found = head(*asked)
            monkeypatch.undo()
            begun.set()
            released.wait(SECONDS)
            return found

        monkeypatch.setattr(journal, "head", head_late)
        thread, failed = in_thread(lambda: turn.context.get("fact"))
        assert begun.wait(SECONDS)
        k.rollback(BAD)
        turn.context.put("another", 1)  # moves the view of the turn
        released.set()
        thread.join()
        assert [type(error) for error in failed] == [kedge.RolledBack]
        with pytest.raises(kedge.RolledBack):
            turn.context.put("built on it", 1)


def test_a_forked_process_goes_on_with_a_turn_that_threads_share(k: Kedge) -> None:
    with clerk(k) as turn:
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                turn.context.get("fact")

        thread, failed = in_thread(work)
        try:
            assert all(ended_well(child(lambda n=n: turn.context.put(f"child/{n}", n))) for n in range(5))  # type: ignore[misc]
        finally:
            stop.set()
            thread.join()
        assert failed == []
        assert len(turn.context.items("child/")) == 5


def test_children_in_threads_journal_all_that_they_rest_on(k: Kedge) -> None:
    with clerk(k) as turn:
        seqs = {n: turn.context.put(f"fact/{n}", n) for n in (*THREADS, "root")}
    with clerk(k) as root:
        root.context.get("fact/root")
        children: list[Turn] = []

        def work(n: int) -> None:
            with k.turn(agent=f"worker-{n}", parent=root) as worker:
                children.append(worker)
                worker.context.get(f"fact/{n}")
                with k.turn(agent="looker", parent=worker) as looker:
                    looker.context.get("fact/root")
                worker.absorb(looker)
                root.absorb(worker)
                worker.context.put(f"made/{n}", n)
                root.context.put(f"root/{n}", n)

        run_all(work, THREADS)
        assert len(root.context.items("made/")) == len(THREADS)
        assert journaled(root) == {seqs["root"]}
        assert [journaled(worker) for worker in children] == [{seqs[int(w.agent[7:])]} for w in children if w.agent]
    provenance = scope_of(root).backend.provenance
    edges = {(edge.kind, edge.turn, edge.peer) for edge in provenance.newest_edges(1_000)}
    assert {(kind, root.id, worker.id) for worker in children for kind in ("child", "absorb")} <= edges
    turns = {turn.uid: turn for turn in provenance.newest_turns(100)}
    assert all(turns[t.parent].turn < t.turn for t in turns.values() if t.parent), "callers come first"
