"""Values of YAML and JSON files with the lines where they stand.

YAML is composed to nodes only: no tag is constructed, an alias is the same value again, and a value that contains
itself is empty there. JSON may have comments and trailing commas.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from kedge.support.optional import require

MOST_VALUES = 100_000
MOST_YAML_CHARACTERS = 300_000  # the pure Python loader reads some 150,000 a second
_DEEPEST = 60


class Unreadable(Exception):
    """A file is not valid, too deep or too large; the message says which."""


class Entry(msgspec.Struct, frozen=True):
    """A key of a mapping, its line, and its value."""

    key: str
    line: int
    value: Value


class Value(msgspec.Struct, frozen=True):
    """A scalar (`text`), a list (`items`) or a mapping (`entries`)."""

    line: int
    text: str | None = None
    items: tuple[Value, ...] = ()
    entries: tuple[Entry, ...] = ()

    def entry(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        return next((entry for entry in self.entries if entry.key == key), None)

    def at(self, *keys: str) -> Value:
        """Return the value below keys, or an empty one."""
        value = self
        for key in keys:
            entry = value.entry(key)
            if entry is None:
                return NOTHING
            value = entry.value
        return value

    def string(self, *keys: str) -> str:
        """Return the text below keys, or ""."""
        return self.at(*keys).text or ""

    def strings(self) -> tuple[str, ...]:
        """Return the texts of a list; a scalar is a list of one."""
        if self.text is not None:
            return (self.text,)
        return tuple(item.text for item in self.items if item.text is not None)

    def pairs(self) -> dict[str, str]:
        """Return a mapping of texts, or a list of `NAME=value`, as a dict."""
        found = {entry.key: entry.value.text or "" for entry in self.entries}
        for text in self.strings() if self.items else ():
            name, _, value = text.partition("=")
            found[name.strip()] = value.strip()
        return found


NOTHING = Value(0)


def yaml_documents(text: str) -> list[Value]:
    """Return the documents of a YAML file; raise `Unreadable` if it is not YAML, too deep or too large."""
    if len(text) > MOST_YAML_CHARACTERS:
        raise Unreadable(f"longer than {MOST_YAML_CHARACTERS:,} characters")
    yaml = require("yaml", "scan")
    try:
        return [_Composed(yaml).value(node) for node in yaml.compose_all(text, yaml.SafeLoader) if node is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f" at line {mark.line + 1}"
        raise Unreadable(f"not valid YAML{place}") from None
    except RecursionError:
        raise Unreadable("nested too deeply") from None


class _Composed:
    """Conversion of the nodes of one document."""

    def __init__(self, yaml: object) -> None:
        self._yaml = yaml
        self._known: dict[int, Value] = {}
        self._open: set[int] = set()
        self._count = 0

    def value(self, node: object) -> Value:
        """Return a node as a value; each node is converted once."""
        key = id(node)
        if key in self._known:
            return self._known[key]
        line = node.start_mark.line + 1  # type: ignore[attr-defined]
        if key in self._open:
            return Value(line)
        self._open.add(key)
        content, kind = node.value, node.id  # type: ignore[attr-defined]
        if kind == "scalar":
            self._counted(1)
            value = Value(line, text=content)
        elif kind == "sequence":
            self._counted(len(content))
            value = Value(line, items=tuple(self.value(item) for item in content))
        else:
            value = Value(line, entries=self._entries(content))
        self._open.discard(key)
        self._known[key] = value
        return value

    def _entries(self, content: list[tuple[object, object]]) -> tuple[Entry, ...]:
        entries: dict[str, Entry] = {}
        for name, node in content:
            if getattr(name, "value", None) == "<<" and getattr(name, "tag", "").endswith(":merge"):
                merged = self.value(node)
                for each in (merged, *merged.items):
                    entries |= {entry.key: entry for entry in each.entries if entry.key not in entries}
        own = (
            Entry(str(name.value), name.start_mark.line + 1, self.value(node))  # type: ignore[attr-defined]
            for name, node in content
            if getattr(name, "id", "") == "scalar" and not getattr(name, "tag", "").endswith(":merge")
        )
        entries |= {entry.key: entry for entry in own}
        self._counted(len(entries))
        return tuple(entries.values())

    def _counted(self, number: int) -> None:
        self._count += number
        if self._count > MOST_VALUES:
            raise Unreadable(f"more than {MOST_VALUES:,} values")


# ---------------------------------------------------------------- JSON

_TOKEN = re.compile(
    r"""(?P<space>[\s,]+|//[^\n]*|/\*.*?\*/)|(?P<mark>[{}\[\]:])|"(?P<string>(?:[^"\\\n]|\\.)*)"|(?P<bare>[^\s,{}\[\]:"]+)""",
    re.DOTALL,
)


def json_value(text: str) -> Value:
    """Return a JSON file with lines; comments and trailing commas are allowed. Raise `Unreadable` otherwise."""
    tokens = _tokens(text.removeprefix("\ufeff"))
    try:
        return _json(next(tokens), tokens, 0)
    except StopIteration:
        raise Unreadable("not valid JSON: it ends too early") from None


_Token = tuple[str, str, int]


def _tokens(text: str) -> Iterator[_Token]:
    place, line = 0, 1
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise Unreadable(f"not valid JSON at line {line}")
        kind = str(found.lastgroup)
        if kind != "space":
            yield kind, found[kind], line
        line += found[0].count("\n")
        place = found.end()


def _json(token: _Token, tokens: Iterator[_Token], depth: int) -> Value:
    kind, text, line = token
    if depth > _DEEPEST:
        raise Unreadable("nested too deeply")
    if kind == "string":
        return Value(line, text=_unescaped(text))
    if kind == "bare":
        return Value(line, text=text)
    if text == "[":
        items: list[Value] = []
        while (token := next(tokens))[:2] != ("mark", "]"):
            items.append(_json(token, tokens, depth + 1))
        return Value(line, items=tuple(items))
    if text != "{":
        raise Unreadable(f"not valid JSON at line {line}")
    entries: dict[str, Entry] = {}
    while (token := next(tokens))[:2] != ("mark", "}"):
        name, colon = token, next(tokens)
        if name[0] != "string" or colon[:2] != ("mark", ":"):
            raise Unreadable(f"not valid JSON at line {name[2]}")
        key = _unescaped(name[1])
        entries[key] = Entry(key, name[2], _json(next(tokens), tokens, depth + 1))
    return Value(line, entries=tuple(entries.values()))


def _unescaped(text: str) -> str:
    try:
        return msgspec.json.decode(f'"{text}"', type=str) if "\\" in text else text
    except msgspec.DecodeError:
        return text
