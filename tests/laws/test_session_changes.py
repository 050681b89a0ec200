"""Forks and rewinds of sessions: what they show, what a rollback leaves of them, and which inputs are replayed."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import pytest

import kedge
from kedge import Kedge
from kedge.deployments import session_changes
from kedge.model import session_copy
from kedge.model.writes import Key, Pending, encode
from kedge.support import failpoints
from kedge.turns.scope import scope_of
from tests.concurrency import SECONDS
from tests.laws.scene import clerk, helper, opened, release

POSTGRES_ONE_IN = 2
STORE = "store:checkpoints"  # a keyed store of a user's own


def keep(turn: kedge.Turn, name: str, value: Any) -> None:
    """Write to the space of a keyed store that is named after the session."""
    payload = None if value is None else encode(value)
    scope_of(turn).write((Pending(Key(STORE, turn.session or "", name), payload),))


def damage(k: Kedge) -> list[kedge.Finding]:
    """Return what fsck finds, save that the store of these tests is none of Kedge's own."""
    return [found for found in k.fsck(full=True).findings if "is none of a store" not in found.message]


def kept(k: Kedge, session: str) -> dict[str, Any]:
    scope = scope_of(k.view(session=session))
    found = scope.read(lambda view: k._kernel.backend.journal.range(view, STORE, session))
    return {head.key.name: (head.payload, sorted(scope.names(head.lineage))) for head in found.heads}


def told(k: Kedge, session: str) -> list[tuple[Any, ...]]:
    """Return all that the memory of a session shows, by value."""
    history = k.view(session=session).memory.history()
    return [(m.role, m.content, m.agent, sorted(m.lineage)) for m in history]


def shown(k: Kedge, session: str) -> tuple[Any, ...]:
    return told(k, session), kept(k, session), sorted(k.view(session=session).seen)


def talk(k: Kedge, session: str, said: str) -> None:
    """Have a person say something, and the influenced agent answer and keep a checkpoint."""
    with k.turn(session, person="pat") as turn:
        turn.memory.append("user", said)
    with helper(k, session) as turn:
        question = turn.memory.history(limit=1)[0].content
        turn.memory.append("assistant", f"{turn.artifacts['helper/prompt'].value}: {question}")
        keep(turn, "state", question)
        keep(turn, f"at/{question}", question)


def answer(turn: kedge.Turn, item: kedge.ReplayInput) -> None:
    turn.memory.append("assistant", f"{turn.artifacts['helper/prompt'].value}: {item.value}")


def canary(k: Kedge) -> None:
    k.deploy("new", {"helper/prompt": "new"}, canary=1.0)


# ── forks ──


@pytest.mark.both
def test_a_fork_shows_what_its_source_showed(k: Kedge) -> None:
    canary(k)
    with k.turn("s", "clerk", unit_id="user-1", refresh="promoted") as turn:
        turn.memory.append("user", "one")
    talk(k, "s", "two")
    with clerk(k) as turn:
        keep(turn, "shared", "clerk's")
    with helper(k) as turn:
        turn.memory.delete(turn.memory.history()[0].seq)
        keep(turn, "shared", "helper's")
    k.canary("new", 0.0)
    before = shown(k, "s")
    forked = k.fork_session("s", "t")
    assert shown(k, "t") == before == shown(k, "s")
    found = {info.session: info for info in k.sessions()}
    assert found["t"].forked_from == ("s", forked.seq)
    assert (found["t"].unit_id, found["t"].refresh, found["t"].opened_with) == ("user-1", "promoted", None)
    talk(k, "t", "three")
    assert shown(k, "s") == before, "a fork goes its own way"
    assert told(k, "t")[-1] == ("assistant", "new: three", "helper", ["new"])
    k.rollback("new")
    assert [message[1] for message in told(k, "t")] == ["one", "two", "three"], "the agent's delete goes, too"
    assert [message[1] for message in told(k, "s")] == ["one", "two"]
    assert kept(k, "t") == kept(k, "s") == {"shared": (encode("clerk's"), [])}, "what it had overwritten is back"
    assert damage(k) == []


@pytest.mark.both
def test_a_fork_after_a_rollback_equals_a_twin(new_place: Callable[[], str]) -> None:
    def run(place: str, *, bad: bool) -> tuple[Any, ...]:
        with opened(place) as k:
            if bad:
                canary(k)
            talk(k, "s", "one")
            k.fork_session("s", "t")
            talk(k, "t", "two")
            talk(k, "s", "three")
            k.fork_session("t", "u")
            if bad:
                k.rollback("new")
                report = k.replay(answer)
                pending = sorted((item.session, item.value) for item in report.replayed)
                assert pending == [
                    ("s", "one"), ("s", "three"), ("t", "one"), ("t", "two"), ("u", "one"), ("u", "two"),
                ]  # fmt: skip
                assert not report.failed
                assert k.replay_pending() == []
                assert damage(k) == []
            return tuple(told(k, session) for session in "stu")

    assert run(new_place(), bad=True) == run(new_place(), bad=False)


def test_an_input_that_was_answered_before_the_fork_is_not_replayed_again(k: Kedge) -> None:
    canary(k)
    talk(k, "s", "one")
    k.rollback("new")
    k.replay(answer)
    release(k, "next")
    k.refresh("s")
    k.fork_session("s", "t")
    assert shown(k, "t") == shown(k, "s")
    assert k.replay_pending() == []
    talk(k, "t", "two")
    k.rollback("next")
    assert [(item.session, item.seq) for item in k.replay_pending()] == [("t", told_seq(k, "t", "two"))]


def told_seq(k: Kedge, session: str, content: str) -> int:
    return next(m.seq for m in k.view(session=session).memory.history() if m.content == content)


def test_a_callee_in_a_fork_leads_to_the_copy_of_its_callers_input(k: Kedge) -> None:
    canary(k)
    with k.turn("s", "clerk") as caller:
        caller.memory.append("user", "ask")
        with k.turn(agent="helper", parent=caller.headers()) as callee:
            callee.memory.append("assistant", "told")
    k.fork_session("s", "t")
    k.rollback("new")
    assert sorted((item.session, item.agent) for item in k.replay_pending()) == [("s", "helper"), ("t", "helper")]


@pytest.mark.both
def test_sources_of_turns_of_a_purged_deployment_are_copied(k: Kedge) -> None:
    release(k, "bad")
    with helper(k) as turn:
        asked = turn.memory.append("user", "ask")
        turn.memory.append("assistant", "told")
        turn.memory.delete(asked, origin="source")
        turn.memory.append("user", "again")
    k.rollback("bad")
    k.purge("bad", confirm="bad")
    k.fork_session("s", "t")
    assert [message[1] for message in told(k, "t")] == ["again"]
    done = k.rewind("s", asked)
    assert [message[1] for message in told(k, "s")] == ["ask"]
    k.undo_rewind(done.id)
    assert told(k, "s") == told(k, "t")
    assert damage(k) == []


def test_the_turns_of_a_fork_keep_what_they_read_elsewhere(k: Kedge) -> None:
    with k.turn("z", person="pat") as turn:
        sources = {turn.documents("kb").put("a", "x"), turn.context.put("b/1", "y")}
    with clerk(k) as turn:
        keep(turn, "own", 1)
        turn.documents("kb").get("a")
        turn.context.get("b/1")
        turn.context.items("b/")
        turn.memory.history()
        answered = turn.memory.append("assistant", "told")
    k.fork_session("s", "t")
    copied = k.view(session="t").memory.history()[0].seq
    journal = k._kernel.backend.provenance
    reads = {
        seq: journal.reads_of([writer.turn])[writer.turn]
        for seq, writer in journal.writers_of([answered, copied]).items()
    }
    for logs in reads.values():
        assert sources <= {seq for log in logs for seq in log.seqs}
        assert {(read.store, read.prefix) for log in logs for read in log.ranges} >= {("context", "b/"), ("memory", "")}
    assert {read.space for log in reads[copied] for read in log.ranges if read.store == "memory"} == {"t"}


@pytest.mark.both
@pytest.mark.parametrize("nth", [1, 2])
def test_a_fork_is_all_there_or_not_at_all(k: Kedge, nth: int) -> None:
    def fail() -> None:
        raise Broken("injected")

    talk(k, "s", "one")
    failpoints.arm("append:heads", fail, nth=nth)
    with pytest.raises(Broken):
        k.fork_session("s", "t")
    assert [info.session for info in k.sessions()] == ["s"]
    assert (told(k, "t"), kept(k, "t")) == ([], {})
    assert k.fork_session("s", "t").writes == 4
    assert told(k, "t") == told(k, "s")
    assert damage(k) == []


class Broken(kedge.KedgeError):
    """Raised by a test in the middle of a fork."""


@pytest.mark.both
def test_a_fork_shows_what_its_source_would_adopt(k: Kedge) -> None:
    with k.turn("s", "clerk", refresh="promoted") as turn:
        turn.memory.append("user", "one")
    release(k, "new")
    with helper(k, None) as turn:
        turn.store("checkpoints").space("s").put("a", "helper's")
    expected = k.view(session="s").store("checkpoints").space("s").items()
    assert expected == {"a": "helper's"}
    k.fork_session("s", "t")
    assert k.view(session="t").store("checkpoints").space("t").items() == expected
    assert k.assignment("t") == k.assignment("s") == ["new"]


def test_a_fork_needs_a_session_and_a_new_name(k: Kedge) -> None:
    talk(k, "s", "one")
    talk(k, "t", "two")
    with pytest.raises(kedge.DuplicateName, match="'t' exists already"):
        k.fork_session("s", "t")
    with pytest.raises(kedge.UnknownName, match="no session is named 'nobody'"):
        k.fork_session("nobody", "u")
    with pytest.raises(kedge.InvalidValue, match="into itself"):
        k.fork_session("s", "s")
    k.end_session("s")
    assert k.fork_session("s", "u").writes
    assert {info.session: info.ended for info in k.sessions()} == {"s": True, "t": False, "u": False}
    with k.turn("empty", "clerk"):
        pass
    assert k.fork_session("empty", "v").writes == 0


def test_the_past_of_a_fork_begins_with_it(k: Kedge) -> None:
    talk(k, "s", "one")
    before = k.seq
    k.fork_session("s", "t")
    after = k.seq
    talk(k, "t", "two")
    assert k.at(before, session="t").memory.history() == []
    assert [m.content for m in k.at(after, session="t").memory.history()] == ["one", "helper/prompt of good: one"]


@pytest.mark.both
def test_a_fork_is_of_one_moment(k: Kedge) -> None:
    with clerk(k) as turn:
        turn.memory.append("user", 0)

    def write() -> None:
        for number in range(1, 25):
            with clerk(k) as turn:
                turn.memory.append("user", number)

    writer = Thread(target=write)
    writer.start()
    for number in range(6):
        k.fork_session("s", f"fork-{number}")
    writer.join()
    for number in range(6):
        contents = [message[1] for message in told(k, f"fork-{number}")]
        assert contents == list(range(len(contents)))


@pytest.mark.both
def test_writers_to_a_space_that_is_named_as_the_fork_wait_for_it(k: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, released = Event(), Event()
    compose = session_copy.fork_batches

    def paused(*arguments: Any) -> Any:  # the seqs are drawn
        begun.set()
        released.wait(SECONDS)
        return compose(*arguments)

    monkeypatch.setattr(session_copy, "fork_batches", paused)
    with clerk(k) as turn:
        keep(turn, "a", 1)
    forking = Thread(target=k.fork_session, args=("s", "t"))
    forking.start()
    assert begun.wait(SECONDS)

    def write() -> None:
        with k.turn(agent="clerk") as turn:
            turn.store("checkpoints").space("t").put("a", 2)

    writer = Thread(target=write)
    writer.start()
    writer.join(0.3)
    assert writer.is_alive(), "its seq is drawn after those of the fork"
    released.set()
    forking.join()
    writer.join()
    assert k.view().store("checkpoints").space("t").items() == {"a": 2}
    assert damage(k) == []


@pytest.mark.both
def test_a_fork_never_joins_what_others_wrote_meanwhile(k: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    with clerk(k) as turn:
        keep(turn, "a", 1)
    decide = session_changes._fork

    def overtaken(*arguments: Any) -> Any:
        decided = decide(*arguments)
        with k.turn(agent="clerk") as turn:
            turn.store("checkpoints").space("t").put("b", 2)
        return decided

    monkeypatch.setattr(session_changes, "_fork", overtaken)
    with pytest.raises(kedge.DuplicateName, match="a session named 't' exists already"):
        k.fork_session("s", "t")
    assert [info.session for info in k.sessions()] == ["s"]
    assert k.view().store("checkpoints").space("t").items() == {"b": 2}


# ── rewinds ──


@pytest.mark.both
def test_a_rewind_takes_memory_and_spaces_back_and_can_be_undone(k: Kedge) -> None:
    canary(k)
    talk(k, "s", "one")
    to, before = k.seq, shown(k, "s")
    talk(k, "s", "two")
    with clerk(k) as turn:
        turn.memory.delete(turn.memory.history()[0].seq)
        keep(turn, "at/one", None)
    after = shown(k, "s")
    rewound = k.rewind("s", to, by="pat")
    assert shown(k, "s") == before
    assert (rewound.deleted, rewound.restored) == (3, 3), "two messages and a key; a message, a key and a value"
    with clerk(k) as turn:
        seq = turn.memory.append("user", "later")
    undone = k.undo_rewind(rewound.id)
    assert told(k, "s")[-1][:2] == ("user", "later"), "what came since stays"
    with k.turn("s", person="pat") as turn:
        turn.memory.delete(seq)
    assert shown(k, "s") == after
    assert k.undo_rewind(rewound.id).restored == 0, "it was undone before"
    k.undo_rewind(undone.id)
    assert shown(k, "s") == before, "and so can be the undoing"
    assert damage(k) == []


@pytest.mark.both
def test_a_rewind_that_was_undone_leaves_no_trace_in_a_rollback(new_place: Callable[[], str]) -> None:
    def run(place: str, *, rewinds: bool) -> tuple[Any, ...]:
        with opened(place) as k:
            talk(k, "s", "zero")
            to = k.seq
            k.deploy("new", {"helper/prompt": "new"})
            k.promote("new")
            k.refresh("s")
            talk(k, "s", "one")
            with helper(k) as turn:
                turn.memory.delete(turn.memory.history()[0].seq)
            with helper(k) as turn:
                turn.memory.extend([("user", "two"), ("assistant", "new: two")])
            if rewinds:
                rewound = k.rewind("s", to)
                assert [message[1] for message in told(k, "s")] == ["zero", "helper/prompt of good: zero"]
                assert k.replay_pending() == []
                k.undo_rewind(rewound.id)
            with helper(k) as turn:
                turn.memory.append("assistant", f"still: {turn.memory.history(limit=2)[0].content}")
            found = [shown(k, "s")]
            k.rollback("new")
            found.append(shown(k, "s"))
            replayed = k.replay(answer).replayed
            return *found, sorted((item.session, item.value) for item in replayed), shown(k, "s"), k.replay_pending()

    assert run(new_place(), rewinds=True) == run(new_place(), rewinds=False)


@pytest.mark.both
def test_what_was_rewound_stays_so_in_a_rollback_and_is_not_replayed(k: Kedge) -> None:
    canary(k)
    with clerk(k, "s") as turn:
        turn.memory.append("user", "zero")
    to = k.seq
    talk(k, "s", "one")
    k.rewind("s", to)
    k.rollback("new")
    assert [message[1] for message in told(k, "s")] == ["zero"]
    assert k.replay_pending() == []
    k.reinstate("new")
    assert [message[1] for message in told(k, "s")] == ["zero"]


def test_a_rewind_of_a_fork_is_its_own(k: Kedge) -> None:
    talk(k, "s", "one")
    talk(k, "s", "two")
    k.fork_session("s", "t")
    before = shown(k, "s")
    k.rewind("t", told_seq(k, "t", "one"))
    assert [message[1] for message in told(k, "t")] == ["one"]
    assert shown(k, "s") == before


def test_a_copied_message_is_deleted_by_its_own_seq(k: Kedge) -> None:
    with clerk(k) as turn:
        first = turn.memory.append("user", "one")
    k.fork_session("s", "t")
    with clerk(k, "t") as turn:
        with pytest.raises(kedge.InvalidValue, match="no message with seq"):
            turn.memory.delete(first)
        turn.memory.delete(turn.memory.history()[0].seq)
    assert (len(told(k, "s")), told(k, "t")) == (1, [])


def test_wrong_rewinds_are_refused(k: Kedge) -> None:
    talk(k, "s", "one")
    for wrong in (-1, "5", 1.5, True, k.seq + 1):
        with pytest.raises(kedge.InvalidValue, match=r"rewind|to"):
            k.rewind("s", wrong)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(kedge.InvalidValue, match="give the seq of a message"):
        k.rewind("s", k.seq + 1)
    with pytest.raises(kedge.UnknownName):
        k.rewind("nobody", 0)
    with pytest.raises(kedge.UnknownName, match="no rewind has the id"):
        k.undo_rewind("nothing")
    assert (k.rewind("s", k.seq).deleted, len(told(k, "s"))) == (0, 2)
