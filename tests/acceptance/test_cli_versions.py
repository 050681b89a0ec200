"""Which version gave this answer, what a new session gets, and what a rollback would bring back: the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

import kedge
from tests.acceptance.cli import Run


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def launched(run_nowhere: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Make a database with a live release, and a canary of every session over it."""
    place = tmp_path / "own" / "kedge.db"
    monkeypatch.setenv("COLUMNS", "200")
    with kedge.open(f"sqlite:///{place}", durability="normal") as k:
        k.deploy("support-v1", {"support/prompt": "be brief", "support/tone": "warm"})
        k.promote("support-v1")
        k.deploy("support-v2", {"support/prompt": "promise refunds"}, canary=1.0)
        with k.turn("s-1", agent="support") as turn:
            turn.memory.append("user", "Where is it?")
            turn.memory.append("assistant", "Have a refund.")
            turn.context.put("case/1", "refund")
            turn.context.put("case/2", "refund")
            turn.context.put("case/3", "refund")
        with k.turn("s-1", person="ann") as turn:
            turn.context.put("case/1", "no refund")
            turn.context.put("case/3", "no refund")
        with k.turn(person="bob") as turn:
            turn.context.delete("case/3")
        with k.turn("s-1", agent="reviewer") as turn:
            turn.context.get("case/2")
            turn.memory.append("assistant", "Checked.")
    return lambda *arguments: run_nowhere(*arguments, "--db", f"sqlite:///{place}")


def test_show_shows_what_every_new_session_gets(launched: Run) -> None:
    assert "promise refunds" in launched("show", "artifacts", "support/prompt").out
    assert launched("show", "artifacts", "support/prompt", "--json").document["view"]["seen"] == [
        "support-v1", "support-v2",
    ]  # fmt: skip
    launched("canary", "support-v2", "0.5")
    assert "be brief" in launched("show", "artifacts", "support/prompt").out, "half of the new sessions are not all"


def test_show_tells_an_unknown_session_apart(launched: Run) -> None:
    known = launched("show", "context", "case/2", "--session", "s-1")
    assert "has had no turn yet" not in known.err
    typo = launched("show", "context", "case/2", "--session", "s-one")
    assert "s-one has had no turn yet. If it started now, it would see this." in flat(typo.err)
    shown = launched("show", "context", "case/2", "--session", "s-one", "--json")
    assert shown.document["view"]["session_known"] is False


def test_show_memory_tells_which_version_gave_an_answer(launched: Run) -> None:
    said = flat(launched("show", "memory", "s-1").out)
    assert "assistant: Have a refund. support of support-v1, support-v2" in said
    assert "assistant: Checked. reviewer, influenced by support-v1, support-v2" in said
    answer = launched("show", "memory", "s-1", "--json").document["messages"][1]
    assert (answer["agent"], sorted(answer["lineage"])) == ("support", ["support-v1", "support-v2"])
    assert answer["at"] > 0


def test_diff_shows_values(launched: Run) -> None:
    said = flat(launched("diff", "now", "deployment:support-v2").out)
    assert said.count("identical") == 1 or "No differences" in said
    said = flat(launched("diff", "before:support-v2", "session:s-1").out)
    assert "~ support/prompt: be brief → promise refunds (seq" in said
    assert "+ case/1: no refund (seq" in said
    said = flat(launched("diff", "session:s-1", "before:support-v2").out)
    assert "- case/1: no refund (seq" in said


def test_a_plan_says_what_changes_what_comes_back_and_what_stays(launched: Run) -> None:
    said = flat(launched("plan", "support-v2").out)
    assert "Pin support/prompt (now promise refunds) falls back to support-v1's prompt: be brief" in said
    assert "context case/1 stays: it was written by ann, " in said
    plan = launched("plan", "support-v2", "--json").document
    assert plan["changed"] == {"support/prompt": "promise refunds"}
    assert plan["pins"] == {"support/prompt": "support-v1's prompt: be brief"}
    assert [(kept["key"], kept["person"]) for kept in plan["kept"]] == [("case/1", "ann")]
