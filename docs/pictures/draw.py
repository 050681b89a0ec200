"""Pictures of the documentation: draws an SVG from each text file in this folder.

`make pictures` writes `<name>.svg` beside every `<name>.txt`. A test holds each SVG to its text.
"""

import sys
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
WIDTH, MARGIN = 880, 24
LABELS = 136  # the column of lane names
COLUMN, GAP = 212, 30
BOX_HEIGHT, LANE = 54, 78
TOP = 104
SIZES = {"title": 19, "head": 14, "lane": 14, "text": 14, "note": 12}  # of text, in pixels
CHARACTER = 0.56  # mean width of a character as a share of its size: text that does not fit is refused

STYLE = """
  .card { fill: #ffffff; stroke: #d0d7de }
  text { font-family: -apple-system, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif; fill: #1f2328 }
  .title { font-size: 19px; font-weight: 600 }
  .head { font-size: 14px; font-weight: 600 }
  .lane { font-size: 14px; font-weight: 600 }
  .text { font-size: 14px }
  .note { font-size: 12px; fill: #59636e }
  .line { stroke: #d0d7de; stroke-width: 1 }
  .cut { stroke: #0969da; stroke-width: 2 }
  .clean { fill: #dafbe1; stroke: #1a7f37; stroke-width: 1.5 }
  .caused { fill: #ffebe9; stroke: #cf222e; stroke-width: 1.5 }
  .hidden { fill: none; stroke: #8c959f; stroke-width: 1.5; stroke-dasharray: 5 4 }
  .gone { fill: #8c959f; text-decoration: line-through }
  .arrow { fill: none; stroke-width: 1.5 }
  .after-clean { stroke: #59636e }
  .after-caused { stroke: #cf222e }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117; stroke: #3d444d }
    text { fill: #f0f6fc }
    .note { fill: #9198a1 }
    .line { stroke: #3d444d }
    .cut { stroke: #4493f8 }
    .clean { fill: #12261e; stroke: #3fb950 }
    .caused { fill: #2d1517; stroke: #f85149 }
    .hidden { fill: none; stroke: #656c76 }
    .gone { fill: #7d8590 }
    .after-clean { stroke: #9198a1 }
    .after-caused { stroke: #f85149 }
  }
"""


class Write(NamedTuple):
    """A box: its lane and column from 1, its kind, its text and the note below."""

    lane: int
    column: int
    kind: str
    text: str
    note: str


class Arrow(NamedTuple):
    """An arrow between two boxes, each a lane and a column, and the words beside it."""

    start: tuple[int, int]
    end: tuple[int, int]
    words: str


class Picture(NamedTuple):
    """What a text file describes."""

    title: str
    foot: str
    columns: list[str]
    lanes: list[tuple[str, str]]
    writes: list[Write]
    arrows: list[Arrow]


def parse(text: str) -> Picture:
    """Read a text file; raise ValueError on a line that is not understood."""
    said = {"title": "", "foot": ""}
    picture = Picture("", "", [], [], [], [])
    for number, line in enumerate(text.splitlines(), start=1):
        key, _, rest = line.partition(":")
        parts = [part.strip() for part in rest.split("|")]
        if not line.strip() or line.startswith("#"):
            continue
        if key in said:
            said[key] = rest.strip()
        elif key == "column":
            picture.columns.append(rest.strip())
        elif key == "lane":
            picture.lanes.append((parts[0], parts[1] if len(parts) > 1 else ""))
        elif key == "write":
            picture.writes.append(Write(int(parts[0]), int(parts[1]), *parts[2:]))
        elif key == "arrow":
            start, end = (_place(place) for place in parts[0].split(">"))
            picture.arrows.append(Arrow(start, end, parts[1] if len(parts) > 1 else ""))
        else:
            raise ValueError(f"line {number}: unknown key {key!r}")
    return picture._replace(title=said["title"], foot=said["foot"])


def _place(text: str) -> tuple[int, int]:
    lane, column = text.split(",")
    return int(lane), int(column)


def draw(picture: Picture) -> str:
    """Return the SVG of a picture."""
    height = TOP + LANE * len(picture.lanes) + 36
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(picture.title, quote=False)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        _text(MARGIN, 38, "title", picture.title, WIDTH - 2 * MARGIN),
        *_columns(picture, height),
        *_lanes(picture),
        *(line for arrow in picture.arrows for line in _arrow(arrow, _kind(picture, arrow.start))),
        *(line for write in picture.writes for line in _box(write)),
        _text(MARGIN, height - 20, "note", picture.foot, WIDTH - 2 * MARGIN),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _columns(picture: Picture, height: int) -> Iterable[str]:
    for number, name in enumerate(picture.columns, start=1):
        yield _text(_left(number), 78, "head", name, COLUMN)
    x = _left(len(picture.columns)) - GAP / 2
    yield f'<line class="cut" x1="{x:g}" y1="60" x2="{x:g}" y2="{height - 42}"/>'


def _lanes(picture: Picture) -> Iterable[str]:
    for number, (name, note) in enumerate(picture.lanes, start=1):
        y = _middle(number)
        yield f'<line class="line" x1="{MARGIN}" y1="{y - LANE / 2:g}" x2="{WIDTH - MARGIN}" y2="{y - LANE / 2:g}"/>'
        yield _text(MARGIN, y - 3 if note else y + 5, "lane", name, LABELS - 10)
        if note:
            yield _text(MARGIN, y + 15, "note", note, LABELS - 10)


def _box(write: Write) -> Iterable[str]:
    x, y = _left(write.column), _middle(write.lane)
    yield (
        f'<rect class="{write.kind}" x="{x}" y="{y - BOX_HEIGHT / 2:g}" width="{COLUMN}" height="{BOX_HEIGHT}" rx="6"/>'
    )
    shade = "text gone" if write.kind == "hidden" else "text"
    yield _text(x + 12, y - 3, shade, write.text, COLUMN - 24)
    yield _text(x + 12, y + 16, "note", write.note, COLUMN - 24)


def _kind(picture: Picture, place: tuple[int, int]) -> str:
    return next(write.kind for write in picture.writes if (write.lane, write.column) == place)


def _arrow(arrow: Arrow, kind: str) -> Iterable[str]:
    (lane, column), (to_lane, to_column) = arrow.start, arrow.end
    if column == to_column:  # straight down
        x, y, end = _left(column) + COLUMN / 2, _middle(lane) + BOX_HEIGHT / 2, _middle(to_lane) - BOX_HEIGHT / 2
        yield f'<path class="arrow after-{kind}" d="M {x:g} {y:g} V {end - 7:g}"/>'
        yield _tip(x, end, kind)
    else:  # to the right, then down
        x, y = _left(column) + COLUMN, _middle(lane)
        across, end = _left(to_column) + COLUMN / 2, _middle(to_lane) - BOX_HEIGHT / 2
        yield f'<path class="arrow after-{kind}" d="M {x:g} {y:g} H {across - 10:g} q 10 0 10 10 V {end - 7:g}"/>'
        yield _tip(across, end, kind)
        if arrow.words:
            yield _text(x + GAP, y - 8, "note", arrow.words, across - x - GAP)


def _tip(x: float, y: float, kind: str) -> str:
    return f'<path class="arrow after-{kind}" d="M {x - 5:g} {y - 9:g} l 5 7 l 5 -7 M {x:g} {y - 8:g} v 6"/>'


def _text(x: float, y: float, kind: str, words: str, room: float) -> str:
    size = SIZES[kind.split(maxsplit=1)[0]]
    if len(words) * size * CHARACTER > room:
        raise ValueError(f"text is too long: {words!r}; {room:g} pixels hold {room / size / CHARACTER:.0f} characters")
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(words, quote=False)}</text>'


def _left(column: int) -> int:
    return MARGIN + LABELS + (column - 1) * (COLUMN + GAP)


def _middle(lane: int) -> float:
    return TOP + (lane - 1) * LANE + LANE / 2 - 8


def main() -> int:
    """Draw every picture of this folder."""
    for source in sorted(FOLDER.glob("*.txt")):
        drawn = source.with_suffix(".svg")
        drawn.write_text(draw(parse(source.read_text(encoding="utf-8"))), encoding="utf-8")
        sys.stdout.write(f"{drawn.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
