"""Plain words for validation errors of other packages, whose own words name types and not what to write."""

import re
from collections.abc import Iterable

from kedge.errors import nearest

_EXPECTED = re.compile(r"Expected `([^`]*)`, got `([^`]*)`(?: - at `\$\.?([^`]*)`)?")
_FIELD = re.compile(r"Object (missing required|contains unknown) field `([^`]*)`")
_WORDS = {
    "str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "array": "a list",
    "object": "a table", "null": "nothing", "datetime": "a time", "date": "a date",
}  # fmt: skip
_LINE_CHARACTERS = 200


def plain_validation(error: Exception, known: Iterable[str] = ()) -> str:
    """Return what a validation error of msgspec says, as a sentence about the field; `known` are valid fields."""
    text = str(error)
    expected, field = _EXPECTED.search(text), _FIELD.search(text)
    if expected:
        return f"{expected[3] or 'it'} must be {_plain_type(expected[1])}, not {_plain_type(expected[2])}"
    if field and field[1].startswith("missing"):
        return f"{field[2]} is missing"
    if field:
        return f"unknown field {field[2]!r}{nearest(field[2], known)}"
    return text


def _plain_type(text: str) -> str:
    return " or ".join(_WORDS.get(part.strip(), part.strip()) for part in text.split("|"))


def plain_reason(error: BaseException) -> str:
    """Return what an error of another package says, on one line; of a list of invalid fields only their names."""
    listed = getattr(error, "errors", None)
    if callable(listed):  # pydantic
        names = [".".join(map(str, each.get("loc", ()))) for each in listed() if isinstance(each, dict)]
        return f"invalid settings: {', '.join(names)}"
    line = " ".join(str(error).split())
    return line if len(line) <= _LINE_CHARACTERS else f"{line[: _LINE_CHARACTERS - 1]}…"
