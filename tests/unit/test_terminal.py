"""Progress output on a terminal."""

import io

import pytest
from rich.console import Console

from kedge.cli import terminal


@pytest.mark.parametrize(
    ("total", "drawn", "never"), [(0, "12 documents", ("of 0", "%", "0:00:00")), (48, "12 of 48 documents", ("of 0",))]
)
def test_a_bar_promises_no_end_where_none_is_known(
    monkeypatch: pytest.MonkeyPatch, total: int, drawn: str, never: tuple[str, ...]
) -> None:
    screen = io.StringIO()
    shown = Console(file=screen, force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr(terminal, "console", lambda **_: shown)
    with terminal.progress_bar("embedding", silent=False, unit="documents") as advance:
        advance(8, total)
        advance(12, total)
    assert drawn in screen.getvalue()
    assert not [each for each in never if each in screen.getvalue()]
