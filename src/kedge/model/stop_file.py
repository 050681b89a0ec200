"""Stop file: what its text stops. Whatever cannot be understood stops everything."""

from collections.abc import Iterable
from typing import NamedTuple

from kedge.errors import InvalidValue
from kedge.model.ladder import EVERYTHING, LevelEntry, LevelSource, Scope, parse_scope
from kedge.model.levels import LEVELS, Level

BYTES_MAX = 64 << 10
STOP_LEVELS = LEVELS[1:]  # a stop file never loosens: full is not one of them
FILE_ID = "file."  # begins the ids of entries that only a file has
_HEAD = "# Kedge reads this file. Empty, or with a line that it cannot read, it turns everything off."


class StopLine(NamedTuple):
    """One line of a stop file, with the comment above it."""

    scope: Scope
    level: Level
    note: str = ""


class Stops(NamedTuple):
    """What a stop file says: its lines, and what could not be read of it."""

    lines: tuple[StopLine, ...]
    fault: str | None = None


ALL_OFF = StopLine(EVERYTHING, Level.OFF)


def parse_stops(content: bytes) -> Stops:
    """Return what a stop file says: `SCOPE [LEVEL]` a line (by default off), `#` comments; empty is everything off."""
    if len(content) > BYTES_MAX:
        return unreadable(f"it is larger than {BYTES_MAX:,} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return unreadable("it is not UTF-8")
    lines: list[StopLine] = []
    note = ""
    for number, line in enumerate(text.splitlines(), 1):
        said = line.strip()
        if said.startswith("#"):
            note = said.lstrip("# ") if said != _HEAD else ""
        elif said:
            try:
                lines.append(_parsed(said, note))
            except InvalidValue as error:
                return unreadable(f"line {number}: {error}")
            note = ""
    return Stops(tuple(lines) or (ALL_OFF,))


def unreadable(fault: str) -> Stops:
    """Return what a stop file says that cannot be read: everything is off."""
    return Stops((ALL_OFF._replace(note=f"the stop file cannot be read: {fault}"),), fault)


def format_stops(lines: Iterable[StopLine]) -> bytes:
    """Return the text of a stop file with these lines."""
    said = [_HEAD]
    for scope, level, note in lines:
        if note:
            said.append(f"# {' '.join(note.split())}")
        said.append(f"{scope} {level}")
    return "\n".join([*said, ""]).encode("utf-8", "replace")


def add_line(stops: Stops, line: StopLine) -> tuple[StopLine, ...]:
    """Return the lines with one more, unless one of the same scope and level is there."""
    if any((known.scope, known.level) == (line.scope, line.level) for known in stops.lines):
        return stops.lines
    return (*stops.lines, line)


def without_scope(stops: Stops, scope: Scope) -> tuple[StopLine, ...]:
    """Return the lines that are not of a scope."""
    return tuple(line for line in stops.lines if line.scope != scope)


def entries_of(stops: Stops, path: str, since: float) -> tuple[LevelEntry, ...]:
    """Return the level entries that a stop file stands for."""
    return tuple(
        LevelEntry(f"{FILE_ID}{place}", line.scope, line.level, LevelSource.FILE, path, line.note, since)
        for place, line in enumerate(stops.lines, 1)
    )


def is_of_file(entry: LevelEntry) -> bool:
    """Return whether only a stop file has this entry: nothing that is recorded."""
    return entry.id.startswith(FILE_ID)


def check_stop_level(level: object) -> Level:
    """Return a level that a stop may set, or raise `InvalidValue`."""
    for known in STOP_LEVELS:
        if level == known:
            return known
    raise InvalidValue(f"invalid level {level!r:.80} of a stop: must be one of {', '.join(STOP_LEVELS)}")


def _parsed(said: str, note: str) -> StopLine:
    scope, _, last = said.rpartition(" ")
    if scope and last in LEVELS:
        return StopLine(parse_scope(scope.strip()), check_stop_level(last), note)
    return StopLine(parse_scope(said), Level.OFF, note)
