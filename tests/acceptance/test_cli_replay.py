"""`kedge replay`: lists pending inputs, and processes them with a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import kedge
from tests.acceptance.cli import Run
from tests.databases import alter

HANDLER = """
def answer(turn, item):
    if item.value == "Refund order 6?":
        raise RuntimeError("the model is down")
    turn.memory.append("assistant", f"again: {item.value}")
"""


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def hidden(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Roll back the canary, in a folder with a handler."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "replay_handlers.py").write_text(HANDLER)
    assert run("rollback", "support-v2", "--yes").code == 0
    assert run("level", "support", "full").code == 0
    return run


def test_it_lists_what_is_pending(run: Run, hidden: Run) -> None:
    said = flat(hidden("replay").out)
    assert "4 user inputs need replay: their answers are hidden" in said
    assert "s-4 support memory" in said
    assert "To process them: kedge replay package.module:function" in said
    listed = hidden("replay", "replay_handlers:answer", "--list", "--json", "--limit", "1").document
    assert (listed["pending"], len(listed["inputs"])) == (4, 1)
    assert hidden("replay", "--list", "--json").document["pending"] == 4, "listing replays nothing"
    run("reinstate", "support-v2", "--yes")
    assert "No user input needs replay." in hidden("replay").out
    assert "No user input needs replay." in hidden("replay", "replay_handlers:answer").out


def test_it_calls_the_handler_and_says_what_failed(hidden: Run, world: Path) -> None:
    done = hidden("replay", "replay_handlers:answer")
    assert done.code == 1
    said = flat(done.out)
    assert "3 inputs replayed: 3 from memory" in said
    assert "1 input failed and still pending; run the command again to retry:" in said
    assert "memory s-6 (seq " in said
    assert "RuntimeError: the model is down" in said
    with kedge.open(world, read_only=True) as k:
        assert [m.content for m in k.view(session="s-5").memory.history()] == [
            "Refund order 5?", "again: Refund order 5?",
        ]  # fmt: skip
    again = hidden("replay", "replay_handlers:answer", "--json")
    assert (again.code, again.document["ok"], again.document["replayed"]) == (1, False, [])
    assert again.document["failed"][0][1] == "RuntimeError: the model is down"


def test_it_tells_its_progress(hidden: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []

    @contextmanager
    def bar(label: str, *, silent: bool, unit: str) -> Iterator[Callable[[int, int], None]]:
        assert (label, silent, unit) == ("replaying", False, "inputs")
        yield lambda done, total: told.append((done, total))

    monkeypatch.setattr("kedge.cli.replay.progress_bar", bar)
    hidden("replay", "replay_handlers:answer")
    assert told[-1] == (4, 4)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        ("replay_handlers", "invalid handler 'replay_handlers': write package.module:function"),
        ("no_such_module:answer", "cannot import 'no_such_module'"),
        ("replay_handlers:anser", "'replay_handlers' has no function 'anser'"),
    ],
)
def test_a_handler_that_is_not_there(hidden: Run, handler: str, told: str) -> None:
    refused = hidden("replay", handler)
    assert refused.code == 2
    assert told in flat(refused.err)
    assert "Traceback" not in refused.err


def test_inputs_of_old_anonymous_turns_need_an_agent(hidden: Run, world: Path) -> None:
    assert alter(f"sqlite:///{world / 'kedge.db'}", "UPDATE turns SET agent = NULL, seen = NULL WHERE session = 's-4'")
    assert "none: use --agent" in flat(hidden("replay").out)
    refused = hidden("replay", "replay_handlers:answer")
    assert refused.code == 2
    assert "1 of 4 inputs were used by turns that named no agent" in flat(refused.err)
    done = hidden("replay", "replay_handlers:answer", "--agent", "support")
    assert "3 inputs replayed: 3 from memory" in flat(done.out)
    with kedge.open(world, read_only=True) as k:
        assert [m.content for m in k.view(session="s-4").memory.history()] == [
            "Refund order 4?", "again: Refund order 4?",
        ]  # fmt: skip
