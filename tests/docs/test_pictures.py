"""Pictures of the documentation equal what their text files say."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.pages import ROOT

pytestmark = pytest.mark.docs

PICTURES = ROOT / "docs" / "pictures"


@pytest.fixture(scope="module")
def draw() -> ModuleType:
    """Return the module that draws the pictures; it belongs to no package."""
    spec = importlib.util.spec_from_file_location("draw", PICTURES / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("source", sorted(PICTURES.glob("*.txt")), ids=lambda path: path.name)
def test_a_picture_is_what_its_text_says(source: Path, draw: ModuleType) -> None:
    drawn = source.with_suffix(".svg").read_text(encoding="utf-8")
    assert drawn == draw.draw(draw.parse(source.read_text(encoding="utf-8"))), "run `make pictures`"


def test_text_that_would_not_fit_is_refused(draw: ModuleType) -> None:
    picture = draw.parse("column: now\nlane: agent\nwrite: 1 | 1 | clean | " + "wide " * 20 + "| note")
    with pytest.raises(ValueError, match="text is too long"):
        draw.draw(picture)
