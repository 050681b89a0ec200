"""JSON of any depth, without recursion: for values that were stored before there was a limit."""

import re
from typing import Any

import msgspec

_PART = re.compile(r'[\s,:]*([\[\]{}]|"(?:[^"\\]|\\.)*"|[^\s,:\[\]{}"]+)')


class _Text(bytes):
    """JSON that is done."""

    __slots__ = ()


def decode(text: str | bytes) -> Any:
    """Return the value of valid JSON."""
    found: list[Any] = []
    nested: list[tuple[Any, list[str]]] = [(found, [])]  # containers, with the key that waits for its value
    for match in _PART.finditer(text if isinstance(text, str) else bytes(text).decode()):
        part = match[1]
        if part in {"]", "}"}:
            nested.pop()
            continue
        container, key = nested[-1]
        value: Any = [] if part == "[" else {} if part == "{" else msgspec.json.decode(part)
        if isinstance(container, list):
            container.append(value)
        elif not key:
            key.append(value)
            continue
        else:
            container[key.pop()] = value
        if part in {"[", "{"}:
            nested.append((value, []))
    return found[0]


def encode(value: Any) -> bytes:
    """Return the JSON of a decoded value."""
    done: list[bytes] = []
    left: list[Any] = [value]
    while left:
        item = left.pop()
        if isinstance(item, msgspec.Struct):
            item = msgspec.structs.asdict(item)
        if isinstance(item, _Text):
            done.append(item)
        elif isinstance(item, dict):
            parts = [_Text(b"{")]
            for key, held in item.items():
                comma = b"," if len(parts) > 1 else b""
                parts += [_Text(comma + msgspec.json.encode(key) + b":"), held]
            left += reversed([*parts, _Text(b"}")])
        elif isinstance(item, list | tuple):
            parts = [_Text(b"[")]
            for held in item:
                parts += [_Text(b","), held] if len(parts) > 1 else [held]
            left += reversed([*parts, _Text(b"]")])
        else:
            done.append(msgspec.json.encode(item))
    return b"".join(done)
