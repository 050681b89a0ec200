"""Levels of the degradation ladder, and their order."""

from enum import StrEnum

from kedge.errors import InvalidValue, nearest
from kedge.support.display import brief


class Level(StrEnum):
    """A rung of the degradation ladder, from the loosest to the strictest."""

    FULL = "full"
    SUPERVISED = "supervised"
    FROZEN = "frozen"
    CAUTIOUS = "cautious"
    FALLBACK = "fallback"
    OFF = "off"


LEVELS = tuple(Level)
SAFE_LEVEL = Level.FROZEN  # the level of features while a rollback converges
_STRICTNESS = {level: place for place, level in enumerate(LEVELS)}


def strictness(level: Level) -> int:
    """Return the place of a level in the ladder: 0 for full."""
    return _STRICTNESS[level]


def stricter(a: Level, b: Level) -> Level:
    """Return the stricter of two levels."""
    return a if _STRICTNESS[a] >= _STRICTNESS[b] else b


def next_looser(level: Level) -> Level:
    """Return the level one rung above; full for full."""
    return LEVELS[max(0, _STRICTNESS[level] - 1)]


def check_level(level: object) -> Level:
    """Return a level of its name, or raise `InvalidValue`."""
    if not isinstance(level, str) or level not in _STRICTNESS:
        raise InvalidValue(
            f"invalid level {brief(level)}{nearest(level, map(str, LEVELS))}: must be one of {', '.join(LEVELS)}"
        )
    return Level(level)
