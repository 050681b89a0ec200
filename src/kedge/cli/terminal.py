"""What people see: safe text, times, tables, questions, progress. Data goes to stdout, all else to stderr."""

import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal, NoReturn

import msgspec
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from kedge.errors import ConfirmationNeeded

_PIPE_COLUMNS = 160
_NARROWEST = 20
_WHOLE_RATE = 10.0  # a second; below, a fraction tells more than 0 does
_STEP_COLUMNS = 19  # so that no step of the log is broken within its name
_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))


class Declined(Exception):
    """Somebody was asked, and said no."""


# ── streams ──


class _Console(Console):
    """A console that leaves it to the caller what a reader's going away means."""

    def on_broken_pipe(self) -> None:
        """Raise on."""
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """Return a console on stdout or stderr as they are now: colour on a terminal only, and never with NO_COLOR."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPE_COLUMNS
    return _Console(file=stream, width=width, markup=False, highlight=False, emoji=False, soft_wrap=False)


def say(text: str = "", style: str | None = None) -> None:
    """Print a paragraph, wrapped at the terminal's width below its own indent."""
    _paragraph(console(), text, style)


def say_whole(text: str, style: str | None = None) -> None:
    """Print text as it stands: what is to be copied is not broken."""
    console().print(printable(text), style=style, soft_wrap=True)


def whisper(text: str, style: str | None = None) -> None:
    """Print a paragraph to stderr."""
    _paragraph(console(stderr=True), text, style)


def _paragraph(shown: Console, text: str, style: str | None) -> None:
    words = text.lstrip(" ")
    indent = len(text) - len(words)
    for line in Text(printable(words)).wrap(shown, max(_NARROWEST, shown.width - indent)) or [Text()]:
        line.rstrip()
        shown.print(Text.assemble(" " * indent, (line.plain, style or "")), soft_wrap=True)


def heading(text: str) -> None:
    """Print a heading, set off from what stands above."""
    say()
    say(text, "bold")


def emit(document: dict[str, Any]) -> None:
    """Print the one JSON document of a `--json` call."""
    encoded = msgspec.json.format(msgspec.json.encode(document), indent=2)
    sys.stdout.write(encoded.decode() + "\n")
    sys.stdout.flush()


def printable(text: str) -> str:
    """Return text with control and invisible characters escaped, so that no stored value can steer the terminal."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c if c == "\n" or unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co"} else _escaped(c) for c in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def one_line(value: object, width: int = 60) -> str:
    """Return a value as JSON on one line, or bytes as their length, shortened to a width."""
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = " ".join(printable(text).split())
    return text if len(text) <= width else text[: width - 1] + "…"


# ── words ──


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: "1 key", "2,000 keys"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def verb(number: int, plural: str) -> str:
    """Return a verb in the form that goes with a number: "vanish", "vanishes"."""
    if number != 1:
        return plural
    return {"were": "was", "are": "is"}.get(plural, plural + ("es" if plural.endswith("sh") else "s"))


def weight(share: float) -> str:
    """Return a canary weight as a percentage."""
    return f"{share * 100:.4g}%"


def listing(names: Iterable[str], most: int = 6) -> str:
    """Return names as a list of at most so many, the rest counted."""
    all_names = list(names)
    shown = ", ".join(all_names[:most])
    more = len(all_names) - most
    return f"{shown} and {more:,} more" if more > 0 else shown


def duration(seconds: float, units: int = 2) -> str:
    """Return a length of time in its greatest units: "2 d 3 h", "5 min"."""
    left = max(0.0, seconds)
    parts: list[str] = []
    for size, unit in _UNITS:
        whole = int(left // size)
        left -= whole * size
        if whole or (unit == "s" and not parts):
            parts.append(f"{whole} {unit}")
        elif parts:
            break
    return " ".join(parts[:units])


def ago(at: float, now: float) -> str:
    """Return how long ago a time was."""
    return "just now" if now - at < 1 else f"{duration(now - at, units=1)} ago"


def utc(at: float) -> str:
    """Return a time as UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def utc_short(at: float) -> str:
    """Return a time as UTC, for a column that says so."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def when(at: float, now: float) -> str:
    """Return a time both ways: how long ago, and as UTC."""
    return f"{ago(at, now)}, {utc(at)}"


# ── tables ──


def table(columns: Iterable[str], rows: Iterable[Iterable[str | Text]], *, right: Iterable[str] = ()) -> None:
    """Print a table without lines; `right` names the columns that hold numbers."""
    console().print(grid_of(columns, rows, right=right))


def grid_of(columns: Iterable[str], rows: Iterable[Iterable[str | Text]], *, right: Iterable[str] = ()) -> Table:
    """Return a table without lines, to print or to show live."""
    numbers = set(right)
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in numbers else "left"
        whole = column in numbers or column in {"UTC", "ago", "since"}
        least = _STEP_COLUMNS if column == "what" else None
        grid.add_column(column, justify=justify, overflow="fold", header_style="dim", no_wrap=whole, min_width=least)
    for row in rows:
        grid.add_row(*(Text(printable(cell)) if isinstance(cell, str) else cell for cell in row))
    return grid


# ── questions ──


def interactive() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def may_ask(*, yes: bool, as_json: bool, what: str) -> bool:
    """Return whether to ask before doing what cannot simply be undone; raise where nobody could answer."""
    if yes:
        return False
    if as_json or not interactive():
        raise ConfirmationNeeded(f"to {what} wants a yes, and nobody is here to give it; add --yes if you mean it")
    return True


def ask(question: str) -> bool:
    """Ask a question on stderr; only y or yes is a yes."""
    return _answer(f"{question} [y/N] ").lower() in {"y", "yes"}


def ask_for(question: str, wanted: str) -> bool:
    """Ask for a name to be typed; say whether it was."""
    return _answer(f"{question} ") == wanted


def decline(why: str = "") -> NoReturn:
    """Say that nothing was changed, and end the command."""
    say(f"{why} Nothing was changed.".lstrip())
    raise Declined


def _answer(prompt: str) -> str:
    sys.stderr.write(printable(prompt))
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line.endswith("\n"):
        sys.stderr.write("\n")
    return line.strip()


# ── progress ──


class _Share(ProgressColumn):
    """Which part is done, where it is known of how many."""

    def render(self, task: Task) -> Text:
        """Return the column's text."""
        return Text("" if task.total is None else f"{task.percentage:>3.0f} %")


class _Rate(ProgressColumn):
    """How many are done, of how many where that is known, and how many a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """Return the column's text."""
        speed = task.finished_speed or task.speed
        rate = "" if not speed else f", {speed:,.0f}/s" if speed >= _WHOLE_RATE else f", {speed:.2g}/s"
        of = "" if task.total is None else f" of {int(task.total):,}"
        return Text(f"{int(task.completed):,}{of} {self._unit}{rate}")


@contextmanager
def progress_bar(label: str, *, silent: bool, unit: str | None = None) -> Iterator[Callable[[int, int], None]]:
    """Lend a callback that draws a bar on stderr, where that is a terminal. Print to stdout only after it.

    It is called with how many are done, of how many: 0 where nobody knows. With a `unit`, the bar says how many of them
    are done, and how many a second.
    """
    shown = console(stderr=True)
    if silent or not shown.is_terminal:
        yield lambda _done, _total: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        _Share(),
        *(() if unit is None else (_Rate(unit),)),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=shown, transient=True, redirect_stdout=False)
    task = bar.add_task(label, total=None)

    def advance(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total or None)
        bar.start()  # with the first report, so that nothing is in the way of what is said before

    try:
        yield advance
    finally:
        bar.stop()


@contextmanager
def spinner(label: str, *, silent: bool) -> Iterator[None]:
    """Show on stderr that something is being worked on, where that is a terminal. Print to stdout only after it."""
    shown = console(stderr=True)
    if silent or not shown.is_terminal:
        yield
        return
    with Live(Spinner("dots", printable(label)), console=shown, transient=True, redirect_stdout=False):
        yield
