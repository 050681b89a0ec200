"""Long names of sessions: stored once, not with every turn; and read by name wherever a turn is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge.model import session_names, upgrade
from kedge.turns.scope import scope_of
from tests.databases import alter, raw_rows

LONG = "tenant-7/" + "x" * 2_000
JUST = "y" * (session_names.LONG_CHARACTERS + 1)
SHORT = "z" * session_names.LONG_CHARACTERS
SESSIONS = {LONG, JUST, SHORT}
TURNS = 3


def talk(k: kedge.Kedge, release: str = "bad") -> None:
    k.deploy(release, {"writer/prompt": release}, canary=1.0)
    for session in sorted(SESSIONS):
        for number in range(TURNS):
            with k.turn(session=session, agent="writer") as turn:
                turn.memory.history()
                turn.memory.append("user", f"question {number}")
                turn.memory.append("assistant", "hidden")
                turn.observe("resolved", number)


def answers(k: kedge.Kedge) -> dict[str, Any]:
    plan = k.plan("bad")
    backend = scope_of(k.view()).backend
    return {
        "sessions": plan.sessions,
        "total": plan.sessions_total,
        "inputs": [(item.session, item.space, item.seq) for item in plan.replay_inputs],
        "sources": plan.sources_inside,
        "samples": sorted((sample.session or "", sample.value) for sample in backend.metrics.observations("resolved")),
        "turns": [turn.session for turn in backend.provenance.newest_turns(100) if turn.session is not None],
        "memory": {session: [m.content for m in k.view(session=session).memory.history()] for session in SESSIONS},
    }


def stored(place: str) -> list[str]:
    return sorted({session for (session,) in raw_rows(place, "SELECT session FROM turns WHERE session IS NOT NULL")})


def test_a_long_name_is_stored_once_and_read_everywhere(place: str) -> None:
    with kedge.open(place, durability="normal") as k:
        talk(k)
        found = answers(k)
        assert (set(found["sessions"]), found["total"]) == (SESSIONS, len(SESSIONS))
        assert {session for session, _, _ in found["inputs"]} == SESSIONS
        assert {session for session, _ in found["samples"]} == set(found["turns"]) == SESSIONS
        assert len(found["samples"]) == len(found["turns"]) == TURNS * len(SESSIONS)
        k.rollback("bad")
        assert {item.session for item in k.replay_pending()} == SESSIONS
        report = k.replay(lambda turn, _: turn.memory.append("assistant", f"again in {turn.session}"), limit=3)
        assert report.failed == ()
        assert {m.content for s in SESSIONS for m in k.view(session=s).memory.history() if m.role == "assistant"} <= {
            f"again in {s}" for s in SESSIONS
        }
        assert k.fsck(full=True).findings == ()
    for table in ("turns", "observations"):
        ((longest,),) = raw_rows(place, f"SELECT max(length(session)) FROM {table}")
        assert longest == session_names.LONG_CHARACTERS
    assert sorted(raw_rows(place, "SELECT session FROM session_names")) == [(LONG,), (JUST,)]


def test_fsck_finds_an_alias_without_a_name(place: str) -> None:
    with kedge.open(place, durability="normal") as k:
        talk(k)
    alter(place, "DELETE FROM session_names")
    with kedge.open(place, read_only=True) as k:
        found = [str(finding) for finding in k.fsck(full=True).findings]
        assert len(found) == 2 * TURNS
        assert all("is not in the table of session names" in what for what in found)


def test_the_upgrade_gives_old_turns_an_alias_and_keeps_every_answer(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(upgrade, "WRITER", upgrade.FEATURES_SINCE - 1)
        if place.startswith("postgres"):  # tests copy their databases from one with the present fence
            alter(place, f"UPDATE meta SET value = '{upgrade.WRITER}' WHERE name = 'min_writer'")
        with kedge.open(place, durability="normal") as k:
            talk(k)
    with kedge.open(place, durability="normal") as k:
        talk(k, "bad-2")
        k.rollback("bad-2")
        k.purge("bad-2", confirm="bad-2")
        assert stored(place) == sorted(SESSIONS), "an older process may still read them"
        before = answers(k)
        assert k.upgrade().rows >= 2
        assert answers(k) == before
        assert {len(session) for session in stored(place)} < set(range(session_names.LONG_CHARACTERS + 1))
        assert k.upgrade().rows == 0
        assert k.fsck(full=True).findings == ()


def test_names_move_with_the_database(place: str, tmp_path: Path) -> None:
    with kedge.open(place, durability="normal") as k:
        talk(k)
        before = answers(k)
    target = f"sqlite:///{tmp_path / 'moved' / 'kedge.db'}"
    kedge.migrate_store(place, target)
    with kedge.open(target) as k:
        assert answers(k) == before
        talk(k, "bad-2")
        assert k.fsck(full=True).findings == ()
    assert len(raw_rows(target, "SELECT session FROM session_names")) == 2
