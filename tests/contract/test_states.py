"""Bounded bookkeeping of states: few for many lineages, right answers of contested rows, collection, conversion."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest

import kedge
from kedge.model import states, upgrade
from kedge.model.visibility import View
from kedge.model.writes import decode
from tests.databases import NewPlace, raw_rows, run
from tests.statements import statements

LIVE = 12
KEYS = 50
QUERY = [1.0, 2.0, 3.0]


def count(k: kedge.Kedge, name: str, where: str = "") -> int:
    return int(raw_rows(k.url, f"SELECT count(*) FROM {name} {where}")[0][0])


def contested(k: kedge.Kedge, name: str) -> int:
    return count(k, name, "WHERE state IN (SELECT id FROM states WHERE superseders = 'null')")


def row_states(k: kedge.Kedge) -> str:
    return "row_states" if k.url.startswith("postgres") else "vector_rows"


def release(k: kedge.Kedge, *agents: str) -> None:
    for agent in agents:
        k.deploy(f"new-{agent}", {f"{agent}/prompt": f"of {agent}"}, independent=True)
        k.promote(f"new-{agent}")


def write(k: kedge.Kedge, agents: list[str], key: str, value: int, *, delete: bool = False) -> None:
    """Write as the first of these agents, having read the prompts of the others."""
    with k.turn(agent=agents[0]) as turn:
        for agent in agents[1:]:
            turn.artifacts.get(f"{agent}/prompt")
        kb, vector = turn.vectors("kb"), np.random.default_rng(value).standard_normal((1, 3)).astype(np.float32)
        if delete:
            turn.context.delete(key)
            kb.delete([key])
        else:
            turn.context.put(key, value)
            kb.upsert([key], vector, [value])


def seen_in(view: kedge.ReadView, keys: list[str]) -> dict[str, Any]:
    kb = view.vectors("kb")
    return {
        "each": {key: value for key in keys if (value := view.context.get(key)) is not None},
        "items": dict(view.context.items()),
        "hits": {hit.id: hit.payload for hit in kb.search(QUERY, k=2 * len(keys))},
        "rows": {name: row.payload for name, row in kb.get(kb.ids()).items()},
        "batches": sorted(name for batch in kb.batches(2) for name in batch.ids),
        "count": kb.count(),
    }


def test_states_grow_with_lineages_and_not_with_combinations_of_them(k: kedge.Kedge) -> None:
    agents = [f"a{number}" for number in range(LIVE)]
    release(k, *agents)
    chance = random.Random(3)
    keys = [f"case/{number}" for number in range(KEYS)]
    for number in range(600 if k.url.startswith("sqlite") else 200):
        writers = chance.sample(agents, chance.choice((1, 1, 2, 3)))
        write(k, writers, chance.choice(keys[: 5 if number % 2 else KEYS]), number, delete=chance.random() < 0.1)
    lineages = count(k, "lineages")
    per_lineage = raw_rows(k.url, "SELECT count(*) FROM states GROUP BY lineage")
    assert max(per_lineage) <= (states.STATES_MAX + 2,)
    assert count(k, "states") <= 8 * lineages
    assert contested(k, "heads") > 0
    assert contested(k, row_states(k)) > 0
    assert k.fsck(full=True).ok
    assert k.verify().ok


def test_keys_of_one_batch_are_decided_by_the_order_of_their_own_writes(k: kedge.Kedge) -> None:
    release(k, *"abc")
    for agent, key in ("a", "x"), ("b", "y"), ("b", "x"), ("a", "y"), ("a", "z"):
        with k.turn(agent=agent) as turn:
            turn.context.put(key, agent)
    with k.turn(agent="c") as turn:
        turn.context.put_many({"x": "c", "y": "c", "z": "c"})
    assert k.fsck(full=True).ok
    k.rollback("new-c")
    assert k.view().context.items() == {"x": "b", "y": "a", "z": "a"}
    k.rollback("new-b")
    assert k.view().context.items() == {"x": "a", "y": "a", "z": "a"}


@pytest.mark.parametrize("seed", range(3))
def test_contested_rows_are_resolved_in_every_view(k: kedge.Kedge, seed: int) -> None:
    """The truth is what one view after another reads key by key, from all writes."""
    agents, chance = list("abcd"), random.Random(seed)
    release(k, *agents)
    keys = ["x", "y", "z"]
    for number in range(60):
        writers = chance.sample([*agents, "plain"], chance.choice((1, 1, 2)))
        write(k, writers, chance.choice(keys), number, delete=chance.random() < 0.25)
        if number % 5 == 0:  # so that this process follows the rows as their states change
            assert seen_in(k.view(), keys)["hits"] == true_values(k, set(), keys)
    assert contested(k, "heads") > 0
    assert contested(k, row_states(k)) > 0
    hidden: set[str] = set()
    for agent in [*agents, *chance.sample(agents, 3)]:
        name = f"new-{agent}"
        (k.reinstate if name in hidden else k.rollback)(name)
        hidden ^= {name}
        truth = true_values(k, hidden, keys)
        found = seen_in(k.view(), keys)
        assert found == {
            "each": truth, "items": truth, "hits": truth, "rows": truth, "batches": sorted(truth), "count": len(truth),
        }  # fmt: skip
    assert k.fsck(full=True).ok


def true_values(k: kedge.Kedge, hidden: set[str], keys: list[str]) -> dict[str, int]:
    """Return the values of the newest writes whose lineages hold no hidden deployment, by brute force."""
    names = {d.number: d.name for d in k._kernel.backend.control.load().deployments}
    rows = raw_rows(
        k.url,
        "SELECT w.name, l.members, w.deleted, w.payload FROM writes w JOIN lineages l ON l.id = w.lineage "
        "JOIN spaces s ON s.id = w.space WHERE s.store = 'context' ORDER BY w.rank, w.seq",
    )
    found: dict[str, int] = {}
    for key, members, is_deleted, payload in rows:
        if not {names.get(number) for number in json.loads(members)} & hidden:
            found.pop(key, None)
            if not is_deleted:
                found[key] = decode(payload)
    return {key: found[key] for key in keys if key in found}


def test_a_purge_leaves_no_key_without_its_newest_head(k: kedge.Kedge) -> None:
    """Nothing supersedes a contested head any more, once what superseded it was purged."""
    release(k, "a", "b", "c")
    write(k, ["plain"], "x", 1)
    write(k, ["a"], "x", 2)
    write(k, ["b"], "x", 3)
    assert contested(k, "heads") == 2
    for name in ("new-a", "new-b"):
        k.rollback(name)
        k.purge(name, confirm=name)
    assert contested(k, "heads") == 0
    assert k.fsck(full=True).ok
    assert seen_in(k.view(), ["x"])["items"] == {"x": 1}
    k.rollback("new-c")
    assert seen_in(k.view(), ["x"])["items"] == {"x": 1}


def test_unreferenced_states_are_collected_in_two_steps(k: kedge.Kedge) -> None:
    release(k, "a")
    write(k, ["plain"], "x", 1)
    write(k, ["a"], "x", 2)
    other = kedge.open(k.url)  # it knows the states that go
    assert other.view().context.items()
    assert [hit.payload for hit in other.view().vectors("kb").search(QUERY)] == [2]
    pairs = "WHERE superseders NOT IN ('[]', '[0]', 'null')"
    assert count(k, "states", pairs) > 0
    k.settle("new-a")
    write(k, ["plain"], "x", 3)  # supersedes both wherever they are seen
    write(k, ["a"], "y", 3)
    k.optimize()
    before = count(k, "states", pairs)
    assert before > 0, "retired first: a write in flight may know one"
    assert count(k, "states", pairs + " AND retired" + ("" if k.url.startswith("postgres") else " = 1")) > 0
    k.optimize()
    assert count(k, "states", pairs) < before
    for opened in (k, other):
        assert seen_in(opened.view(), ["x", "y"])["items"] == {"x": 3, "y": 3}
    release(other, "b")
    write(other, ["b"], "x", 4)
    write(k, ["plain"], "y", 5)
    assert k.fsck(full=True).ok
    assert seen_in(k.view(), ["x", "y"])["hits"] == {"x": 4, "y": 5}
    other.close()


def test_a_database_with_all_superseders_in_its_states_is_converted_by_an_upgrade(k: kedge.Kedge) -> None:
    """Until then nothing is contested, since an older process may write; every answer stays."""
    raise_fence(k, upgrade.CONTESTED_SINCE - 1)
    with kedge.open(k.url) as old:
        agents, chance = list("abc"), random.Random(5)
        release(old, *agents)
        for number in range(50):
            writers = chance.sample([*agents, "plain"], chance.choice((1, 1, 2)))
            write(old, writers, chance.choice("xy"), number, delete=chance.random() < 0.2)
        assert count(old, "states", "WHERE superseders = 'null'") == 0
        several = count(old, "states", "WHERE superseders LIKE '%,%'")
        assert several > 3
        answers = answers_of(old)
        assert old.fsck(full=True).ok
        assert old.upgrade().rows > 0
        assert answers_of(old) == answers
        assert old.fsck(full=True).ok
        assert contested(old, "heads") > 0
        for _ in range(2):
            old.optimize()
        assert count(old, "states", "WHERE superseders LIKE '%,%'") <= 1
    with kedge.open(k.url) as new:
        assert answers_of(new) == answers
        write(new, ["a"], "x", 1_000)
        assert new.fsck(full=True).ok


def answers_of(k: kedge.Kedge) -> list[Any]:
    """Return what is seen with each set of deployments rolled back."""
    found = [seen_in(k.view(), ["x", "y"])]
    for name in ("new-a", "new-b", "new-c", "new-a", "new-b", "new-a"):
        status = {d.name: d.status for d in k.deployments()}[name]
        (k.reinstate if status == "rolled back" else k.rollback)(name)
        found.append(seen_in(k.view(), ["x", "y"]))
    for d in k.deployments():
        if d.status == "rolled back":
            k.reinstate(d.name)
    return found


def raise_fence(k: kedge.Kedge, version: int) -> None:
    value = f"'{version}'::bytea" if k.url.startswith("postgres") else str(version)
    run(k.url, f"UPDATE meta SET value = {value} WHERE name = 'min_writer'")


def test_a_value_comes_back_whose_superseders_were_purged_and_rolled_back(place: str) -> None:
    """After a purge, what is the newest at a key had been superseded by what is gone."""
    with kedge.open(place, durability="normal") as k:
        for name in ("a", "b", "c"):
            k.deploy(name, {f"{name}/prompt": name})
            k.promote(name)
        with k.turn(agent="clerk") as turn:
            turn.context.put("k", "first")
        for agent in ("a", "b"):
            with k.turn(agent=agent) as turn:
                assert turn.artifacts["c/prompt"].value == "c"
                turn.context.put("k", agent)
        k.rollback("b", verify=False)
        k.purge("b", confirm="b")
        assert k.view().context.items() == {"k": "a"}
        k.rollback("c", verify=False)
        assert k.view().context.get("k") == "first"
        assert k.view().context.items() == {"k": "first"}
        assert k.view().context.count() == 1
        assert k.fsck(full=True).findings == ()


# ── what it costs ──


def written_by(place: str, agents: list[str]) -> None:
    """Fill a database of two keys that each of these agents, and pairs of them, have written."""
    with kedge.open(place, durability="normal") as k:
        k.collection("kb", dim=3)
        release(k, *agents)
        for number, agent in enumerate(agents * 2):
            for key in "xy":
                write(k, [agent, agents[number // 2]], key, number)


@pytest.mark.both
def test_the_first_search_sends_as_many_statements_whatever_the_lineages(new_place: NewPlace) -> None:
    counted = []
    for agents in ("abc", "abcdefgh"):
        place = new_place()
        written_by(place, list(agents))
        with kedge.open(place) as k, statements(k) as sent:
            assert len(k.view().vectors("kb").search(QUERY)) == 2
            counted.append(len(sent))
    assert counted[0] == counted[1]


@pytest.mark.both
def test_a_search_among_superseded_rows_sends_few_more_statements(k: kedge.Kedge) -> None:
    """The heads of their keys are read once, and their payloads not at all."""
    release(k, *"abcd")
    for number, agent in enumerate("abcdabc"):
        write(k, [agent, "d"], "x", number)
        write(k, [agent], "y", number)
    k.collection("plain", dim=3)
    with k.turn(agent="nobody") as turn:
        turn.vectors("plain").upsert(["x", "y"], np.eye(2, 3, dtype=np.float32))

    def sent_by(collection: str) -> list[str]:
        kb = k.view().vectors(collection)
        kb.search(QUERY)
        with statements(k) as sent:
            assert len(kb.search(QUERY)) == 2
        return list(sent)  # SQLite's connections go on adding to it

    plain, contested = sent_by("plain"), sent_by("kb")
    assert len(contested) <= len(plain) + (2 if k.url.startswith("postgres") else 0)
    assert sum("payload" in sql for sql in contested) <= sum("payload" in sql for sql in plain)


@pytest.mark.only("sqlite", reason="PostgreSQL keeps no log of what superseded a row")
def test_the_log_of_contested_rows_is_read_only_where_the_view_hides_something(k: kedge.Kedge) -> None:
    written_by(k.url, list("abcd"))
    reads_log = "json_group_array(row)"
    for name, is_read in (("new-d", False), ("new-c", True)):
        with kedge.open(k.url) as opened, statements(opened) as sent:
            assert len(opened.view().vectors("kb").search(QUERY)) == 2
            assert any(reads_log in sql for sql in sent) is is_read
            k.rollback(name)
            assert len(opened.view().vectors("kb").search(QUERY)) == 2
            assert any(reads_log in sql for sql in sent)


@pytest.mark.both
def test_the_newest_heads_of_several_keys_are_one_statement(k: kedge.Kedge) -> None:
    """Only keys whose newest head the view does not see need a look at their other heads."""
    release(k, *"ab")
    write(k, ["a"], "x", 1)
    write(k, ["b"], "x", 2)
    write(k, ["a"], "y", 3)
    control, journal = k._kernel.backend.control, k._kernel.backend.journal

    def look() -> tuple[int, dict[str, Any]]:
        record = control.load()
        view = View(record.epoch, record.live, record.settled)
        journal.heads(view, "context", "", ["x", "y"])  # whatever is cached from here on
        with statements(k) as sent:
            found = journal.heads(view, "context", "", ["x", "y"])
        about = [sql for sql in sent if "heads" in sql]
        return len(about), {name: decode(head.payload) for name, head in found.items()}

    assert look() == (1, {"x": 2, "y": 3})
    k.rollback("new-b")
    assert look() == (3, {"x": 1, "y": 3})


@pytest.mark.only("sqlite", reason="PostgreSQL looks its rows up by arrays")
def test_a_writer_looks_up_each_state_and_lineage_once(k: kedge.Kedge) -> None:
    """Also a process that never reads, in which nothing else learns them."""
    release(k, *"abcd")
    for number in range(20):
        write(k, ["abcd"[number % 4], "abcd"[number // 4 % 4]], "x", number)
    one_by_one = ("SELECT lineage, superseders FROM states WHERE id =", "SELECT members FROM lineages WHERE id =")
    looked_up = []
    with kedge.open(k.url) as writer:
        for number in range(3):
            with statements(writer) as sent:
                write(writer, ["a", "b"], "x", number)
            looked_up.append(sum(sql.startswith(one_by_one) for sql in sent))
    assert looked_up[0] > 5
    assert looked_up[2] <= 3
    assert k.fsck(full=True).ok
