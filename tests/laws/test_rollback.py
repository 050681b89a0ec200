"""Source survives · One flip · Hidden on arrival · Reversible."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

import kedge
from kedge import Kedge, Turn
from kedge.ports.control import EpochMoved
from kedge.ports.journal import Appended
from kedge.turns.scope import scope_of
from tests.laws.scene import BAD, EMPTY, VECTOR, clerk, full, helper, read_everywhere, release, write_everywhere

# ---------------------------------------------------------------- source survives


def test_no_rollback_hides_what_came_from_outside(bad: Kedge) -> None:
    with helper(bad) as turn:
        turn.memory.append("user", "my words")
        turn.memory.append("assistant", "the answer")
        turn.documents("kb").put("upload", "text")
        turn.context.put("note", "from outside", origin="source")
        turn.vectors("kb").upsert(["key"], [VECTOR], ["from outside"], origin="source")
    with bad.turn("s", person="pat") as turn:
        turn.context.get("note")
        turn.context.put("policy", "corrected")
    bad.rollback(BAD)
    view = bad.view(session="s")
    assert [message.content for message in view.memory.history()] == ["my words"]
    assert view.documents("kb").get("upload") == "text"
    assert view.context.items() == {"note": "from outside", "policy": "corrected"}
    assert view.vectors("kb").count() == 1


def test_a_user_s_words_stay_whatever_the_turn_had_read(bad: Kedge) -> None:
    with helper(bad) as turn:
        write_everywhere(turn, "bad")
    with clerk(bad) as turn:
        read_everywhere(turn)
        assert turn.lineage == {BAD}
        turn.memory.append("user", "still mine")
    bad.rollback(BAD)
    assert [message.content for message in bad.view(session="s").memory.history()] == ["still mine"]


# ---------------------------------------------------------------- one flip


def test_before_the_flip_all_is_seen_and_after_it_nothing(bad: Kedge) -> None:
    release(bad, "dependant")
    with helper(bad) as turn:
        write_everywhere(turn, "bad")
    before = bad.epoch
    bad.rollback(BAD)
    flips = [entry for entry in bad.log() if entry.epoch > before and not entry.is_step]
    assert [(entry.kind, entry.epoch) for entry in flips] == [("rollback", before + 1)]
    assert {d.name: d.status for d in bad.deployments()} == {
        "good": "settled",
        BAD: "rolled back",
        "dependant": "rolled back",
    }
    assert read_everywhere(bad.at(flips[0].seq - 1, session="s")) == full("bad")
    assert read_everywhere(bad.at(flips[0].seq, session="s")) == EMPTY


def test_it_shrinks_every_open_view_at_once(bad: Kedge) -> None:
    with helper(bad) as turn:
        write_everywhere(turn, "bad")
    view, of_session = bad.view(), bad.view(session="s")
    with clerk(bad) as blind, clerk(bad) as reader:
        assert read_everywhere(reader) == full("bad")
        assert view.context.get("key") == "bad"
        bad.rollback(BAD)
        assert read_everywhere(of_session) == EMPTY
        assert view.context.get("key") is None
        assert read_everywhere(blind) == EMPTY
        with pytest.raises(kedge.RolledBack):
            reader.context.get("key")


# ---------------------------------------------------------------- hidden on arrival


class Late:
    """A write that is delayed on its way to the journal, as by a cut cable, and arrives on release."""

    def __init__(self, turn: Turn, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        held: list[Any] = []

        def hold(batch: Any) -> Appended:
            held.append(batch)
            return Appended([0])

        self._journal = scope_of(turn).backend.journal
        with monkeypatch.context() as patch:
            patch.setattr(self._journal, "append", hold)
            turn.context.put(key, "late")
        self._batch = held[0]

    def arrive(self, *, epoch: int | None = None) -> None:
        """Come, having last heard of the control record when it was written, or as if at this epoch."""
        self._journal.append(self._batch if epoch is None else msgspec.structs.replace(self._batch, epoch=epoch))


def test_a_write_that_comes_after_the_rollback_is_refused_or_hidden(
    bad: Kedge, monkeypatch: pytest.MonkeyPatch
) -> None:
    with helper(bad) as turn:
        late = Late(turn, "key", monkeypatch)
    bad.rollback(BAD)
    with pytest.raises(EpochMoved):
        late.arrive()
    late.arrive(epoch=bad.epoch)
    for view in (bad.view(), bad.view(session="s"), bad.at(bad.seq)):
        assert view.context.get("key") is None
    bad.reinstate(BAD)
    assert bad.view().context.get("key") == "late", "reinstated, it shows what arrived hidden as well"


# ---------------------------------------------------------------- reversible


def test_a_reinstated_deployment_brings_back_exactly_what_was_hidden(bad: Kedge) -> None:
    with helper(bad) as turn:
        write_everywhere(turn, "first")
        turn.vectors("kb").upsert(["other"], [VECTOR], ["second"])
        turn.context.put("gone", 1)
        turn.context.delete("gone")
    before = [shown(bad.view(session)) for session in (None, "s")]
    bad.rollback(BAD)
    assert [shown(bad.view(session)) for session in (None, "s")] != before
    bad.reinstate(BAD)
    assert [shown(bad.view(session)) for session in (None, "s")] == before


def test_what_was_written_meanwhile_stays_in_its_place(bad: Kedge) -> None:
    with helper(bad) as turn:
        turn.context.put("key", "bad")
        turn.memory.append("assistant", "bad")
    bad.rollback(BAD)
    with clerk(bad) as turn:
        turn.context.put("key", "meanwhile")
        turn.memory.append("assistant", "meanwhile")
    bad.reinstate(BAD)
    view = bad.view(session="s")
    assert view.context.get("key") == "meanwhile"
    assert [message.content for message in view.memory.history()] == ["bad", "meanwhile"]


@pytest.mark.parametrize("status", ["staged", "canary", "live"])
def test_a_deployment_comes_back_to_what_it_was(k: Kedge, status: str) -> None:
    k.deploy("new", {"helper/prompt": "x"}, canary=0.25 if status == "canary" else None)
    if status == "live":
        k.promote("new")
    before = k.deployment("new")
    k.rollback("new")
    k.reinstate("new")
    after = k.deployment("new")
    assert (after.status, after.weight) == (before.status, before.weight)


def test_after_a_purge_nothing_comes_back(bad: Kedge) -> None:
    with helper(bad) as turn:
        write_everywhere(turn, "bad")
    bad.rollback(BAD)
    bad.purge(BAD, confirm=BAD)
    with pytest.raises(kedge.KedgeError):
        bad.reinstate(BAD)
    assert read_everywhere(bad.view(session="s")) == EMPTY


def shown(view: kedge.ReadView) -> Any:
    """Return all that a view shows, with where it was written."""
    vectors = view.vectors("kb")
    return (
        view.context.entries(""),
        view.documents("kb").entries(""),
        {name: (row.vector.tolist(), row.payload, row.seq) for name, row in vectors.get(vectors.ids()).items()},
        list(vectors.search(VECTOR, k=5)),
        view.memory.history() if view.session else [],
        {key: artifact.value for key, artifact in view.artifacts.items("").items()},
    )
