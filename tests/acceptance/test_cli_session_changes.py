"""kedge end-session, fork-session, rewind and undo-rewind."""

from pathlib import Path

import kedge
from tests.acceptance.cli import Run


def test_a_session_is_forked_rewound_and_ended(run: Run, world: Path) -> None:
    with kedge.open(world) as k, k.turn("chat", "clerk") as turn:
        first, _ = turn.memory.extend([("user", "one"), ("assistant", "two")])
    assert run("fork-session", "chat", "chat-2", "--json").document["writes"] == 2
    assert run("fork-session", "chat", "chat-2").code == 3
    assert run("fork-session", "nobody", "u").code == 2
    assert run("rewind", "chat", str(first)).code == 2, "it wants --yes"
    done = run("rewind", "chat", str(first), "--yes", "--json").document
    assert (done["deleted"], done["restored"]) == (1, 0)
    assert "rewind chat" in run("log").out
    assert run("undo-rewind", done["id"]).code == 0
    assert run("undo-rewind", "nothing").code == 2
    assert run("end-session", "chat-2", "--yes", "--json").document["session"]["ended"] is True
    with kedge.open(world) as k:
        assert [m.content for m in k.view(session="chat").memory.history()] == ["one", "two"]


def test_sessions_are_listed_by_their_whole_names(run: Run, world: Path) -> None:
    names = [f"long/{'x' * 90} {end}" for end in "abc"]
    with kedge.open(world) as k:
        for name in names:
            k.turn(name, "clerk").close()
    shown = run("sessions", "long/", "--limit", "2").out
    assert all(name.split()[0] in shown for name in names)
    assert f"--after '{names[1]}'" in " ".join(shown.split())
