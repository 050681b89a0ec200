"""Command gates."""

from __future__ import annotations

from pathlib import Path

import kedge
from kedge.drill import rehearse_in_place
from tests.acceptance.cli import Run


def test_gates_say_what_is_missing_and_pass_after_a_drill(run: Run, world: Path) -> None:
    with kedge.open(world) as k:
        k.deploy("support-v9", {"support/prompt": "nine"})
    found = run("gates", "support-v9")
    assert found.code == 1
    assert "passed  targets" in found.out
    assert "FAILED drill: no drill in place within 7 days; run `kedge drill --in-place`" in " ".join(found.out.split())
    assert rehearse_in_place(kedge.open, str(world)).passed
    found = run("gates", "support-v9", "--json")
    assert found.code == 0
    assert found.document["ok"]
    assert [result["name"] for result in found.document["results"]] == ["targets", "drill"]


def test_settings_are_read_from_a_release_file(run: Run, world: Path, tmp_path: Path) -> None:
    with kedge.open(world) as k:
        k.deploy("support-v9", {"support/prompt": "nine"})
    file = tmp_path / "release.toml"
    file.write_text('name = "x"\n[gates.drill]\nmax_age = "soon"\n')
    assert "invalid max_age" in " ".join(run("gates", "support-v9", "--settings", str(file)).out.split())
    file.write_text("[gates.dril]\n")
    assert run("gates", "support-v9", "--settings", str(file)).code == 2
    file.write_text("[gates")
    assert "not valid TOML" in run("gates", "support-v9", "--settings", str(file)).err
    assert run("gates", "support-v9", "--settings", "nowhere.toml").code == 2
