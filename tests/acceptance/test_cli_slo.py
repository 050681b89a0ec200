"""Command slo."""

from __future__ import annotations

from pathlib import Path

import kedge
from tests.acceptance.cli import Run


def test_the_table_and_the_exit_codes(run: Run, world: Path, tmp_path: Path) -> None:
    file = tmp_path / "release.toml"
    assert run("slo").code == 2, "no objectives are set"
    with kedge.open(world) as k:
        k.deploy("v8", {"support/prompt": "eight"})
        k.rollback("v8")
    file.write_text('[slo]\nrollback_completion = "1h"\nconsensus = "5s"\nmembers = 1000\n')
    found = run("slo", str(file), "--set", "--by", "ann")
    assert found.code == 0
    assert "rollback_completion" in found.out
    assert "no data" in found.out
    found = run("slo", "--json")
    assert found.code == 0
    assert [each["objective"]["name"] for each in found.document["objectives"]] == ["rollback_completion", "consensus"]
    assert [each["ok"] for each in found.document["objectives"]] == [True, None]
    file.write_text('[slo]\nrollback_completion = "0.001ms"\n')
    assert run("slo", str(file)).code == 1
    file.write_text('[slo]\nconsensus = "5s"\n')
    assert run("slo", str(file)).code == 2, "nothing was measured"
    file.write_text("[other]\n")
    assert "no table [slo]" in run("slo", str(file)).err
    assert run("slo", "--set").code == 2
