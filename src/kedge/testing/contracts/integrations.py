"""The laws of integrations with frameworks whose programs converse in threads: a rollback, and the host's own ways.

An adapter joins by a fixture `team_on`: it builds the same team of agents in the host's words, in each of its modes.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

import kedge

FIRST = {"clerk/prompt": "c1", "planner/prompt": "p1", "expert/prompt": "e1"}
BAD = {"planner/prompt": "p2", "expert/prompt": "e2"}


class Team(Protocol):
    """A small program of the host over a database. It keeps a list of texts in each thread.

    The clerk answers `clerk[<its prompt>]`; then, side by side, the planner answers `planner[<its prompt>]` and the
    auditor `auditor`, as much as there was before. Where the user's text holds "ask", the planner asks
    `<its prompt>?` before, and answers `planner[<its prompt>] heard <answer>`; where it holds "hand off", a program
    inside the planner's step answers `expert[<its prompt>]` first, and the planner reads nothing of its own.
    `on`: what is called when an agent begins to work, by its name.
    """

    on: dict[str, Callable[[], object]]

    def say(self, thread: str, text: str) -> list[str]:
        """Send a user's text; return the thread's texts."""

    def answer(self, thread: str, text: str) -> list[str]:
        """Send a user's answer to the open question; return the thread's texts."""

    def texts(self, thread: str) -> list[str]:
        """Return the thread's texts, as the host reads them."""

    def questions(self, thread: str) -> list[str]:
        """Return the thread's open questions, as the host reads them."""

    def delete(self, thread: str) -> None:
        """Delete a thread, as the host does."""

    def replay(self) -> kedge.ReplayReport:
        """Answer hidden inputs again, with the integration's handler."""


TeamOn = Callable[[kedge.Kedge], Team]


def start(k: kedge.Kedge) -> None:
    """Release the first version, for good."""
    k.deploy("v1", FIRST)
    k.promote("v1")
    k.settle("v1")


def canary(k: kedge.Kedge, *threads: str) -> None:
    """Release the bad version to all new sessions, and to these."""
    k.deploy("v2", BAD, canary=1.0)
    for thread in threads:
        k.refresh(thread)


def user_words(k: kedge.Kedge, thread: str) -> list[object]:
    """Return what a thread's user said, as the session's history has it."""
    return [m.content for m in k.view(session=thread).memory.history() if m.role == "user"]


class TeamContract:
    """Fixtures: `k`, an empty database, and `team_on`, which builds the team on a database in one of its modes."""

    @pytest.fixture(autouse=True)
    def _sound(self, k: kedge.Kedge) -> Iterator[None]:
        yield
        assert k.fsck(full=True).findings == ()

    @pytest.fixture
    def team(self, k: kedge.Kedge, team_on: TeamOn) -> Team:
        start(k)
        return team_on(k)

    @pytest.fixture
    def twin(self, team_on: TeamOn, tmp_path: Path) -> Iterator[Team]:
        """A team whose database never had the bad version."""
        with kedge.open(tmp_path / "twin", durability="normal") as other:
            start(other)
            yield team_on(other)

    def test_threads_before_and_after_are_untouched_and_the_one_between_is_as_if_it_had_not_been(
        self, k: kedge.Kedge, team: Team, twin: Team
    ) -> None:
        before = [team.say("before", "one"), team.say("before", "two")]
        team.say("during", "one")
        canary(k, "during")
        assert "planner[p2]" in str(team.say("during", "two"))
        k.rollback("v2")
        after = team.say("after", "one")
        assert before == [twin.say("before", "one"), twin.say("before", "two")]
        assert team.texts("before") == before[-1]
        assert team.texts("after") == after == twin.say("after", "one")
        assert "p2" not in str(team.texts("during"))
        assert team.texts("during")[: len(before[0])] == twin.say("during", "one")

    def test_a_thread_that_began_with_the_bad_version_is_there_with_its_users_words_only(
        self, k: kedge.Kedge, team: Team
    ) -> None:
        canary(k)
        team.say("t", "one")
        k.rollback("v2")
        assert "p2" not in str(team.texts("t"))
        assert user_words(k, "t") == ["one"]

    def test_replay_gives_what_a_twin_has_that_never_had_the_bad_version(
        self, k: kedge.Kedge, team: Team, twin: Team
    ) -> None:
        team.say("t", "one")
        canary(k, "t")
        team.say("t", "two")
        team.say("t", "three")
        k.rollback("v2")
        assert [item.seq for item in k.replay_pending()] == sorted({item.seq for item in k.replay_pending()})
        report = team.replay()
        assert (len(report.replayed), report.failed, report.pending) == (2, (), 0)
        for text in ("one", "two", "three"):
            twin.say("t", text)
        assert team.texts("t") == twin.texts("t")
        assert user_words(k, "t") == ["one", "two", "three"]
        assert team.replay().replayed == ()

    def test_what_is_replayed_does_not_outrank_a_later_turn(self, k: kedge.Kedge, team: Team) -> None:
        canary(k)
        team.say("t", "one")
        k.rollback("v2")
        after = team.say("t", "two")
        assert len(team.replay().replayed) == 1
        assert team.texts("t") == after
        assert team.say("t", "three")[: len(after)] == after

    def test_a_question_of_the_bad_version_vanishes_and_its_answer_is_refused(self, k: kedge.Kedge, team: Team) -> None:
        team.say("t", "ask one")
        assert team.questions("t") == ["p1?"]
        canary(k, "t")
        team.say("t", "ask two")
        assert team.questions("t") == ["p2?"]
        k.rollback("v2")
        before = team.texts("t")
        assert "p2?" not in team.questions("t")
        with pytest.raises(kedge.RolledBack, match="the question"):
            team.answer("t", "an answer to p2")
        assert team.texts("t") == before
        assert "an answer to p2" not in user_words(k, "t")
        assert "planner[p1]" in str(team.say("t", "go on"))  # and the thread goes on

    def test_a_question_of_a_thread_that_only_the_bad_version_knew_is_refused_too(
        self, k: kedge.Kedge, team: Team
    ) -> None:
        canary(k)
        team.say("t", "ask")
        k.rollback("v2")
        with pytest.raises(kedge.RolledBack, match="the question"):
            team.answer("t", "yes")

    def test_a_question_that_is_asked_again_by_replay_is_answered(self, k: kedge.Kedge, team: Team) -> None:
        canary(k)
        team.say("t", "ask")
        k.rollback("v2")
        assert team.replay().failed == ()
        assert team.questions("t") == ["p1?"]
        assert "planner[p1] heard yes" in team.answer("t", "yes")

    def test_a_question_of_another_version_is_answered(self, k: kedge.Kedge, team: Team) -> None:
        team.say("t", "ask")
        canary(k, "other")
        team.say("other", "ask")
        k.rollback("v2")
        assert team.questions("t") == ["p1?"]
        assert "planner[p1] heard yes" in team.answer("t", "yes")
        assert user_words(k, "t") == ["ask", "yes"]

    def test_a_question_and_its_answer_are_replayed(self, k: kedge.Kedge, team: Team, twin: Team) -> None:
        canary(k)
        team.say("t", "ask")
        assert "planner[p2] heard yes" in team.answer("t", "yes")
        k.rollback("v2")
        report = team.replay()
        assert (len(report.replayed), report.failed) == (2, ())
        twin.say("t", "ask")
        assert team.texts("t") == twin.answer("t", "yes")

    def test_an_answer_to_a_question_of_the_version_before_is_replayed(
        self, k: kedge.Kedge, team: Team, twin: Team
    ) -> None:
        team.say("t", "ask")
        canary(k, "t")
        assert "planner[p2] heard yes" in team.answer("t", "yes")
        k.rollback("v2")
        report = team.replay()
        assert (len(report.replayed), report.failed) == (1, ())
        twin.say("t", "ask")
        assert team.texts("t") == twin.answer("t", "yes")

    def test_a_rollback_in_the_middle_stops_what_it_influenced_and_leaves_nothing_of_it(
        self, k: kedge.Kedge, team: Team, twin: Team
    ) -> None:
        team.say("t", "one")
        canary(k, "t")
        team.on["planner done"] = lambda: k.rollback("v2")
        with pytest.raises(kedge.RolledBack):
            team.say("t", "two")
        team.on.clear()
        assert "p2" not in str(team.texts("t"))
        assert user_words(k, "t") == ["one", "two"]
        again = team.say("t", "two again")
        assert "p2" not in str(again)
        assert "planner[p1]" in str(again)
        twin.say("t", "one")
        assert again[: len(twin.texts("t"))] == twin.texts("t")

    def test_a_rollback_in_the_middle_does_not_stop_who_was_not_influenced(self, k: kedge.Kedge, team: Team) -> None:
        team.say("t", "one")
        canary(k, "other")
        team.say("other", "one")
        team.on["planner"] = lambda: k.rollback("v2")
        assert "planner[p1]" in str(team.say("t", "two"))

    @pytest.mark.parametrize("when", ["clerk", "planner", "planner done", "auditor"])
    def test_a_settle_in_the_middle_does_not_stop_a_program(self, k: kedge.Kedge, team: Team, when: str) -> None:
        team.say("t", "one")

        def settle() -> None:  # of a deployment that the invocation has not seen
            if "elsewhere" not in {each.name for each in k.deployments()}:
                k.deploy("elsewhere", {"other/prompt": "o1"})
                k.promote("elsewhere")
                k.settle("elsewhere")

        team.on[when] = settle
        assert len(team.say("t", "two")) == 8
        assert len(team.texts("t")) == 8

    def test_a_settle_between_two_reads_of_an_agent_does_not_stop_it(self, k: kedge.Kedge, team: Team) -> None:
        def read_settle_and_read() -> None:
            turn = kedge.current_turn()
            assert turn is not None
            assert turn.context.get("fact") is None
            k.deploy("elsewhere", {"other/prompt": "o1"})
            k.promote("elsewhere")
            k.settle("elsewhere")
            assert turn.artifacts["other/prompt"].value == "o1"

        team.on["auditor"] = read_settle_and_read
        assert len(team.say("t", "one")) == 4

    def test_what_a_program_inside_a_step_read_influences_that_step(
        self, k: kedge.Kedge, team: Team, twin: Team
    ) -> None:
        team.say("t", "one")
        canary(k, "t")
        assert "expert[e2]" in str(team.say("t", "hand off"))
        k.rollback("v2")
        assert "e2" not in str(team.texts("t"))
        team.replay()
        twin.say("t", "one")
        assert team.texts("t") == twin.say("t", "hand off")

    def test_what_an_agent_found_in_the_shared_context_influences_its_thread(self, k: kedge.Kedge, team: Team) -> None:
        k.deploy("facts", {"librarian/prompt": "wrong"})
        k.promote("facts")
        with k.turn(agent="librarian") as turn:
            turn.context.put("fact", "wrong")
        team.say("clean", "one")

        def read() -> None:
            found = kedge.current_turn()
            assert found is not None
            assert found.context.get("fact") == "wrong"

        team.on["auditor"] = read
        team.say("influenced", "one")
        team.on.clear()
        k.rollback("facts")
        assert len(team.texts("clean")) == 4
        assert len(team.texts("influenced")) < 4

    def test_what_a_turn_that_an_agent_opened_itself_read_influences_its_thread(
        self, k: kedge.Kedge, team: Team
    ) -> None:
        canary(k, "t")

        def look() -> None:
            with k.turn(session="t", agent="planner") as turn:
                assert turn.artifacts["planner/prompt"].value == "p2"

        team.on["clerk"] = look
        team.say("t", "one")
        k.rollback("v2")
        assert team.texts("t") in ([], ["one"])

    def test_an_invocation_inside_a_turn_belongs_to_it_both_ways(self, k: kedge.Kedge, team: Team) -> None:
        canary(k, "t")
        with k.turn(session="t", agent="desk") as turn:
            assert turn.lineage == frozenset()
            team.say("t", "one")
            assert turn.lineage == {"v2"}
        k.deploy("facts", {"librarian/prompt": "wrong"})
        k.promote("facts")
        with k.turn(session="u", agent="librarian"):
            team.say("u", "one")
        k.rollback("facts")
        assert team.texts("u") == []

    def test_reinstating_brings_everything_back(self, k: kedge.Kedge, team: Team) -> None:
        canary(k)
        team.say("t", "one")
        told = team.say("t", "ask")
        k.rollback("v2")
        assert team.questions("t") == []
        k.reinstate("v2")
        assert team.texts("t") == told
        assert team.questions("t") == ["p2?"]
        assert "planner[p2] heard yes" in team.answer("t", "yes")

    @pytest.mark.parametrize("first", ["delete", "rollback"])
    def test_a_deleted_thread_stays_deleted(self, k: kedge.Kedge, team: Team, first: str) -> None:
        team.say("t", "one")
        canary(k, "t")
        team.say("t", "two")
        if first == "delete":
            team.delete("t")
            assert team.texts("t") == []
            k.rollback("v2")
        else:
            k.rollback("v2")
            team.delete("t")
        assert (team.texts("t"), user_words(k, "t"), k.replay_pending()) == ([], [], [])
        k.reinstate("v2")
        assert team.texts("t") == []
        assert len(team.say("t", "three")) == 4

    def test_a_long_thread_adopts_what_is_live_and_never_a_canary(self, k: kedge.Kedge, team: Team) -> None:
        team.say("t", "one")
        canary(k)
        assert "planner[p1]" in team.say("t", "two")[-1]
        k.promote("v2")
        assert "planner[p2]" in team.say("t", "three")[-1]

    def test_below_full_a_thread_goes_on_and_saves_nothing(self, k: kedge.Kedge, team: Team) -> None:
        before = team.say("t", "one")
        for agent in ("team", "clerk", "planner", "auditor"):
            k.set_level(agent, "frozen")
        assert len(team.say("t", "two")) == 8
        assert len(team.say("t", "three")) == 12
        assert len(team.texts("t")) == 12
        for agent in ("team", "clerk", "planner", "auditor"):
            k.set_level(agent, "full")
        assert team.texts("t") == before
        assert user_words(k, "t") == ["one", "two", "three"]

    def test_what_was_kept_below_full_goes_with_the_version_that_made_it(self, k: kedge.Kedge, team: Team) -> None:
        before = team.say("t", "one")
        canary(k, "t")
        for agent in ("team", "clerk", "planner", "auditor"):
            k.set_level(agent, "frozen")
        assert "p2" in str(team.say("t", "two"))
        k.rollback("v2")
        assert team.texts("t") == before
