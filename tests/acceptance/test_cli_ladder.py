"""kedge ladder, and levels in kedge status and kedge log."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import kedge
from tests.acceptance.cli import Run

ENTRY = {"id", "scope", "level", "source", "by", "reason", "since", "expires", "number", "operation"}


@pytest.fixture(autouse=True)
def wide(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run is not None  # it sets the width, too
    monkeypatch.setenv("COLUMNS", "300")


def document(run: Run, *arguments: str, code: int = 0) -> dict[str, Any]:
    found = run("ladder", *arguments, "--json")
    assert found.code == code, found.out
    assert isinstance(found.document, dict)
    return found.document


def test_an_entry_from_its_first_day_to_its_last(run: Run, world: Path) -> None:
    made = document(run, "tighten", "cautious", "tool:refund", "--expires", "2h", "-m", "wrong", "--by", "ann")["entry"]
    assert set(made) == ENTRY
    assert (made["scope"], made["level"], made["by"], made["source"]) == ("tool:refund", "cautious", "ann", "person")
    assert 7_000 < made["expires"] - made["since"] < 7_300
    held, listed = document(run)["entries"]
    assert (held["scope"], held["by"], listed) == ("feature:support", "joe", made)
    shown = run("status").out
    assert re.search(r'Degraded: support is frozen, set by joe .*: "hold"; to lift it: kedge ladder loosen L', shown)
    assert re.search(r"Degraded: tool:refund is cautious, set by ann .*, for another 1 h 5. min", shown)
    assert run("ladder", "loosen", made["id"], "-m", "fixed", "--by", "ben").code == 0
    assert run("ladder", "loosen", held["id"]).code == 0
    assert run("ladder").out == "Everything is full.\n"
    logged = run("log").out
    assert f"tighten tool:refund to cautious ({made['id']})" in logged
    assert f"loosen tool:refund from cautious to full ({made['id']})" in logged
    with kedge.open(world) as k:
        assert k.ladder.list() == []


def test_a_second_person(run: Run) -> None:
    assert document(run, "two-persons", "on") == {"two_persons": True}
    made = document(run, "tighten", "off", "--by", "ann")["entry"]
    asked = document(run, "loosen", made["id"], "--by", "ann", "-m", "calm", code=3)["request"]
    assert (asked["kind"], asked["status"], asked["by"]) == ("loosen", "pending", "ann")
    assert document(run)["requests"] == run("status", "--json").document["requests"] == [asked]
    assert document(run)["entries"] == run("status", "--json").document["entries"]
    assert f"kedge ladder approve {asked['id']}" in run("status").out
    assert run("ladder", "approve", asked["id"], "--by", "ann").code == 6
    assert run("ladder", "approve", asked["id"], "--by", "ben").out.startswith("Approved and done: lift")
    assert f"({made['id']}), approved by ben" in run("log").out
    again = document(run, "tighten", "off", "--by", "ann")["entry"]
    asked = document(run, "loosen", again["id"], "--by", "ann", code=3)["request"]
    assert document(run, "deny", asked["id"], "--by", "ben")["request"]["status"] == "denied"
    assert run("ladder", "loosen", again["id"], "--break-glass").code == 2
    assert run("ladder", "loosen", again["id"], "--break-glass", "-m", "fire").code == 0
    assert "BREAK GLASS: loosen everything from off to full" in run("log").out
    assert document(run, "two-persons", "off", "--by", "ann", code=3)["request"]["kind"] == "two_persons"


def test_presets(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "presets.toml"
    file.write_text('[frozen]\nact = "no"\n[cautious]\nact = "no"\n', encoding="utf-8")
    assert document(run, "presets", str(file))["presets"]["cautious"]["read"] == "no"
    assert document(run, "presets")["presets"]["frozen"]["undoable"] == "no"
    assert "presets of frozen, cautious" in run("log").out
    file.write_text('[off]\nspeak = "yes"\n', encoding="utf-8")
    assert run("ladder", "presets", str(file)).code == 2
    assert [line.split()[0] for line in run("ladder", "presets").out.splitlines()] == ["level", *kedge.Level]
