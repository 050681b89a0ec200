"""Display of values in one line, and as an HTML table in notebooks."""

from collections.abc import Iterable
from html import escape
from reprlib import Repr
from typing import Any

import msgspec
import numpy as np

LINE_CHARACTERS = 160
_VALUE_CHARACTERS = 60
_EMPTY: tuple[Any, ...] = (None, "", (), [], {}, frozenset())

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _VALUE_CHARACTERS
_SHORT.maxlevel = 3
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = _SHORT.maxfrozenset = 3


def brief(value: object, characters: int = _VALUE_CHARACTERS) -> str:
    """Return the repr of a value in one line of at most so many characters."""
    if isinstance(value, np.ndarray):
        return f"<{value.dtype} of shape {value.shape}>"
    text = str(value) if isinstance(value, str) and type(value) is not str else _SHORT.repr(value)
    text = " ".join(text.split())
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def one_line(name: str, fields: Iterable[tuple[str, Any]]) -> str:
    """Return `Name(field=value, …)` in one line; empty fields are left out."""
    line, end = f"{name}(", ")"
    for field, value in fields:
        if any(value is empty or (type(value) is type(empty) and value == empty) for empty in _EMPTY):
            continue
        part = f"{field}={brief(value)}"
        if len(line) + len(part) > LINE_CHARACTERS - 6:
            end = ", …)"
            break
        line += f", {part}" if line[-1] != "(" else part
    return line + end


class Value(msgspec.Struct, frozen=True):
    """Base of public values: their repr is one line."""

    def __repr__(self) -> str:
        """Return one line."""
        return one_line(type(self).__name__, ((name, getattr(self, name)) for name in self.__struct_fields__))


class Report(Value, frozen=True):
    """Base of plans, reports, diffs and the status: `str` is the verdict, and notebooks show a table."""

    def _repr_html_(self) -> str:
        rows = (
            f"<tr><th>{escape(name)}</th><td>{escape(brief(getattr(self, name), LINE_CHARACTERS))}</td></tr>"
            for name in self.__struct_fields__
        )
        return f"<table><caption>{escape(str(self))}</caption>{''.join(rows)}</table>"


def count(number: int, what: str) -> str:
    """Return a number with its noun, in the plural where needed."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
