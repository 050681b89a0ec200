"""Reconcilers: external systems follow the pins over HTTP and by commands, also late, never, or after a crash."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kedge
import kedge.aio
from kedge import HttpReconciler, Kedge, ShellReconciler
from kedge.errors import InvalidValue, UnknownName
from kedge.model.artifacts import Artifact, names_of
from kedge.model.reconcile import PAUSE_SECONDS_MAX, follows, pauses
from kedge.reconcilers.limits import limit
from kedge.reconcilers.shell import CommandFailed
from tests.external_systems import ModelServer, model, model_server, on_file
from tests.processes import run

POSTGRES_ONE_IN = 5


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server() as found:
        yield found


def over_http(server: ModelServer, deadline_seconds: float = 5.0) -> HttpReconciler:
    return HttpReconciler("*/model", server.url, field="model.version", deadline_seconds=deadline_seconds)


def opened(place: str, reconciler: Any, name: str = "models") -> Kedge:
    return kedge.open(place, durability="normal", reconcilers={name: reconciler})


def launch(k: Kedge) -> None:
    for version in (1, 2):
        k.deploy(f"v{version}", {"support/model": model(version), "support/prompt": f"prompt {version}"})
        k.promote(f"v{version}")


def kinds(k: Kedge) -> list[str]:
    return [entry.kind for entry in k.log()]


# ── it follows ──


def test_a_server_follows_every_change_of_the_head(place: str, server: ModelServer) -> None:
    with opened(place, over_http(server)) as k:
        assert k.reconcilers() == {"models": "*/model"}
        k.deploy("v1", {"support/model": model(1)})
        assert server.asked == []  # staged: no head has moved
        (one,) = k.promote("v1").reconciled
        assert (one.name, one.key, one.ok, one.changed) == ("models", "support/model", True, True)
        assert server.versions == {"support/model": "models:/support/1"}
        assert server.sent[0] == {
            "key": "support/model", "value": None, "uri": "models:/support/1", "digest": "sha256:0001",
            "kind": "model", "version": "1",
        }  # fmt: skip
        k.deploy("v2", {"support/model": model(2)}, canary=0.5)
        k.canary("v2", 0.9)
        assert server.versions == {"support/model": "models:/support/1"}  # canaries are nobody else's
        k.promote("v2")
        assert server.versions == {"support/model": "models:/support/2"}
        told: list[str] = []
        report = k.rollback("v2", on_step=told.append)
        assert server.versions == {"support/model": "models:/support/1"}
        assert report.ok
        (back,) = report.reconciled
        assert (back.wanted, back.actual, back.changed) == ("models:/support/1", "models:/support/1", True)
        assert "reconciled: models of support/model brought to models:/support/1" in told
        k.reinstate("v2", on_step=told.append)
        assert server.versions == {"support/model": "models:/support/2"}
        assert k.status().unfinished == ()
        asked = len(server.asked)
        k.settle("v1")
        k.set_level("support", "frozen")
        assert len(server.asked) == asked
        assert k.status().unfinished == ()  # settled or not, the head is what it was
        assert {"promote:reconciled", "rollback:reconciled", "reinstate:reconciled"} <= set(kinds(k))
        assert k.fsck(full=True).findings == ()


def test_what_nothing_pins_any_more_is_left_as_it_is(place: str, server: ModelServer) -> None:
    with opened(place, over_http(server)) as k:
        k.deploy("v1", {"support/model": model(1)})
        k.promote("v1")
        report = k.rollback("v1")
        assert report.ok
        assert [(outcome.wanted, outcome.changed) for outcome in report.reconciled] == [(None, False)]
        assert server.versions == {"support/model": "models:/support/1"}


def test_a_rollback_of_a_canary_asks_nobody(place: str, server: ModelServer) -> None:
    server.before = lambda _method: 500
    with opened(place, over_http(server, 0.2)) as k:
        k.deploy("v1", {"support/model": model(1)}, canary=1.0)
        assert k.rollback("v1").ok
        assert server.asked == []


def test_commands_follow(place: str, tmp_path: Path) -> None:
    with opened(place, on_file(tmp_path / "alias")) as k:
        launch(k)
        assert (tmp_path / "alias").read_text() == "models:/support/2"
        assert k.rollback("v2").ok
        assert (tmp_path / "alias").read_text() == "models:/support/1"


def test_a_pin_reaches_a_command_whole_and_unread(tmp_path: Path) -> None:
    out = tmp_path / "out"
    tricky = "$(touch pwned); `touch pwned`; ' \" é"
    reconciler = ShellReconciler("*", observe="true", converge=f'cat > {out}; printf "%s|%s" "$KEDGE_KEY" "$KEDGE_URI"')
    reconciler.converge(tricky, Artifact(value=b"\xff", uri=tricky, digest="sha256:1"), 5.0)
    assert '"value":"/w=="' in out.read_text()
    assert tricky.replace('"', '\\"') in out.read_text(encoding="utf-8")
    words = ShellReconciler(
        "*", observe=[sys.executable, "-c", "import os; print(os.environ['KEDGE_KEY'])"], converge="true"
    )
    assert words.observe(tricky, 5.0) == tricky
    assert not list(tmp_path.glob("pwned"))


def test_several_systems_are_asked_side_by_side(
    place: str, server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kedge.recovery.reconcile.WAIT_MESSAGE_AFTER_SECONDS", 0.1)
    hung = ShellReconciler("*/model", observe="sleep 60", converge="true", deadline_seconds=3.0)
    names: dict[str, kedge.Reconciler] = {
        "hung": hung,
        "models": over_http(server),
        "prompts": on_file(tmp_path / "p", artifacts="*/prompt"),
    }
    with kedge.open(place, durability="normal", reconcilers=names) as k:
        k.deploy("v1", {"support/model": model(1)})
        began = time.monotonic()
        told: list[str] = []
        found = {outcome.name: outcome for outcome in k.promote("v1", on_step=told.append).reconciled}
        assert set(found) == {"hung", "models"}
        assert told[0].startswith("waiting for hung of support/model (observe, at most ")
        assert found["models"].ok
        assert found["models"].seconds < found["hung"].seconds
        assert not found["hung"].ok
        assert "s left of its deadline, and was killed" in found["hung"].why
        assert time.monotonic() - began < 30


# ── it does not follow ──


def test_it_fails_twice_and_then_follows(place: str, server: ModelServer) -> None:
    left = [503, 503]
    server.before = lambda _method: left.pop() if left else None
    with opened(place, over_http(server)) as k:
        k.deploy("v1", {"support/model": model(1)})
        (outcome,) = k.promote("v1").reconciled
        assert (outcome.ok, outcome.attempts) == (True, 3)


def test_what_stays_at_the_wrong_version_is_a_failure_that_does_not_undo_the_flip(
    place: str, server: ModelServer
) -> None:
    with opened(place, over_http(server, 0.3)) as k:
        launch(k)
        server.takes = False
        told: list[str] = []
        report = k.rollback("v2", hold=["support"], on_step=told.append)
        assert not report.ok
        assert report.indicators is not None
        assert report.indicators.ok
        (outcome,) = report.reconciled
        assert (outcome.ok, outcome.wanted, outcome.actual) == (False, "models:/support/1", "models:/support/2")
        assert outcome.attempts > 1
        assert "NOT RECONCILED: models of support/model (it is at models:/support/2" in report.verdict
        assert "kedge recover" in report.verdict
        assert k.view().artifacts["support/model"].uri == "models:/support/1"
        assert dict(k.levels()) == {"support": "frozen"}
        assert [each.kind for each in k.status().unfinished] == ["rollback"]
        (failed,) = k.recover()
        assert "NOT RECONCILED" in failed
        server.takes = True
        (done,) = k.recover()
        assert "rolled back and verified" in done
        assert server.versions == {"support/model": "models:/support/1"}
        assert k.levels() == {}
        assert k.status().unfinished == ()
        assert kinds(k).count("rollback:not-reconciled") == 1


def test_a_promotion_that_is_not_followed_is_unfinished(place: str, server: ModelServer) -> None:
    with opened(place, over_http(server, 0.3)) as k:
        server.takes = False
        k.deploy("v1", {"support/model": model(1)})
        report = k.promote("v1")
        assert not report.reconciled[0].ok
        assert report.deployment.status == "live"
        (left,) = k.status().unfinished
        assert (left.kind, left.deployment) == ("promote", "v1")
        server.takes = True
        assert k.recover() == ["v1: promote, external systems reconciled (epoch 3)"]
        assert k.status().unfinished == ()


def test_what_a_later_change_moved_as_well_is_left_to_it(place: str, server: ModelServer) -> None:
    with opened(place, over_http(server, 0.2)) as k:
        server.takes = False
        k.deploy("v1", {"support/model": model(1), "billing/model": model(1)})
        k.deploy("v2", {"support/model": model(2)})
        k.promote("v1")
        k.promote("v2")
        assert [each.deployment for each in k.status().unfinished] == ["v1", "v2"], "billing is v1's alone"
        k.deploy("v3", {"billing/model": model(3)})
        k.promote("v3")
        assert [each.deployment for each in k.status().unfinished] == ["v2", "v3"]
        server.takes = True
        assert len(k.recover()) == 2
        assert server.versions == {"support/model": "models:/support/2", "billing/model": "models:/support/3"}
        assert k.status().unfinished == ()


def test_a_rollback_is_finished_without_what_a_later_change_reconciled(place: str, server: ModelServer) -> None:
    with opened(place, over_http(server, 0.2)) as k:
        launch(k)
        server.takes = False
        k._kernel.backend.fleet.refresh(_silent(k))
        verdict = k.rollback("v2", wait=0).verdict
        assert "NOT CONVERGED: 0 of 1 members" in verdict
        assert "NOT RECONCILED: models" in verdict
        server.takes = True
        assert k.rollback("v1").ok
        asked = len(server.asked)
        assert "verified on" in k.recover()[0]
        assert len(server.asked) == asked
        assert k.status().unfinished == ()


HANGING = [
    pytest.param("sleep 60", "did not end within", id="hangs"),
    pytest.param("sleep 60 & sleep 60", "did not end within", id="hangs-with-a-child"),
    pytest.param("printf '\\377'", "not UTF-8", id="prints-bytes"),
    pytest.param("echo oh no >&2; printf '\\377' >&2; exit 3", "exited with 3: oh no", id="fails"),
    pytest.param("echo models:/support/9", "it is at models:/support/9, not at models:/support/1", id="wrong-for-ever"),
    pytest.param("true", "it is at nothing", id="nothing"),
]


@pytest.mark.parametrize(("observe", "why"), HANGING)
def test_a_command_that_misbehaves_is_reported(tmp_path: Path, observe: str, why: str) -> None:
    reconciler = ShellReconciler(
        "*/model", observe=observe, converge="true", timeout_seconds=0.1, deadline_seconds=0.25
    )
    with opened(str(tmp_path), reconciler) as k:
        k.deploy("v1", {"support/model": model(1)})
        (outcome,) = k.promote("v1").reconciled
        assert not outcome.ok
        assert why in outcome.why


def test_nothing_that_a_command_started_outlives_it(tmp_path: Path) -> None:
    file = tmp_path / "alive"
    observe = f"(sleep 0.4; touch {file}) & sleep 60"
    reconciler = ShellReconciler(
        "*/model", observe=observe, converge="true", timeout_seconds=0.1, deadline_seconds=0.15
    )
    with opened(str(tmp_path), reconciler) as k:
        k.deploy("v1", {"support/model": model(1)})
        k.promote("v1")
    time.sleep(0.4)
    assert not file.exists()


class Deaf:
    """Heeds no timeout."""

    artifacts = "*/model"
    deadline_seconds = 0.2

    def __init__(self, fails_first: bool = False) -> None:
        self.fails = fails_first
        self.end = threading.Event()

    def observe(self, key: str, timeout: float) -> str | None:  # noqa: ARG002 - the port's
        if self.fails:
            self.fails = False
            raise ValueError("no route")
        self.end.wait(30)
        return None

    def converge(self, key: str, pin: Artifact, timeout: float) -> None:
        raise AssertionError((key, pin, timeout))


@pytest.mark.parametrize(("fails_first", "before"), [(False, ""), (True, "; before that, ValueError: no route")])
def test_a_reconciler_of_ones_own_that_hangs_holds_nobody_up(tmp_path: Path, fails_first: bool, before: str) -> None:
    deaf = Deaf(fails_first)
    with opened(str(tmp_path), deaf) as k:
        k.deploy("v1", {"support/model": model(1)})
        (outcome,) = k.promote("v1").reconciled
        assert outcome.why == f"deadline of 0.2 s exceeded: observe has not returned{before}"
        deaf.end.set()


def test_a_server_that_hangs_is_held_to_the_deadline(tmp_path: Path, server: ModelServer) -> None:
    end = threading.Event()

    def hang(_method: str) -> int | None:
        end.wait(30)
        return None

    server.before = hang
    with opened(str(tmp_path), over_http(server, 0.3)) as k:
        k.deploy("v1", {"support/model": model(1)})
        (outcome,) = k.promote("v1").reconciled
        assert not outcome.ok
        assert "left of its deadline" in outcome.why
        end.set()


def test_ctrl_c_leaves_no_command_behind(tmp_path: Path) -> None:
    """And what was begun is unfinished, not lost."""
    reconciler = ShellReconciler("*/model", observe="sleep 60", converge="true")
    with opened(str(tmp_path), reconciler) as k:
        k.deploy("v1", {"support/model": model(1)})
        main = threading.get_ident()

        def interrupt() -> None:
            while not reconciler._running:
                time.sleep(0.01)
            signal.pthread_kill(main, signal.SIGINT)

        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            k.promote("v1")
        deadline = time.monotonic() + 30
        while reconciler._running:  # until it was killed, it is there
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert [each.kind for each in k.status().unfinished] == ["promote"]


# ── races and crashes ──


def test_who_converges_late_looks_at_the_pin_again(place: str, server: ModelServer) -> None:
    """A flip comes while a promotion's PUT is under way: the last pin wins."""
    with opened(place, over_http(server)) as k, opened(place, over_http(server)) as other:
        k.deploy("v1", {"support/model": model(1)})
        k.promote("v1")
        k.deploy("v2", {"support/model": model(2)})
        flipped = threading.Event()

        def flip_before_it_lands(method: str) -> None:
            if method == "PUT" and not flipped.is_set():
                flipped.set()
                assert other.rollback("v2").ok  # which finds 1 there, and rightly so

        server.before = flip_before_it_lands
        (outcome,) = k.promote("v2").reconciled
        assert (outcome.ok, outcome.wanted) == (True, "models:/support/1")
        assert server.versions == {"support/model": "models:/support/1"}


CRASH = """
import os, signal, sys
import kedge
from tests.external_systems import on_file
from pathlib import Path

class Dies:
    artifacts = "*/model"
    deadline_seconds = 5.0
    def __init__(self, inner): self.inner = inner
    def observe(self, key, timeout):
        if sys.argv[3] == "observe": os.kill(os.getpid(), signal.SIGKILL)
        return self.inner.observe(key, timeout)
    def converge(self, key, pin, timeout):
        self.inner.converge(key, pin, timeout)
        os.kill(os.getpid(), signal.SIGKILL)

inner = on_file(Path(sys.argv[2]))
k = kedge.open(sys.argv[1], reconcilers={"models": Dies(inner)})
k.rollback("v2", by="ann")
"""


@pytest.mark.parametrize("at", ["observe", "converge"])
def test_any_process_finishes_what_a_crashed_one_began(place: str, tmp_path: Path, at: str) -> None:
    file = tmp_path / "alias"
    with opened(place, on_file(file)) as k:
        launch(k)
    assert run("-c", CRASH, place, str(file), at).returncode == -signal.SIGKILL
    with kedge.open(place) as stranger:  # who has no reconciler, yet learns that there should be one
        assert [each.kind for each in stranger.status().unfinished] == ["rollback"]
        (said,) = stranger.recover()
        assert "this process has no reconciler named 'models'" in said
        assert [each.kind for each in stranger.status().unfinished] == ["rollback"]
    with opened(place, on_file(file)) as k:
        (said,) = k.recover()
        assert "verified" in said
        assert file.read_text() == "models:/support/1"
        assert k.status().unfinished == ()
        assert k.recover() == []


def test_what_was_reconciled_before_the_crash_is_not_done_again(place: str, server: ModelServer) -> None:
    with opened(place, over_http(server)) as k:
        launch(k)
        k._kernel.backend.fleet.refresh(_silent(k))
        assert not k.rollback("v2", wait=0).ok
        asked = len(server.asked)
        k.recover()
        assert len(server.asked) == asked
        assert k.status().unfinished == ()


def _silent(k: Kedge) -> Any:
    from kedge.model.fleet import Standing  # noqa: PLC0415 - for this test alone

    now = time.time()
    return Standing("u", "silent", "elsewhere", 7, (), 0.2, k.epoch, now, now)


# ── on demand ──


def test_drift_is_found_and_repaired(place: str, server: ModelServer) -> None:
    with opened(place, over_http(server)) as k:
        launch(k)
        k.deploy("v3", {"billing/model": model(3)})
        k.promote("v3")
        assert [outcome.changed for outcome in k.reconcile()] == [False, False]
        entries = len(k.log())
        server.versions["support/model"] = "somebody's own"
        (found,) = k.reconcile("support/model", check=True)
        assert (found.ok, found.actual, found.attempts) == (False, "somebody's own", 1)
        assert server.versions["support/model"] == "somebody's own"
        assert len(k.log()) == entries
        by_name = k.reconcile("models", by="ann")
        assert [(outcome.key, outcome.changed) for outcome in by_name] == [
            ("billing/model", False),
            ("support/model", True),
        ]
        assert (k.log()[0].kind, k.log()[0].by) == ("reconcile", "ann")
        with pytest.raises(UnknownName, match=r"'modles'.*did you mean 'models'"):
            k.reconcile("modles")


def test_a_system_that_is_gone_can_be_forgotten(place: str, server: ModelServer) -> None:
    with opened(place, over_http(server, 0.2)) as k:
        server.before = lambda _method: 500
        k.deploy("v1", {"support/model": model(1)})
        k.promote("v1")
        assert len(k.status().unfinished) == 1
        with pytest.raises(InvalidValue, match="remove it from kedge"):
            k.forget_reconciler("models")  # the next open would declare it again
    with kedge.open(place) as k:
        k.forget_reconciler("models", by="ann")
        assert k.reconcilers() == {}
        assert k.status().unfinished == ()
        assert k.recover() == [], "nothing follows, and nothing is said to"
        with pytest.raises(UnknownName):
            k.forget_reconciler("models")


def test_declaring_again_changes_nothing(place: str, server: ModelServer) -> None:
    with opened(place, over_http(server)) as k:
        epoch = k.epoch
    with opened(place, over_http(server)) as k:
        assert k.epoch == epoch
    with opened(place, HttpReconciler("billing/*", server.url), "billing") as k:
        assert k.reconcilers() == {"billing": "billing/*", "models": "*/model"}
        assert k.status().reconcilers == k.reconcilers()
    with kedge.open(place, read_only=True, reconcilers={"third": over_http(server)}) as k:
        assert "third" not in k.reconcilers()


def test_the_async_face_reconciles(tmp_path: Path, server: ModelServer) -> None:
    async def drive() -> None:
        async with kedge.aio.open(tmp_path, reconcilers={"models": over_http(server)}) as k:
            await k.deploy("v1", {"support/model": model(1)})
            assert (await k.promote("v1")).reconciled[0].ok
            assert [outcome.ok for outcome in await k.reconcile()] == [True]

    asyncio.run(drive())


# ── what is refused, and pure ──


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: HttpReconciler("*", "file:///etc/passwd"), "invalid URL"),
        (lambda: HttpReconciler("*", "http:/x"), "invalid URL"),
        (lambda: ShellReconciler("*", observe="", converge="true"), "a shell command line or a list of words"),
        (lambda: ShellReconciler("*", observe=["a", 1], converge="true"), "a shell command line or a list of words"),  # type: ignore[list-item]
    ],
)
def test_a_reconciler_that_cannot_be_is_refused(make: Any, says: str) -> None:
    with pytest.raises(InvalidValue, match=says):
        make()


def test_what_is_no_reconciler_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="lacks deadline_seconds, observe, converge"):
        opened(str(tmp_path), type("Half", (), {"artifacts": "*"})())
    with pytest.raises(InvalidValue, match="deadline"):
        opened(str(tmp_path), on_file(tmp_path / "x", deadline_seconds=-1))


def test_pauses_double_up_to_a_bound_and_differ_by_chance() -> None:
    longest = [pause for pause, _ in zip(pauses(iter(lambda: 1.0, None)), range(10), strict=False)]
    shortest = [pause for pause, _ in zip(pauses(iter(lambda: 0.0, None)), range(10), strict=False)]
    assert longest[:4] == [0.1, 0.2, 0.4, 0.8]
    assert longest[-1] == PAUSE_SECONDS_MAX
    assert shortest == [pause / 2 for pause in longest]


def test_the_limit_that_ended_it_is_the_one_that_is_named() -> None:
    assert limit(10.0, 60.0) == (10.0, "its timeout_seconds of 10 s")
    assert limit(10.0, 0.0517) == (0.0517, "the 0.0517 s left of its deadline")
    slow = ShellReconciler("*", observe="sleep 60", converge="true", timeout_seconds=0.05)
    with pytest.raises(CommandFailed, match=r"did not end within its timeout_seconds of 0\.05 s, and was killed"):
        slow.observe("support/model", 60.0)


def test_patterns_and_names() -> None:
    assert follows("*/model", "support/model")
    assert follows("support/*", "support/a/b")
    assert not follows("support/model", "Support/model")
    assert names_of(Artifact(value="gpt-4o", digest="sha256:1")) == {"gpt-4o", "sha256:1"}
    assert names_of(Artifact(value={"a": 1}, digest="sha256:1", uri="u", version="7")) == {"sha256:1", "u", "7"}
