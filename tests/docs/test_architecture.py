"""Paths in docs/architecture.md and CONTRIBUTING.md: each names a file or folder of the tree."""

import re

import pytest

from tests.docs.pages import ROOT

pytestmark = pytest.mark.docs

PAGES = ("docs/architecture.md", "CONTRIBUTING.md")
PACKAGE = ROOT / "src" / "kedge"
PATH = re.compile(r"`([\w.-]+(?:/[\w.-]+)*/|(?:[\w.-]+/)+[\w.-]+|[\w-]+\.(?:py|md|toml|sql))`")
DRAWN = re.compile(r"(?<![\w/])([a-z]+(?:/[a-z]+)*/|[a-z]+\.py)(?= )")
LINE_CHARACTERS = 100
GONE = "no_such_folder/no_such_module.py"


def _missing(paths: list[str]) -> list[str]:
    return [path for path in paths if not (ROOT / path).exists() and not (PACKAGE / path).exists()]


@pytest.mark.parametrize("page", PAGES)
def test_every_path_is_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    paths = PATH.findall(text)
    assert len(paths) > 30
    assert _missing(paths) == []
    assert _missing([*PATH.findall(f"`{GONE}`")]) == [GONE]


def test_every_name_in_the_picture_is_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    picture = text.partition("```text\n")[2].partition("```")[0]
    names = DRAWN.findall(picture)
    assert _missing(names) == []
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= {name.split("/")[0] for name in names}, "the picture shows every folder"


@pytest.mark.parametrize("page", PAGES)
def test_lines_can_be_read_at_any_width(page: str) -> None:
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > LINE_CHARACTERS] == []
