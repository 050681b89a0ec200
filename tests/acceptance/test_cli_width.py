"""Narrow terminals: names stay whole, `log` keeps its reasons, and columns go by importance. Colour by status."""

from __future__ import annotations

from pathlib import Path

import pytest

import kedge
from tests.acceptance.cli import Run

NAME = "support-assistant-retrieval-2026-11"  # 35 characters
MIN_WHOLE = 60  # columns: below, a line may be as long as its names
OTHER = "billing-assistant-invoices-v12"
WHY = "it promised refunds that the handbook does not allow"
COMMANDS = (
    ("status",), ("status", "--all"), ("log",), ("plan", OTHER), ("snapshot",), ("collection",), ("fleet",),
    ("show", "context"), ("show", "artifacts"), ("reconcile", "--check"), ("verdicts",), ("log", "--secrets"),
)  # fmt: skip


@pytest.fixture
def long_names(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kedge.toml").write_text(
        f"[reconcilers.{OTHER}-system]\nartifacts = '{OTHER}/model'\nobserve = 'echo models:/billing/7'\n"
        "converge = 'true'\ndeadline_seconds = 0.1\n"
    )
    with kedge.open(world) as k:
        k.deploy(NAME, {f"{NAME}/prompt": "Hi"}, by="maria")
        k.promote(NAME, by="maria")
        k.rollback(NAME, reason=WHY, by="maria")
        k.deploy(OTHER, {f"{OTHER}/model": kedge.Artifact(uri="models:/billing/7", digest="sha256:7")}, by="joe")
        k.promote(OTHER)
        k.snapshot(f"before-{NAME}")
        k.collection(f"{NAME}-kb", dim=4)
        with k.turn(session=f"session-of-{NAME}", agent=OTHER) as turn:
            turn.context.put(f"case/{NAME}", {"state": WHY})
    return world


@pytest.mark.parametrize("columns", [120, 80, 60, 40])
def test_no_name_is_broken_at_any_width(
    run: Run, long_names: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with kedge.open(long_names) as k, k.join(f"{OTHER}-1", serves=[OTHER]):
        for argv in COMMANDS:
            shown = run(*argv)
            assert shown.code == 0, shown
            for line in shown.out.splitlines():
                for name in (NAME, OTHER):
                    cut = any(line.rstrip().endswith(name[:length]) for length in range(9, len(name)))
                    assert not cut or line.rstrip().endswith(name), (argv, line)
                assert len(line) <= columns or columns < MIN_WHOLE or line.startswith("sqlite:"), (argv, line)


@pytest.mark.usefixtures("long_names")
@pytest.mark.parametrize("columns", [120, 80, 60, 40])
def test_the_log_keeps_its_reasons(run: Run, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = run("log", "-n", "30").out
    head = shown.splitlines()[0].split()
    assert head[:1] == ["change"]
    assert "reason" in head
    for word in WHY.split():
        assert word in shown
    if columns < 80:
        assert "UTC" not in head
        assert "Not shown at this width: " in shown


@pytest.mark.usefixtures("long_names")
def test_columns_go_in_order_of_importance(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    order = ("change", "reason", "ago", "by", "seq", "UTC")
    before = len(order)
    for columns in range(160, 39, -10):
        monkeypatch.setenv("COLUMNS", str(columns))
        head = run("log", "-n", "30").out.splitlines()[0].split()
        assert set(head) == set(order[: len(head)])
        assert len(head) <= before
        before = len(head)


@pytest.mark.usefixtures("long_names")
def test_statuses_have_colours(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run("status").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = run("status").out
    assert "\x1b" not in plain
    assert "\x1b[32mlive" in shown
    assert "\x1b[33mcanary 100%" in shown
    assert "\x1b[36mstaged" in shown
    assert "\x1b[1;31mrolled back" in shown
    assert "\x1b[1;31mrollback" in run("log").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert not any(f"\x1b[{code}m" in run("status").out for code in ("32", "33", "36", "1;31"))
