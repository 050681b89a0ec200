"""docs/langgraph.md can be followed: its blocks need LangGraph, so `make hosts` runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("langgraph.graph", reason="`make hosts` installs it")

from tests.docs.pages import ROOT, Reader, find_blocks, is_run

REASON = "no-run: needs LangGraph; make hosts runs it"


def test_the_page_can_be_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "langgraph.md"
    page.write_text((ROOT / "docs" / "langgraph.md").read_text(encoding="utf-8").replace(f" {REASON}", ""))
    assert sum(map(is_run, find_blocks(page))) == 4
    Reader(page, tmp_path).follow()
