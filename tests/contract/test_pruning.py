"""Policies of reads and sessions: what nothing needs is deleted, and no plan, replay or readable view changes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import kedge
from tests.contract.forward import DAY, Clock
from tests.databases import alter, raw_rows
from tests.stateful.share import SOAKING

POSTGRES_ONE_IN = 3
SESSIONS = ("s1", "s2", "s3", "s4")
AGENTS = ("support", "billing")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def k(place: str, clock: Clock) -> Iterator[kedge.Kedge]:
    with kedge.open(place, clock=clock, durability="normal") as opened:
        yield opened


def rows(place: str, table: str, where: str = "") -> int:
    return int(raw_rows(place, f"SELECT count(*) FROM {table} {where}")[0][0])


def work(k: kedge.Kedge, session: str | None, key: str = "a", agent: str = "support", **turn: Any) -> None:
    """Read, and overwrite what was read."""
    with k.turn(session=session, agent=agent, **turn) as open_turn:
        open_turn.context.get(key, None)
        open_turn.context.put(key, "x" * 10)


def days_later(k: kedge.Kedge, clock: Clock, days: float = 2.0) -> None:
    """Set the clock forward; an entry of then says that this much time has passed."""
    clock.ahead += days * DAY
    with k.turn(person="ann") as turn:
        turn.context.put("now", days)


def settled(k: kedge.Kedge, name: str) -> None:
    k.deploy(name, {"support/prompt": name})
    k.promote(name)
    k.settle(name)


def found(k: kedge.Kedge) -> object:
    return k.fsck(full=True).findings


# ── reads ──


def test_without_a_policy_all_is_kept_and_a_plan_says_nothing(k: kedge.Kedge, place: str, clock: Clock) -> None:
    settled(k, "v1")
    k.deploy("v2", {"support/prompt": "x"}, canary=1.0)
    work(k, "s1")
    work(k, "s1")
    before = rows(place, "reads"), rows(place, "turns"), rows(place, "sessions")
    k.set_retention(DAY, store="context")
    days_later(k, clock)
    k.reclaim()
    assert (rows(place, "reads"), rows(place, "turns") - 1, rows(place, "sessions")) == before
    assert (k.plan("v2").causes_from, k.plan("v2").causes_from_seq) == (None, 0)


def test_reads_of_what_is_settled_go_and_a_plan_says_from_when_on_causes_are_known(
    k: kedge.Kedge, place: str, clock: Clock
) -> None:
    settled(k, "v1")
    for _ in range(4):
        work(k, "s1")
    k.set_retention(DAY, store="context")
    k.set_retention(DAY, store="reads")
    k.reclaim()
    assert rows(place, "reads") > 0, "nothing is a day old"
    days_later(k, clock)
    turns = rows(place, "turns")
    report = k.reclaim()
    assert report.stores["reads"].rows > 0
    assert "of bookkeeping deleted" in str(report)
    assert rows(place, "reads") == 0
    assert rows(place, "turns") == turns - 3, "of the last turn, and of the release, the content is there"
    k.deploy("v2", {"support/prompt": "x"}, canary=1.0)
    work(k, "s2")
    plan = k.plan("v2")
    assert plan.causes_from is not None
    assert clock.now() - 2.5 * DAY < plan.causes_from < clock.now() - DAY
    assert rows(place, "reads", f"WHERE before_seq <= {plan.causes_from_seq}") == 0
    assert k.view().context.get("a") == "x" * 10
    assert found(k) == ()
    assert k.reclaim().rows == 0


def test_a_turn_stays_while_something_that_it_wrote_has_content(k: kedge.Kedge, place: str, clock: Clock) -> None:
    settled(k, "v1")
    with k.turn(session="s1", agent="support") as turn:
        turn.memory.append("user", "hello")
        turn.context.put("a", 1)
    work(k, None)
    for store in ("context", "reads"):
        k.set_retention(DAY, store=store)
    days_later(k, clock)
    k.reclaim()
    (message,) = k.view(session="s1").memory.history()
    assert message.agent == "support"
    assert rows(place, "reads") == 0


@pytest.mark.parametrize("fate", ["canary", "live", "rolled back"])
def test_what_can_still_be_rolled_back_or_reinstated_keeps_its_causes(
    k: kedge.Kedge, place: str, clock: Clock, fate: str
) -> None:
    """An orchestrator reads the user's words and calls an agent that the deployment influences."""
    with k.turn(session="s1", agent="planner") as turn:
        turn.memory.append("user", "where is my order?")
    k.deploy("v2", {"support/prompt": "x"}, canary=1.0)
    if fate == "live":
        k.promote("v2")
    work(k, "s1", agent="clerk")
    with k.turn(session="s2", agent="planner") as asked:
        asked.memory.append("user", "and mine?")
    with k.turn(session="s2", agent="planner") as caller:
        caller.memory.history()
        caller.context.put("plan", 1)  # clean: it reads nothing of v2
        with k.turn(agent="support", parent=caller.headers()) as callee:
            callee.context.put("answer", "tomorrow")
    if fate == "rolled back":
        k.rollback("v2", verify=False)
    before = k.replay_pending() if fate == "rolled back" else k.plan("v2").replay_inputs
    assert [item.space for item in before] == ["s2"]
    for store in ("context", "reads"):
        k.set_retention(DAY, store=store)
    days_later(k, clock)
    k.reclaim()
    after = k.replay_pending() if fate == "rolled back" else k.plan("v2").replay_inputs
    assert list(after) == list(before)
    assert rows(place, "reads") > 0
    if fate == "rolled back":
        k.reinstate("v2")
    if fate != "live":
        k.promote("v2")
    k.settle("v2")
    k.reclaim()
    assert rows(place, "reads") == 0, "once it is settled, nothing needs them"
    assert found(k) == ()


def test_a_hold_keeps_what_turns_that_wrote_there_had_read(k: kedge.Kedge, place: str, clock: Clock) -> None:
    for session in ("s1", "s2"):
        with k.turn(session=session, agent="support") as turn:
            turn.memory.history()
            turn.memory.append("assistant", "hello")
    k.set_retention(store="memory", space="s1", hold=True)
    k.set_retention(DAY, store="reads")
    days_later(k, clock)
    k.reclaim()
    assert rows(place, "reads") == 1
    k.drop_retention(store="memory", space="s1", hold=True)
    k.reclaim()
    assert rows(place, "reads") == 0


def test_a_vector_keeps_what_it_was_computed_from(k: kedge.Kedge, place: str, clock: Clock) -> None:
    k.collection("kb", dim=2)
    with k.turn(person="ann") as turn:
        turn.documents("kb").put("d", "first")
    with k.turn(agent="embedder") as turn:
        turn.documents("kb").get("d")
        turn.vectors("kb").upsert(["d"], [[1.0, 0.0]])
    k.set_retention(DAY, store="reads")
    days_later(k, clock)
    k.reclaim()
    assert rows(place, "reads") == 1


def test_a_turn_that_was_pruned_while_it_was_open_writes_on(k: kedge.Kedge, place: str, clock: Clock) -> None:
    turn = k.turn(session="s1", agent="support")
    for value in range(3):
        turn.context.get("a", None)
        turn.context.put("a", value, idempotency=f"call {value}")
    work(k, None)
    for store in ("context", "reads", "sessions"):
        k.set_retention(DAY, store=store)
    days_later(k, clock)
    k.reclaim()
    assert raw_rows(place, f"SELECT count(*) FROM turns WHERE uid = '{turn.id}'")[0][0] == 0
    assert turn.context.put("a", 1, idempotency="call 1") < turn.context.put("b", "new"), "a repeat is still known"
    turn.context.put("b", "newer")
    turn.headers()
    assert raw_rows(place, f"SELECT count(*) FROM turns WHERE uid = '{turn.id}'")[0][0] == 1
    assert found(k) == ()


def test_ages_that_open_turns_do_not_survive_are_refused(k: kedge.Kedge) -> None:
    for store in ("reads", "sessions"):
        with pytest.raises(kedge.InvalidValue, match=rf"invalid age 60 of {store}: keep them for 3600 seconds"):
            k.set_retention(60, store=store)
        with pytest.raises(kedge.InvalidValue, match="has no spaces"):
            k.set_retention(DAY, store=store, space="s1")


def test_a_database_that_older_processes_write_to_prunes_nothing(k: kedge.Kedge, place: str) -> None:
    value = "3" if place.startswith("sqlite") else "'\\x33'"
    alter(place, f"UPDATE meta SET value = {value} WHERE name = 'min_writer'")
    with pytest.raises(kedge.IllegalTransition, match="run `kedge upgrade` first"):
        k.set_retention(DAY, store="reads")
    k.upgrade()
    k.set_retention(DAY, store="reads")


# ── sessions ──


def test_idle_sessions_are_forgotten_and_begin_anew(k: kedge.Kedge, place: str, clock: Clock) -> None:
    k.deploy("v2", {"support/prompt": "x"})
    for session in SESSIONS[:3]:
        with k.turn(session=session, agent="support") as turn:
            turn.memory.append("user", "hello")
    middle = k.seq
    k.promote("v2")
    k.set_retention(DAY, store="sessions")
    clock.ahead += 2 * DAY
    work(k, "s1")  # s1 goes on as it began
    entries = rows(place, "control_log", "WHERE kind = 'session'")
    assert k.reclaim().stores["sessions"].rows == 2
    assert rows(place, "control_log", "WHERE kind = 'session'") == entries - 2
    after = k.seq
    assert [info.session for info in k.sessions()] == ["s1"]
    assert k.assignment("s1") == []
    assert k.assignment("s2") == ["v2"], "it is new"
    assert [message.content for message in k.view(session="s2").memory.history()] == ["hello"]
    with pytest.raises(kedge.PastUnreadable, match=r"what session 's3' saw at seq \d+ is not known"):
        k.at(middle, session="s3")
    with pytest.raises(kedge.PastUnreadable):
        k.at(middle, session="s2")
    assert k.at(middle, session="s1").memory.history()
    assert k.at(middle).context.items() == {}
    assert k.at(after, session="s3").seen == {"v2"}
    assert found(k) == ()


def test_a_session_with_a_long_name_is_idle_only_once_its_turns_end(k: kedge.Kedge, clock: Clock) -> None:
    """Turns store an alias of such a name."""
    busy, idle = "busy" * 100, "idle" * 100
    for session in (busy, idle):
        work(k, session)
    k.set_retention(DAY, store="sessions")
    clock.ahead += 2 * DAY
    work(k, busy)
    k.reclaim()
    assert [info.session for info in k.sessions()] == [busy]


def test_a_session_that_is_held_back_is_kept(k: kedge.Kedge, clock: Clock) -> None:
    """It is held back by its unit, which it alone remembers."""
    k.deploy("v2", {"support/prompt": "x"}, deny=["held"])
    k.promote("v2", holdback=0.001)
    for session in ("held", "other"):
        work(k, f"of {session}", unit_id=session)
    k.set_retention(DAY, store="sessions")
    days_later(k, clock)
    k.reclaim()
    assert [info.session for info in k.sessions()] == ["of held"]
    with k.turn(session="of held", agent="support") as turn:
        assert turn.seen == frozenset()


def test_what_a_pruned_turn_had_deleted_stays_deleted_in_forks_and_rewinds(
    k: kedge.Kedge, place: str, clock: Clock
) -> None:
    last = 0
    for name, value in (("x", 1), ("x", None), ("y", 2), ("x", 3)):
        with k.turn(session="s", agent="support") as turn:
            space = turn.store("own").space("s")
            last = space.delete(name) if value is None else space.put(name, value)
    turns = rows(place, "turns")
    k.set_retention(DAY, store="reads")
    days_later(k, clock)
    k.reclaim()
    assert rows(place, "turns") < turns + 1, "the turn of the delete is gone"
    k.fork_session("s", "t")
    k.rewind("t", 0)
    k.rewind("s", last - 1)
    assert k.view().store("own").space("s").items() == {"y": 2}
    k.fork_session("s", "u")
    assert k.view().store("own").space("u").items() == {"y": 2}
    assert found(k) == ()


def test_a_session_whose_memory_would_vanish_is_kept(k: kedge.Kedge, clock: Clock) -> None:
    k.deploy("canary", {"support/prompt": "x"}, canary=1.0)
    k.deploy("staged", {"support/prompt": "y"}, independent=True)
    for session, deployment in (("in canary", None), ("opened", "staged")):
        with k.turn(session=session, agent="support", deployment=deployment) as turn:
            turn.memory.append("assistant", "hello")
    k.set_retention(DAY, store="sessions")
    days_later(k, clock)
    k.reclaim()
    assert [info.session for info in k.sessions()] == ["in canary", "opened"]
    k.promote("canary")
    k.rollback("staged", verify=False)
    k.reclaim()
    assert [info.session for info in k.sessions()] == ["opened"], "its reinstatement would show it again"
    assert [m.content for m in k.view(session="in canary").memory.history()] == ["hello"]


def test_a_snapshot_keeps_the_sessions_that_it_shows(k: kedge.Kedge, clock: Clock) -> None:
    work(k, "s1")
    k.snapshot("friday")
    work(k, "s2")
    k.set_retention(DAY, store="sessions")
    days_later(k, clock)
    k.reclaim()
    assert [info.session for info in k.sessions()] == ["s1"]
    assert k.at("friday", session="s1").seen == set()
    k.release_snapshot("friday")
    k.reclaim()
    assert k.sessions() == []


def test_the_horizon_keeps_sessions_for_longer(k: kedge.Kedge, clock: Clock) -> None:
    work(k, "s1")
    k.set_retention(10 * DAY)
    k.set_retention(DAY, store="sessions")
    days_later(k, clock)
    k.reclaim()
    assert len(k.sessions()) == 1
    days_later(k, clock, 10)
    k.reclaim()
    assert k.sessions() == []


def test_the_last_entry_of_the_journal_is_never_deleted(k: kedge.Kedge, place: str, clock: Clock) -> None:
    k.set_retention(DAY, store="sessions")
    work(k, "s1")
    k.assignment("s2")
    last = k.seq
    clock.ahead += 2 * DAY
    with kedge.open(place, clock=clock) as other:
        other.reclaim()
    with k.turn(person="ann") as turn:
        assert turn.context.put("a", 1) > last
    assert found(k) == ()


# ── any history ──


class Program:
    """A random history of turns, calls between agents, sessions and releases."""

    def __init__(self, k: kedge.Kedge, clock: Clock, seed: int) -> None:
        self.k, self.clock, self.dice = k, clock, random.Random(seed)
        self.releases = 0

    def step(self) -> None:
        self.clock.ahead += self.dice.random() * DAY
        kind = self.dice.choice(["turn"] * 6 + ["call", "deploy", "promote", "settle", "rollback", "purge"])
        if kind == "turn":
            self.turn()
        elif kind == "call":
            self.call()
        else:
            self.change(kind)

    def turn(self) -> None:
        dice, agent = self.dice, self.dice.choice(AGENTS)
        with self.k.turn(session=dice.choice(SESSIONS), agent=agent) as turn:
            if dice.random() < 0.5:
                turn.memory.append("user", f"question {dice.random()}")
            if dice.random() < 0.5:
                turn.memory.history()
            turn.context.get(dice.choice("abc"), None)
            turn.context.put(dice.choice("abc"), dice.random())
            turn.memory.append("assistant", f"answer {dice.random()}")

    def call(self) -> None:
        with self.k.turn(session=self.dice.choice(SESSIONS), agent="planner") as caller:
            caller.memory.history()
            with self.k.turn(agent=self.dice.choice(AGENTS), parent=caller.headers()) as callee:
                callee.context.put(self.dice.choice("abc"), self.dice.random())
                headers = callee.headers()
            if self.dice.random() < 0.3:
                caller.absorb(headers)

    def change(self, kind: str) -> None:
        if kind == "deploy":
            self.releases += 1
            key = f"{self.dice.choice(AGENTS)}/prompt"
            self.k.deploy(f"v{self.releases}", {key: str(self.releases)}, canary=self.dice.choice([0.5, 1.0]))
            return
        deployments = self.k.deployments()
        if not deployments:
            return
        name = self.dice.choice(deployments).name
        try:
            if kind == "purge":
                self.k.purge(name, confirm=name)
            elif kind == "rollback":
                self.k.rollback(name, verify=False)
            else:
                getattr(self.k, kind)(name)
        except kedge.Conflict:
            pass


def told(k: kedge.Kedge) -> dict[str, object]:
    """Return what plans, replay and views say."""
    names = [d.name for d in k.deployments() if d.status in {"canary", "live", "staged"}]
    plans = [msgspec.structs.asdict(k.plan(name)) for name in names]
    for plan in plans:
        for field in ("causes_from", "causes_from_seq", "epoch"):
            del plan[field]
    views = {s: (k.view(session=s).context.items(), k.view(session=s).memory.history()) for s in SESSIONS}
    return {"plans": plans, "pending": k.replay_pending(), "views": views}


def lost_calls(k: kedge.Kedge) -> Counter[tuple[Any, ...]]:
    return Counter({(t.metric, t.agent, t.value): t.count for t in k.verdicts()})


@pytest.mark.parametrize("seed", range(60 if SOAKING else 4))
def test_no_plan_no_replay_and_no_view_changes(k: kedge.Kedge, clock: Clock, seed: int) -> None:
    program, pruned = Program(k, clock, seed), 0
    for store in ("context", "reads"):
        k.set_retention(5 * DAY, store=store)
    for number in range(60):
        program.step()
        if number % 20 == 19:
            before, calls = told(k), lost_calls(k)
            pruned += sum(part.rows for store, part in k.reclaim().stores.items() if store == "reads")
            assert told(k) == before
            assert lost_calls(k) <= calls, "no call seems lost that was not"
    assert found(k) == ()
    assert pruned


def test_a_plan_still_counts_what_turns_wrote_that_saw_a_deployment(k: kedge.Kedge, place: str, clock: Clock) -> None:
    k.deploy("v2", {"support/prompt": "x"}, canary=1.0)
    with k.turn(session="s1", agent="clerk") as turn:
        turn.context.get("a", None)
        turn.context.delete("a")
    for store in ("context", "reads"):
        k.set_retention(DAY, store=store)
    before = k.plan("v2").unattributed
    assert [one.writes for one in before] == [1]
    days_later(k, clock)
    k.reclaim()
    assert rows(place, "reads") == 0
    assert k.plan("v2").unattributed == before


def test_the_id_of_a_turn_is_never_given_to_another(k: kedge.Kedge, place: str, clock: Clock) -> None:
    older = k.turn(agent="support")
    older.context.put("b", 1)
    with k.turn(agent="support") as newest:
        seq = newest.context.put("a", 1)
    older.context.put("a", 2)
    for store in ("context", "reads"):
        k.set_retention(DAY, store=store)
    clock.ahead += 2 * DAY
    older.context.put("c", 3)
    k.reclaim()
    with k.turn(agent="other") as turn:
        turn.context.put("d", 4)
    uids = f"SELECT t.uid FROM writes w JOIN turns t ON t.id = w.turn WHERE w.seq = {seq}"
    assert raw_rows(place, uids) in ([], [(newest.id,)])


def test_a_call_whose_caller_is_kept_does_not_seem_lost(k: kedge.Kedge, place: str, clock: Clock) -> None:
    with k.turn(agent="planner") as caller:
        with k.turn(agent="clerk", parent=caller.headers()) as callee:
            callee.context.put("x", 1)
            headers = callee.headers()
        caller.absorb(headers)
        caller.absorb({}, peer="crm")
        caller.context.put("plan", 1)
    with k.turn(agent="clerk") as turn:
        turn.context.put("x", 2)
    for store in ("context", "reads"):
        k.set_retention(DAY, store=store)
    days_later(k, clock)
    lost = lost_calls(k)
    k.reclaim()
    assert raw_rows(place, "SELECT count(*) FROM edges") != [(0,)], "a peer can still be rolled back"
    assert lost_calls(k) == lost
