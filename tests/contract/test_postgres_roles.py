"""The role split: in PostgreSQL itself, agents tighten levels and never loosen them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import kedge
from kedge.model.record_format import decode_record
from kedge.open import role_split

pytestmark = pytest.mark.only("postgres", reason="SQLite has no users")
AGENT, OPERATOR = "split_agent", "split_operator"


def logged_in_as(place: str, user: str) -> str:
    return place.replace("postgres@", f"{user}@")


@pytest.fixture
def owner(place: str) -> Iterator[kedge.Kedge]:
    """Open a database with the role split, as its owner."""
    with kedge.open(place) as k:
        k.deploy("v1", {"support/prompt": "one"})
        k.promote("v1")
        with psycopg.connect(place, autocommit=True) as connection:
            connection.execute(role_split().encode())
            connection.execute(role_split().encode())  # it can be run again
            for user, role in ((AGENT, "kedge_agents"), (OPERATOR, "kedge_operators")):
                if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (user,)).fetchone():
                    connection.execute(f"CREATE ROLE {user} LOGIN IN ROLE {role}".encode())
        yield k


@pytest.fixture
def agent(owner: kedge.Kedge, place: str) -> Iterator[kedge.Kedge]:  # noqa: ARG001 - it makes the roles
    with kedge.open(logged_in_as(place, AGENT)) as k:
        yield k


@pytest.fixture
def operator(owner: kedge.Kedge, place: str) -> Iterator[kedge.Kedge]:  # noqa: ARG001 - as above
    with kedge.open(logged_in_as(place, OPERATOR)) as k:
        yield k


def test_an_agent_works_and_tightens_and_an_operator_loosens(agent: kedge.Kedge, operator: kedge.Kedge) -> None:
    with agent.turn(session="s1", agent="support") as turn:
        turn.memory.append("user", "hello")
        turn.context.put("case/1", "open")
    agent.register_peer("partner")
    agent.set_level("support", "frozen")
    agent.set_level("support", "off")
    with pytest.raises(kedge.NotPermitted, match=r"split_agent cannot loosen the entry L\d+ \(off\)"):
        agent.set_level("support", "frozen")
    with pytest.raises(kedge.NotPermitted, match="cannot loosen"):
        agent.set_level("support", "full")
    assert operator.levels() == {"support": "off"}
    operator.set_level("support", "full")
    assert agent.levels() == {}


def test_an_agent_asks_and_an_operator_approves(agent: kedge.Kedge, operator: kedge.Kedge) -> None:
    operator.ladder.tighten("supervised", "feature:support", by="ana")
    turn = agent.turn(session="s1", agent="support")
    with pytest.raises(kedge.ApprovalNeeded) as caught:
        turn.require("act", tool="refund", call={"amount": 5})
    with pytest.raises(kedge.NotPermitted, match="split_agent cannot approve request"):
        agent.ladder.approve(caught.value.request, by="ana")
    operator.ladder.approve(caught.value.request, by="ana")
    with turn.require("act", tool="refund", call={"amount": 5}) as permit:
        assert permit.approved_by == "ana"


STATEMENTS = (
    "UPDATE kedge.control SET epoch = epoch + 1, record = '[\"record\",{}]'",
    "UPDATE kedge.control SET record = '{}'",
    "UPDATE kedge.control SET record = 'x'",
    "UPDATE kedge.control SET epoch = 0",
    "DELETE FROM kedge.control",
    "TRUNCATE kedge.control",
    "ALTER TABLE kedge.control DISABLE TRIGGER refuse_loosening",
    "DROP TRIGGER refuse_loosening ON kedge.control",
    "SET session_replication_role = replica",
    "CREATE OR REPLACE FUNCTION kedge.loosened(bytea, bytea) RETURNS text LANGUAGE sql AS 'SELECT NULL'",
    "GRANT kedge_operators TO split_agent",
    "SET ROLE kedge_operators",
    "UPDATE kedge.control_log SET record = NULL",
    "DELETE FROM kedge.control_log",
    "INSERT INTO kedge.level_requests VALUES ('r', 'loosen', 'x', 'approved', 0, '')",
)


def test_an_agents_login_stops_and_does_not_release(owner: kedge.Kedge, place: str, tmp_path: Path) -> None:
    agent, file = logged_in_as(place, AGENT), tmp_path / "STOP"
    with owner.join("worker"):
        report = kedge.stop(agent, reason="it loops", by="agent:support", stop_file=file)
        assert report.ok
        with pytest.raises(kedge.NotPermitted, match="split_agent cannot loosen the entry"):
            kedge.release(agent, by="ana", stop_file=file)  # a name is no proof, a login is
        assert file.exists()
        assert owner.ladder.effective() is kedge.Level.OFF
        assert kedge.release(logged_in_as(place, OPERATOR), by="ana", stop_file=file).lifted
        assert not file.exists()
        assert owner.ladder.effective() is kedge.Level.FULL


def is_refused(connection: psycopg.Connection, statement: str) -> bool:
    try:
        connection.execute(statement.encode())
    except psycopg.Error:
        return True
    return False


def test_no_statement_of_an_agent_loosens(owner: kedge.Kedge, place: str) -> None:
    owner.set_level("support", "off")
    with psycopg.connect(logged_in_as(place, AGENT), autocommit=True) as connection:
        for statement in STATEMENTS:
            assert is_refused(connection, statement), statement
        row = connection.execute("SELECT epoch, record FROM kedge.control").fetchone()
    assert row is not None
    assert decode_record(bytes(row[1])).level("support") is kedge.Level.OFF
    assert row[0] == owner.epoch


def entry(ident: str = "L1", level: str = "off", **more: object) -> dict[str, object]:
    return {"id": ident, "scope": {"kind": "everything"}, "level": level} | more


PAST, LATER = 1.0, 4e9
LOOSER: tuple[tuple[dict[str, object], dict[str, object]], ...] = (
    ({"entries": [entry()]}, {}),
    ({"entries": [entry()]}, {"entries": [entry("L2", source="guard")]}),
    ({"entries": [entry(operation="op1")]}, {"entries": [entry("L2")]}),
    ({"entries": [entry()]}, {"entries": [entry("L2", expires=LATER)]}),
    ({"entries": [entry()]}, {"entries": [entry("L2", level="nonsense")]}),
    ({"entries": [entry()]}, {"entries": [entry(level="frozen")]}),
    ({"entries": [entry()]}, {"entries": [entry() | {"scope": {"kind": "feature", "name": "x"}}]}),
    ({"entries": [entry()]}, {"entries": [entry(expires=LATER)]}),
    ({"entries": [entry(expires=LATER)]}, {"entries": [entry(expires=LATER - 1)]}),
    ({"entries": [entry(expires=LATER)]}, {}),
    ({"levels": {"support": "off"}}, {"levels": {"support": "frozen"}}),
    ({"levels": {"support": "off"}}, {}),
    ({"held": {"support": ["op1", "op2"]}}, {"held": {"support": ["op2"]}}),
    ({"held": {"support": ["op1"]}}, {}),
    ({}, {"presets": {"off": {"act": "yes"}}}),
    ({"two_persons": True}, {}),
)
NOT_LOOSER: tuple[tuple[dict[str, object], dict[str, object]], ...] = (
    ({}, {"entries": [entry()], "levels": {"support": "frozen"}, "held": {"support": ["op1"]}}),
    ({"entries": [entry()]}, {"entries": [entry("L2"), entry()]}),
    ({"entries": [entry(expires=LATER)]}, {"entries": [entry(expires=LATER + 1)]}),
    ({"entries": [entry(expires=LATER)]}, {"entries": [entry()]}),
    ({"entries": [entry(level="frozen")]}, {"entries": [entry("L2")]}),
    ({"entries": [entry(expires=PAST)]}, {}),
    ({"entries": [entry(reason="a\0b")]}, {"entries": [entry(reason="a\0b")]}),
    ({"levels": {"support": "frozen"}}, {"levels": {"support": "off", "other": "frozen"}}),
    ({"held": {"support": ["op1"]}}, {"held": {"support": ["op1", "op2"]}}),
)


@pytest.mark.usefixtures("owner")
def test_what_loosens(place: str) -> None:
    with psycopg.connect(place) as connection:

        def loosened(before: object, after: object) -> object:
            records = [json.dumps(["record", record]).encode() for record in (before, after)]
            row = connection.execute("SELECT kedge.loosened(%s, %s)", records).fetchone()
            assert row is not None
            return row[0]

        for before, after in LOOSER:
            assert loosened(before, after) is not None, (before, after)
        for before, after in NOT_LOOSER:
            assert loosened(before, after) is None, (before, after)
