"""Terminal output: safe text, times, tables, questions, progress. Results go to stdout, all else to stderr."""

import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NoReturn

import msgspec
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from kedge.cli.streams import json_for
from kedge.cli.tables import Layout, build, lay_out, wrap
from kedge.errors import ConfirmationNeeded
from kedge.model.durations import duration
from kedge.model.writes import to_json

_PIPE_COLUMNS = 160
_NARROWEST = 20
_WHOLE_RATE = 10.0  # per second; slower rates are shown with decimals


class Declined(Exception):
    """The user answered no to a question."""


# ── streams ──


def console(*, stderr: bool = False, least: int = 0) -> Console:
    """Return a console on the current stdout or stderr: colour only on a terminal and without NO_COLOR.

    `least` is the width of what must not be broken, also where the terminal is narrower.
    """
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPE_COLUMNS
    if least and least > (Console(file=stream, width=width).width):
        width = least
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False, soft_wrap=False)


def say(text: str = "", style: str | None = None) -> None:
    """Print a paragraph, wrapped at the terminal's width with its own indent."""
    _paragraph(console(), text, style)


def say_whole(text: str, style: str | None = None) -> None:
    """Print text without wrapping, so that it can be copied."""
    console().print(printable(text), style=style, soft_wrap=True)


def whisper(text: str, style: str | None = None) -> None:
    """Print a paragraph to stderr."""
    _paragraph(console(stderr=True), text, style)


def _paragraph(shown: Console, text: str, style: str | None) -> None:
    words = text.lstrip(" ")
    indent = len(text) - len(words)
    for line in wrap(printable(words), max(_NARROWEST, shown.width - indent)):
        shown.print(Text.assemble(" " * indent, (line, style or "")), soft_wrap=True)


def heading(text: str) -> None:
    """Print a heading after an empty line."""
    say()
    say(text, "bold")


def emit(document: dict[str, Any]) -> None:
    """Print the one JSON document of a `--json` call."""
    sys.stdout.write(json_for(sys.stdout.encoding, indented(document).decode()) + "\n")
    sys.stdout.flush()


def indented(value: object) -> bytes:
    """Return a value as indented JSON; a very deep one on one line."""
    try:
        return msgspec.json.format(msgspec.json.encode(value), indent=2)
    except RecursionError:
        return to_json(value)
    except UnicodeEncodeError:  # the name of a file that is not UTF-8
        return indented(_in_unicode(msgspec.to_builtins(value)))


def _in_unicode(value: Any) -> Any:
    """Return a value of JSON with the bytes of its texts that are no UTF-8 escaped."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_in_unicode(key): _in_unicode(each) for key, each in value.items()}
    return [_in_unicode(each) for each in value] if isinstance(value, list | tuple) else value


def printable(text: str) -> str:
    """Escape control and invisible characters, so that no stored value can control the terminal."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c if c == "\n" or unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co"} else _escaped(c) for c in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


_LOOKED_AT = 20  # characters of a value, for one that is shown


def one_line(value: object, width: int = 60) -> str:
    """Return a value as JSON on one line, or bytes as their length, shortened to a width."""
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    text = value if isinstance(value, str) else to_json(value).decode()
    some = text[: _LOOKED_AT * width]
    line = " ".join(printable(some).split())
    return line if len(line) <= width and some == text else line[: width - 1] + "…"


SETTLED_ONLY = "settled state only"

# ── words ──


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: "1 key", "2,000 keys"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def verb(number: int, plural: str) -> str:
    """Return a verb in the form that fits a number: "fall", "falls"."""
    if number != 1:
        return plural
    return {"were": "was", "are": "is"}.get(plural, plural + ("es" if plural.endswith("sh") else "s"))


def inputs_to_replay(number: int) -> str:
    """Return how many user inputs need replay, and why."""
    if number == 1:
        return "1 user input needs replay: its answer is hidden"
    return f"{number:,} user inputs need replay: their answers are hidden"


def weight(share: float) -> str:
    """Return a canary weight as a percentage."""
    return f"{share * 100:.4g}%"


def listing(names: Iterable[str], most: int = 6) -> str:
    """Return at most `most` names as a list, followed by the count of the rest."""
    all_names = list(names)
    shown = ", ".join(all_names[:most])
    more = len(all_names) - most
    return f"{shown} and {more:,} more" if more > 0 else shown


def ago(at: float, now: float) -> str:
    """Return the age of a time: "5 min ago"."""
    return "just now" if now - at < 1 else f"{duration(now - at, units=1)} ago"


def utc(at: float) -> str:
    """Return a time as UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def utc_short(at: float) -> str:
    """Return a time as UTC without the zone, for a column named UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def when(at: float, now: float) -> str:
    """Return the age of a time, and the time as UTC."""
    return f"{ago(at, now)}, {utc(at)}"


# ── tables ──


def table(
    columns: Sequence[str],
    rows: Iterable[Iterable[str | Text]],
    *,
    right: Iterable[str] = (),
    importance: Sequence[str] = (),
) -> None:
    """Print a table without lines; `right` names the columns aligned right.

    On a narrow terminal, columns are left out, the last ones of `importance` (by default of `columns`) first.
    """
    cells, layout = _laid_out(columns, rows, right, importance)
    console(least=layout.total).print(build(columns, cells, layout, right))
    if layout.dropped:
        say(f"Not shown at this width: {', '.join(layout.dropped)}", "dim")


def grid_of(columns: Sequence[str], rows: Iterable[Iterable[str | Text]], *, right: Iterable[str] = ()) -> Table:
    """Return a table without lines, to show live."""
    cells, layout = _laid_out(columns, rows, right, ())
    return build(columns, cells, layout, right)


def _laid_out(
    columns: Sequence[str], rows: Iterable[Iterable[str | Text]], right: Iterable[str], importance: Sequence[str]
) -> tuple[list[list[Text]], Layout]:
    cells = [[Text(printable(cell)) if isinstance(cell, str) else cell for cell in row] for row in rows]
    return cells, lay_out(columns, cells, console().width, right, importance)


# ── questions ──


def interactive() -> bool:
    """Whether stdin and stderr are a terminal, so that a question can be asked."""
    try:
        return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    except (OSError, ValueError):  # stdin is closed
        return False


def may_ask(*, yes: bool, as_json: bool, what: str) -> bool:
    """Return whether to ask for confirmation of `what`; raise `ConfirmationNeeded` without a terminal."""
    if yes:
        return False
    if as_json or not interactive():
        raise ConfirmationNeeded(f"{what}: refusing without confirmation; add --yes")
    return True


def ask(question: str) -> bool:
    """Ask a question on stderr; return whether the answer is y or yes."""
    return _answer(f"{question} [y/N] ").lower() in {"y", "yes"}


def ask_for(question: str, wanted: str) -> bool:
    """Ask the user to type `wanted`; return whether the answer matches."""
    return _answer(f"{question} ") == wanted


def decline(why: str = "") -> NoReturn:
    """Print that nothing was changed, and end the command."""
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
    """Column with the percentage done, empty without a total."""

    def render(self, task: Task) -> Text:
        """Return the column's text."""
        return Text("" if task.total is None else f"{task.percentage:>3.0f} %")


class _Rate(ProgressColumn):
    """Column with the number done, the total if known, and the rate per second."""

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
    """Yield a callback that draws a progress bar on stderr if that is a terminal. Print to stdout only after it.

    The callback takes the number done and the total (0 if unknown). With a `unit`, the bar shows the number done and
    the rate per second.
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
        bar.start()  # only now, so that earlier output is not overwritten

    try:
        yield advance
    finally:
        bar.stop()


@contextmanager
def spinner(label: str, *, silent: bool) -> Iterator[None]:
    """Show a spinner on stderr if that is a terminal. Print to stdout only after it."""
    shown = console(stderr=True)
    if silent or not shown.is_terminal:
        yield
        return
    with Live(Spinner("dots", printable(label)), console=shown, transient=True, redirect_stdout=False):
        yield
