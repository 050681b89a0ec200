"""The blocks of docs/ that need a framework: `make hosts` runs them, as if they were any other's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("langgraph.graph", reason="`make hosts` installs it")
pytest.importorskip("langchain_core", reason="`make hosts` installs it")

from tests.docs.pages import ROOT, Reader

NEEDS_A_HOST = re.compile(r"^```python no-run: needs .*`make hosts` runs it$", re.MULTILINE)


@pytest.mark.parametrize("page", ["langchain.md"])
def test_a_page_can_be_followed_with_its_framework(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, found = NEEDS_A_HOST.subn("```python", (ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert found, "its blocks say why they do not run elsewhere"
    (tmp_path / page).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Reader(tmp_path / page, tmp_path).follow()
