"""Tables that fit the terminal: names stay whole, text wraps at words, and the least important columns go first."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

GAP = 2
_PROSE = frozenset({"reason", "value", "detail", "wanted", "actual", "holds"})  # long words may be folded
_PROSE_COLUMNS = 12
_WHOLE = frozenset({"UTC", "ago"})
_LEAST = 2  # columns that stay, however narrow the terminal is

STATUS_STYLES = {
    "live": "green",
    "canary": "yellow",
    "staged": "cyan",
    "settled": "blue",
    "rolled back": "bold red",
    "purged": "dim",
}


def status_style(status: str) -> str:
    """Return the style of a status, such as "canary" or "canary 10%"."""
    return next((style for name, style in STATUS_STYLES.items() if status.startswith(name)), "")


def wrap(text: str, width: int) -> list[str]:
    """Return the lines of a text, wrapped at spaces; a word that is longer than a line stays whole."""
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in re.split(r"(?<=\S)(?= )", paragraph):
            if line and cell_len(line + word) > width:
                lines.append(line)
                line = word.lstrip(" ")
            else:
                line += word
        lines.append(line.rstrip(" "))
    return lines


class Layout(msgspec.Struct, frozen=True):
    """The widths of the columns that are shown, by their place, and the names of those that are not."""

    widths: dict[int, int]
    dropped: tuple[str, ...]

    @property
    def total(self) -> int:
        """The width of the whole table."""
        return sum(self.widths.values()) + GAP * (len(self.widths) - 1)


def lay_out(
    columns: Sequence[str], rows: Sequence[Sequence[Text]], width: int, right: Iterable[str], importance: Sequence[str]
) -> Layout:
    """Return the layout of a table for a terminal of this width; columns not in `importance` go first."""
    numbers = {*right, *_WHOLE}
    natural = [_widest(place, name, rows) for place, name in enumerate(columns)]
    least = [
        natural[place] if name in numbers else min(natural[place], _narrowest(place, name, rows))
        for place, name in enumerate(columns)
    ]
    ranks = {name: rank for rank, name in enumerate(importance or columns)}
    kept = sorted(range(len(columns)), key=lambda place: (ranks.get(columns[place], len(columns)), place))
    while len(kept) > _LEAST and sum(least[place] for place in kept) + GAP * (len(kept) - 1) > width:
        kept.pop()
    spare = max(0, width - GAP * (len(kept) - 1) - sum(least[place] for place in kept))
    widths = {}
    for left, place in zip(
        range(len(kept), 0, -1), sorted(kept, key=lambda place: natural[place] - least[place]), strict=True
    ):
        more = min(spare // left, natural[place] - least[place])
        widths[place] = least[place] + more
        spare -= more
    shown = {place: widths[place] for place in sorted(kept)}
    return Layout(shown, tuple(name for place, name in enumerate(columns) if place not in shown))


def _widest(place: int, name: str, rows: Sequence[Sequence[Text]]) -> int:
    return max(cell_len(name), *(cell_len(row[place].plain) for row in rows)) if rows else cell_len(name)


def _narrowest(place: int, name: str, rows: Sequence[Sequence[Text]]) -> int:
    """Return the width of the longest word, bounded where words may be folded."""
    longest = max((_longest_word(row[place].plain) for row in rows), default=0)
    return max(cell_len(name), min(longest, _PROSE_COLUMNS) if name in _PROSE else longest)


def _longest_word(text: str) -> int:
    indent = len(text) - len(text.lstrip(" "))
    return indent + max(map(cell_len, text.split()), default=0)


def build(columns: Sequence[str], rows: Sequence[Sequence[Text]], layout: Layout, right: Iterable[str]) -> Table:
    """Return the table of a layout, without lines."""
    numbers = set(right)
    grid = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for place, width in layout.widths.items():
        name = columns[place]
        justify: Literal["left", "right"] = "right" if name in numbers else "left"
        grid.add_column(name, justify=justify, overflow="fold", header_style="dim", width=width)
    for row in rows:
        grid.add_row(*(row[place] for place in layout.widths))
    return grid
