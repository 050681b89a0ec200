"""Text, lines and literals of syntax nodes of JavaScript and TypeScript."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from kedge.discovery import ir

if TYPE_CHECKING:
    from tree_sitter import Node

_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "f": "\f", "v": "\v"}


def line_of(node: Node) -> int:
    """Return the 1-based line where a node begins."""
    return node.start_point[0] + 1


def text_of(node: Node) -> str:
    """Return the source of a node."""
    return (node.text or b"").decode("utf-8", "replace")


def string_of(node: Node) -> str:
    """Return the value of a string literal."""
    return "".join([piece_of(child) for child in node.named_children])


def piece_of(node: Node) -> str:
    """Return the value of a fragment or escape sequence of a string."""
    text = text_of(node)
    if node.type != "escape_sequence" or not text[1:]:
        return text
    if text[1] in "ux":
        digits = text[2:].strip("{}")
        return chr(int(digits, 16)) if re.fullmatch(r"[0-9a-fA-F]{1,5}", digits) else ""
    return _ESCAPES.get(text[1], text[1:])


def number_of(text: str) -> int | float | None:
    """Return the value of a numeric literal, null if it has none."""
    cleaned = text.replace("_", "").rstrip("n")
    try:
        return int(cleaned, 0)
    except ValueError:
        pass
    try:
        return float(cleaned)
    except ValueError:
        return None


def name_of_target(target: ir.Expression) -> str:
    """Return the name that a function assigned to this target has."""
    if isinstance(target, ir.Name):
        return target.id
    return target.name if isinstance(target, ir.Attribute) else ""
