"""Limits of pages: line length, and columns of a table."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, find_blocks, find_pages

pytestmark = pytest.mark.docs

PAGES = [*find_pages(), *(page for name in ("CHANGELOG.md", "CONTRIBUTING.md") if (page := ROOT / name).exists())]
MOST_CHARACTERS = 100
MOST_COLUMNS = 5
SOURCE = {"python", "toml", "sql"}  # what a reader copies; shells and outputs cannot be wrapped
TARGET = re.compile(r"\]\([^)\s]+\)|<?https?://\S+")
SIGNATURE = re.compile(r"#### `.*`")  # test_reference.py holds each to the code, on one line


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _lines(page: Path) -> Iterator[tuple[int, str]]:
    """Return the lines that can be wrapped: not those of shells, outputs and signatures, nor results after `# ->`."""
    fenced = {
        block.line + offset: block.language
        for block in find_blocks(page)
        for offset in range(block.text.count("\n") + 1)
    }
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        source = number not in fenced or (fenced[number] in SOURCE and "# -> " not in line)
        if source and not SIGNATURE.fullmatch(line):
            yield number, line


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_lines_are_short(page: Path) -> None:
    long = [number for number, line in _lines(page) if len(TARGET.sub("]()", line)) > MOST_CHARACTERS]
    assert not long, f"{_name(page)}: more than {MOST_CHARACTERS} characters in lines {long}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_tables_are_narrow(page: Path) -> None:
    rows = ((number, line) for number, line in _lines(page) if re.match(r"\s*\|.*\|\s*$", line))
    wide = [number for number, line in rows if len(re.findall(r"(?<!\\)\|", line)) - 1 > MOST_COLUMNS]
    assert not wide, f"{_name(page)}: more than {MOST_COLUMNS} columns in lines {wide}"
