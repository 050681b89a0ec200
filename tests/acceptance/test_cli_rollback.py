"""plan, rollback, reinstate, purge and recover, and their confirmations."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import kedge
from kedge.cli import terminal
from tests.acceptance.cli import Run, content

Answer = Callable[[str], None]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Return a function that simulates a terminal at which this text is typed."""

    def type_answer(typed: str) -> None:
        monkeypatch.setattr(terminal, "interactive", lambda: True)
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))

    return type_answer


def flat(text: str) -> str:
    return " ".join(text.split())


def test_a_plan_lists_what_a_rollback_changes(run: Run) -> None:
    result = run("plan", "support-v2")
    assert result.code == 0
    said = flat(result.out)
    assert "Status: canary at 100% since" in said
    assert "Also rolled back, because they depend on it: support-v3." in said
    assert "19 writes are hidden from every reader at once:" in said
    assert "3 in artifacts, 8 in context, 4 in memory, 4 in vectors." in said
    assert "It influenced 4 sessions and 2 agents; 4 user inputs will need replay." in said
    assert "Pin support/model (now models:/support/7) falls back to nothing: it was new" in said
    assert re.search(r"Pin support/prompt \(now .+?\) falls back to support-v1's prompt: Answer kindly and", said)
    assert "context case/1 falls back to the value written" in said
    assert "past its freshness budget" in said
    assert "context case/4 is removed: it has no earlier value" in said
    assert "Not part of the deployment, but influenced by data they read: librarian." in said
    assert "1 key falls back to a value past its freshness budget" in said
    assert "4 source writes were made inside influenced turns and stay" in said
    assert "all keys (15) examined" in said
    assert "emails" in said
    assert "kedge reinstate support-v2" in said
    assert all(len(line) <= 80 for line in result.out.splitlines())


def test_a_plan_says_how_much_it_did_not_look_at(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kedge.recovery.plan.KEYS_EXAMINED_MAX", 5)
    assert "It examined 5 of " in flat(run("plan", "support-v2").out)


def test_a_rollback_shows_its_steps_and_ends_with_a_verdict(run: Run) -> None:
    result = run("rollback", "support-v2", "--reason", "wrong refunds", "--yes", "--by", "ann")
    assert result.code == 0
    lines = [line.strip() for line in result.err.splitlines() if line.strip()]
    assert lines[0].startswith("committed in")
    assert any(line.startswith("verified: ") for line in lines)
    assert "support-v2, support-v3: rolled back and verified on" in flat(result.out)
    assert "To undo: kedge reinstate support-v2" in result.out
    status = flat(run("status").out)
    assert 'support-v2 was rolled back: "wrong refunds"' in status
    assert "Hidden: 19 writes" in status
    assert "Replay: 4 user inputs need replay: their answers are hidden" in status


def test_a_rollback_that_cannot_be_verified_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaking(*_: object, **_options: object) -> kedge.Indicators:
        return kedge.Indicators(0.1, 0.1, None, 0.5, None, None, 7, 0, 3, ("context:/case/1",))

    monkeypatch.setattr("kedge.recovery.rollback.verify", leaking)
    result = run("rollback", "support-v2", "--yes")
    assert result.code == 1
    assert "VERIFICATION FAILED" in flat(result.out)
    assert "UNFINISHED: rollback of support-v2" in run("status").out
    assert run("recover").code == 1


def test_the_wrong_rollback(run: Run) -> None:
    before = run("diff", "now", "session:s-5", "--json").document
    shown = run("show", "memory", "s-5", "--json").document
    run("rollback", "support-v2", "--yes")
    assert "Yes!" not in run("show", "memory", "s-5").out
    assert "(retracted)" in run("show", "memory", "s-5", "--tombstones").out
    result = run("reinstate", "support-v2", "--yes")
    assert "support-v2 is canary at 100% again" in flat(result.out)
    assert "Also reinstated: support-v3" in result.out
    assert run("show", "memory", "s-5", "--json").document == shown
    assert run("diff", "now", "session:s-5", "--json").document == before


def test_purging(run: Run) -> None:
    run("rollback", "support-v2", "--yes")
    result = run("purge", "support-v2", "--yes")
    assert "support-v2 is purged: 19 writes permanently deleted" in flat(result.out)
    assert "Also purged: support-v3" in result.out
    assert run("reinstate", "support-v2", "--yes").code == 3
    assert run("fsck", "--full").code == 0


def test_a_snapshot_in_the_way_of_a_purge(run: Run) -> None:
    run("snapshot", "mine")
    run("rollback", "support-v2", "--yes")
    result = run("purge", "support-v2", "--yes")
    assert result.code == 3
    assert "kedge snapshot --release mine" in flat(result.err)
    run("snapshot", "--release", "mine", "--yes")
    assert run("purge", "support-v2", "--yes").code == 0


def test_recovering(run: Run, world: Path) -> None:
    assert "Nothing to recover." in run("recover").out
    with kedge.open(world) as k:
        k.rollback("support-v2", by="joe", verify=False)
    assert "finish it with `kedge recover`" in flat(run("status").out)
    result = run("recover")
    assert result.code == 0
    assert "support-v2: resuming the rollback that joe began (epoch 10)" in flat(result.err)
    assert "verified on" in result.out
    assert "UNFINISHED" not in run("status").out


# ── Ctrl-C ──


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("kedge.turns.kernel.Kernel.change", "support-v2 is still canary; nothing was changed"),
        (
            "kedge.recovery.rollback.wait_for_members",
            "the rollback IS COMMITTED: support-v2 is rolled back. Its remaining",
        ),
        ("kedge.recovery.rollback._report", "IS COMMITTED: support-v2 is rolled back; nothing is left to do"),
    ],
)
def test_ctrl_c_reports_whether_the_rollback_was_committed(
    run: Run, monkeypatch: pytest.MonkeyPatch, where: str, says: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(where, interrupt)
        result = run("rollback", "support-v2", "--yes", "--json")
    assert result.code == 130
    assert result.document["error"]["kind"] == "Interrupted"
    assert says in result.document["error"]["message"]
    assert run("recover").code == 0
    assert ("rolled back" in run("status").out) is ("IS COMMITTED" in says)


def test_ctrl_c_reports_whether_the_purge_was_committed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("rollback", "support-v2", "--yes")
    with monkeypatch.context() as patch:
        patch.setattr("kedge.recovery.purge.finish_purge", interrupt)
        said = flat(run("purge", "support-v2", "--yes").err)
    assert "stopped, but the purge IS COMMITTED: support-v2 is purged. Its remaining steps are not finished" in said
    assert "19 writes erased" in flat(run("recover").out)


def interrupt(*_: object, **_options: object) -> None:
    raise KeyboardInterrupt


# ── questions ──

ASKING: list[tuple[str, ...]] = [
    ("rollback", "support-v2"),
    ("settle", "support-v1"),
    ("snapshot", "--release", "before-friday"),
]
ASKING_OF_HIDDEN: list[tuple[str, ...]] = [("reinstate", "support-v2"), ("purge", "support-v2")]


@pytest.mark.parametrize("argv", ASKING + ASKING_OF_HIDDEN, ids=" ".join)
def test_refused_without_a_terminal(run: Run, argv: tuple[str, ...]) -> None:
    if argv in ASKING_OF_HIDDEN:
        run("rollback", "support-v2", "--yes")
    before = run("log", "--json").document
    for extra in ((), ("--json",)):
        result = run(*argv, *extra)
        assert result.code == 2
        assert "refusing without confirmation; add --yes" in flat(result.err + result.out)
    assert run("log", "--json").document == before


@pytest.mark.parametrize("typed", ["n\n", "\n", "", "nein\n", "support\n"])
@pytest.mark.parametrize("argv", ASKING + ASKING_OF_HIDDEN, ids=" ".join)
def test_a_no_changes_nothing(run: Run, answer: Answer, world: Path, argv: tuple[str, ...], typed: str) -> None:
    if argv in ASKING_OF_HIDDEN:
        run("rollback", "support-v2", "--yes")
    before = content(world)
    answer(typed)
    result = run(*argv)
    assert result.code == 130
    assert "Nothing was changed." in result.out
    assert "stopped" not in result.err
    assert content(world) == before


@pytest.mark.parametrize("argv", [*ASKING, ("reinstate", "support-v2")], ids=" ".join)
def test_confirmed_with_yes(run: Run, answer: Answer, argv: tuple[str, ...]) -> None:
    if argv[0] == "reinstate":
        run("rollback", "support-v2", "--yes")
    answer("y\n")
    result = run(*argv)
    assert result.code == 0, result
    assert "[y/N]" in result.err


def test_a_rollback_says_what_will_happen_before_it_asks(run: Run, answer: Answer) -> None:
    answer("n\n")
    said = flat(run("rollback", "support-v2").out)
    assert "19 writes are hidden" in said
    assert "Also rolled back, because they depend on it: support-v3." in said
    assert "Full plan: kedge plan support-v2" in said


@pytest.mark.parametrize("typed", ["y\n", "support-v1\n"])
def test_a_purge_asks_for_the_name(run: Run, answer: Answer, typed: str) -> None:
    run("rollback", "support-v2", "--yes")
    answer(typed)
    result = run("purge", "support-v2")
    assert result.code == 130
    assert "support-v3" in result.out
    assert re.search(r"\d+ user inputs? needs? replay: .* hidden; run replay first to answer them", flat(result.out))
    answer("support-v2\n")
    assert run("purge", "support-v2").code == 0


def test_a_question_is_not_asked_about_what_is_impossible(run: Run, answer: Answer) -> None:
    answer("")
    assert run("rollback", "nope").code == 2
    assert run("purge", "nope").code == 2
    assert run("settle", "nope").code == 2
    assert run("reinstate", "nope").code == 2


def test_a_slip_in_an_agent_s_name_shows_before_the_flip_and_in_the_verdict(run: Run, world: Path) -> None:
    with kedge.open(world) as k:
        k.set_level("support", "full")
        with pytest.warns(kedge.AttributionWarning, match="'Support'.*'support'"):
            turn = k.turn("s-5", agent="Support")
        with turn:
            turn.context.put("case/9", {"state": "refunded"})
    said = flat(run("plan", "support-v2").out)
    assert "Warning: 1 derived write of agent Support stays" in said
    assert "(did you mean support?)" in said
    (left,) = run("plan", "support-v2", "--json").document["unattributed"]
    assert (left["agent"], left["store"], left["writes"], left["has_artifacts"]) == ("Support", "context", 1, False)
    done = run("rollback", "support-v2", "--reason", "wrong", "--yes")
    assert done.code == 0
    assert "WARNING: derived writes of agents without artifacts are not hidden, though their turns saw it: " in flat(
        done.out
    )
    assert "1 by 'Support' (did you mean 'support'?)" in flat(done.out)


def test_a_release_that_influenced_nothing_is_one_write(run: Run) -> None:
    assert run("deploy", "support-v9", "--artifact", "support/tone=calm").code == 0
    said = flat(run("plan", "support-v9").out)
    assert "It influenced no writes: only its own artifacts are hidden." in said
    assert "0 sessions" not in said
    done = flat(run("rollback", "support-v9", "--yes").out)
    assert "; 1 write hidden, " in done
    assert "(by all rollbacks)" in done


def test_a_verdict_with_a_warning_is_not_green(run: Run, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1;32msupport-v2" in run("rollback", "support-v2", "--yes").out
    assert run("reinstate", "support-v2", "--yes").code == 0
    with kedge.open(world) as k, pytest.warns(kedge.AttributionWarning), k.turn("s-5", agent="Support") as turn:
        turn.context.put("case/9", {"state": "refunded"})
    assert "\x1b[1;33msupport-v2" in run("rollback", "support-v2", "--yes").out
