"""Output of status, log, show and diff; parsing of points and views."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

import kedge
from kedge.cli.terminal import one_line, printable
from kedge.model.durations import duration
from tests.acceptance.cli import Run

SCREEN_LINES, SCREEN_COLUMNS = 24, 80


def flat(text: str) -> str:
    return " ".join(text.split())


def test_status_fits_one_screen_and_says_it_all(run_nowhere: Run, world: Path) -> None:
    result = run_nowhere("status", "--db", world.name)
    lines = result.out.splitlines()
    assert len(lines) <= SCREEN_LINES
    assert all(len(line) <= SCREEN_COLUMNS for line in lines)
    said = flat(result.out)
    for part in (
        "epoch 9",
        "support-v2 canary 100%",
        "support-v1 live",
        "support-v3 staged",
        "support-v3 depends on support-v1, support-v2",
        "Settled: base",
        "Degraded: support is frozen",
        "Hidden: no writes",
        "Replay: no user input needs replay",
        "8 sessions",
        "Last change: level support: frozen, by joe,",
        '"hold"',
    ):
        assert part in said, part
    assert re.search(r"(just now|\d+ (s|min) ago), \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", result.out)


def test_status_fits_one_screen_after_a_year(run: Run, world: Path) -> None:
    with kedge.open(world, durability="normal") as k:
        for number in range(30):
            k.deploy(f"a-longer-name-{number}", {f"agent-{number}/prompt": "x"})
    result = run("status")
    assert len(result.out.splitlines()) <= SCREEN_LINES
    assert "and 25 more: kedge status --all" in flat(result.out)
    everything = flat(run("status", "--all").out)
    assert all(f"a-longer-name-{number} staged" in everything for number in range(30))


def test_status_of_an_empty_database(run_nowhere: Run, tmp_path: Path) -> None:
    kedge.open(tmp_path / ".kedge").close()
    assert "No deployment yet" in run_nowhere("status").out


def test_log(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    run("rollback", "support-v2", "--reason", "wrong refunds", "--yes", "--by", "ann")
    said = flat(run("log", "--limit", "4").out)
    assert "wrong refunds" in said
    assert "rollback:verified support-v2: ok" in said
    assert "Newest 4 entries; more with --limit." in said
    about = run("log", "--deployment", "support-v3", "--json").document["entries"]
    assert [entry["kind"] for entry in about] == ["rollback", "stage"]


def test_show(run: Run) -> None:
    said = flat(run("show", "context", "case/1", "--session", "s-1").out)
    assert "lineage support-v1 (live)" in said
    assert "STALE: expired" in said
    assert '"state": "open"' in said
    inside = flat(run("show", "context", "case/1", "--deployment", "support-v2").out)
    assert "lineage support-v1 (live), support-v2 (canary)" in inside
    assert '"state": "refunded"' in inside
    assert '"state": "refunded"' in flat(run("show", "context", "case/1", "--session", "s-5").out)
    assert "case/0" in run("show", "context", "case/").out
    assert "no keys in this view" in run("show", "context", "nothing/here/").out
    assert "text 1" in run("show", "documents", "kb/doc-1").out
    assert "text 1" in run("show", "documents", "kb", "doc-1").out
    assert "4 dimensions, norm 1.41421" in run("show", "vectors", "kb/v1", "--session", "s-1").out
    assert "First 2 of 4; more with --limit." in run("show", "documents", "kb", "--limit", "2").out


def test_show_a_store_of_ones_own(run: Run, world: Path) -> None:
    with kedge.open(world, durability="normal") as k, k.turn(agent="clerk") as turn:
        saved = turn.store("saved").space("thread-1")
        saved.put_many({f"step/{number}": {"n": number} for number in range(5)})
        saved.put("state", b"\x00", ttl=0.001)
        turn.store("saved").space("").put("state", 1)
    shown = run("show", "store:saved", "thread-1", "step/", "--limit", "2")
    assert "step/0" in shown.out
    assert "First 2 of 5" in flat(shown.out)
    assert "state" not in run("show", "store:saved", "thread-1").out, "it has expired"
    assert '"n": 3' in run("show", "store:saved", "thread-1", "step/3").out
    for argv, said in (
        (("store:saved",), 'no space given; spaces of store:saved: "", thread-1'),
        (("store:saved", "thread-2"), "no space 'thread-2' in store:saved"),
        (("store:saved", "thread-1", "step/9"), "does not exist in this view"),
        (("store:saved", "thread-1", "a", "b"), "write store:saved SPACE KEY"),
        (("saved",), "invalid store 'saved'"),
    ):
        refused = run("show", *argv)
        assert refused.code != 0
        assert said in flat(refused.err)
    assert "store:saved" in run("retention", "30d", "--store", "store:saved", "--yes").out


def test_show_at_a_point(run: Run, world: Path) -> None:
    with kedge.open(world) as k:
        seq = k.seq
        moment = datetime.now(UTC)
        with k.turn(person="ann") as turn:
            turn.context.put("case/0", "closed by hand")
    assert "closed by hand" in run("show", "context", "case/0").out
    assert "closed by hand" in run("show", "context", "case/0", "--at", "now").out
    for point in (str(seq), "before-friday", moment.isoformat(), moment.replace(tzinfo=None).isoformat()):
        assert '"state": "open"' in run("show", "context", "case/0", "--at", point).out, point
    assert run("show", "context", "case/0", "--at", "2h").code == 2  # nothing was there then
    assert "Where is order 1?" in run("show", "memory", "s-1", "--at", "before-friday").out
    assert "No messages of s-5 in this view" in run("show", "memory", "s-5", "--at", "before-friday").out


def test_a_snapshots_name_comes_first(run: Run) -> None:
    run("snapshot", "7")
    run("snapshot", "session:s-1")
    assert run("diff", "7", "now", "--json").document["a_upto"] > 7
    assert run("diff", "session:s-1", "now", "--json").document["a_upto"] is not None


def test_diff(run: Run) -> None:
    said = flat(run("diff", "now", "deployment:support-v2").out)
    assert "A: now, sees support-v1" in said
    assert "B: deployment:support-v2, sees support-v1, support-v2" in said
    assert "artifacts: 1 added, 0 removed, 1 changed" in said
    assert "+ case/4: {" in said
    assert "memory: the histories of 4 sessions differ" in said
    assert "No differences." in run("diff", "now", "session:s-1").out
    found = run("diff", "session:s-5@before-friday", "session:s-5", "--json").document
    assert (found["a_upto"] is not None, found["b_upto"]) == (True, None)
    assert run("diff", "session:a@b.example", "now").code == 0


def test_stored_text_cannot_steer_the_terminal(run: Run, world: Path) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07 [bold]not markup[/bold] \u202etxt.exe\r\n:smile:"
    with kedge.open(world) as k, k.turn(session="s-1", person="ann") as turn:
        turn.memory.append("user", evil)
        turn.context.put("evil", evil)
        k.set_level("support", "off", reason=evil)
    for argv in (("show", "memory", "s-1"), ("show", "context", "evil"), ("show", "context"), ("log",), ("status",)):
        out = run(*argv).out
        assert not set(out) & {"\x1b", "\x07", "\r", "\u202e"}, argv
    assert "[bold]not markup[/bold]" in run("show", "memory", "s-1").out
    assert run("show", "context", "evil", "--json").document["entries"][0]["value"] == evil


def test_bytes_are_shown_by_their_length(run: Run, world: Path) -> None:
    with kedge.open(world) as k, k.turn(person="ann") as turn:
        turn.context.put("raw", b"\x00\xff")
    assert "2 bytes; use --json to print them" in run("show", "context", "raw").out
    assert run("show", "context", "raw", "--json").document["entries"][0]["value"] == {"bytes": "AP8="}


def test_a_long_value_is_not_broken(run: Run, world: Path) -> None:
    with kedge.open(world) as k, k.turn(person="ann") as turn:
        turn.context.put("long", "word " * 100)
    assert "word " * 100 in run("show", "context", "long").out


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (90_000, "1 d 1 h"), (86_460, "1 d")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_text_without_surprises() -> None:
    assert printable("plain äöü 漢字") == "plain äöü 漢字"
    assert printable("a\x1bb\tc\nd") == "a\\x1bb\\tc\nd"
    assert one_line({"a": [1, None]}) == '{"a":[1,null]}'
    assert len(one_line("x" * 500)) == 60


def test_settings_as_they_are_typed(run: Run) -> None:
    assert "support: frozen" in run("level").out
    assert "Every feature is full." in run("level", "support", "full").out
    assert "Retention: 30 d." in run("retention", "30d", "--yes").out
    assert "Retention: forever." in run("retention", "forever", "--yes").out
    assert "before-friday" in run("snapshot").out
    assert "kb" in run("collection").out
    assert "Indexed fields: lang" in run("collection", "faq", "--dim", "4", "--field", "lang").out
    assert "lang" in run("collection").out
    assert "s-5 sees: support-v1, support-v2" in run("assignment", "s-5").out
    assert "nobody has had no turn yet" in run("assignment", "nobody").out
    assert "s-1 now sees: support-v1, support-v2" in run("refresh", "s-1").out
