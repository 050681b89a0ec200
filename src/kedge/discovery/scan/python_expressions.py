"""Lowering of Python expressions from tree-sitter's nodes."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from sys import intern
from typing import TYPE_CHECKING, Literal, TypeAlias

from kedge.discovery import ir
from kedge.discovery.scan.source_text import LineIndex

if TYPE_CHECKING:
    from tree_sitter import Node

DEPTH = 100
"""Levels of nesting that are read. A level below is an `Other` without parts, and its line is an error.

Later steps recurse over the result, so this bounds their depth too.
"""
CHAIN = 40
"""Operands of one `a + b + …` that keep their order of evaluation. A longer chain is an `Other` of its operands."""

_QUOTED = re.compile(r"([A-Za-z]*)(\"\"\"|'''|\"|')")
_ESCAPE = re.compile(r"\\(\n|[\\'\"abfnrtv]|[0-7]{1,3}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}]*\})")
_ESCAPES = {"\n": "", "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_FORWARD = re.compile(r"[A-Za-z_][\w.]*\Z")
_SURROGATES = range(0xD800, 0xE000)
_LARGEST = 2**63 - 1

_SEQUENCES: dict[str, Literal["list", "tuple", "set"]] = {
    "list": "list",
    "list_pattern": "list",
    "tuple": "tuple",
    "tuple_pattern": "tuple",
    "expression_list": "tuple",
    "pattern_list": "tuple",
    "set": "set",
}


def unescaped(text: str) -> str:
    """The value of the inside of a string literal that is not raw. Escapes that stand for no character stay."""

    def value(match: re.Match[str]) -> str:
        escape = match.group(1)
        if escape in _ESCAPES:
            return _ESCAPES[escape]
        if escape[0] in "xuU":
            code = int(escape[1:], 16)
        elif escape[0] in "01234567":
            code = int(escape, 8)
        elif escape[0] == "N":
            return match.group()
        else:
            return escape
        return chr(code) if code <= sys.maxunicode and code not in _SURROGATES else "\ufffd"

    return _ESCAPE.sub(value, text)


class Expressions:
    """Lowers the expressions of one file. `source`: UTF-8 text; offsets of nodes are in its bytes."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.line = LineIndex(source)
        self.depth = 0
        self.errors: set[int] = set()

    def text(self, node: Node) -> str:
        return intern(self.source[node.start_byte : node.end_byte].decode("utf-8", "replace"))

    def expression(self, node: Node) -> ir.Expression:
        """Lower an expression, an annotation or a target."""
        line = self.line(node.start_byte)
        kind = node.type
        if kind == "identifier":
            return ir.Name(line, self.text(node))
        if self.depth >= DEPTH:
            self.errors.add(line)
            return ir.Other(line)
        self.depth += 1
        lower = _LOWER.get(kind)
        lowered = self.other(node, line) if lower is None else lower(self, node, line)
        self.depth -= 1
        return lowered

    def all(self, nodes: list[Node]) -> tuple[ir.Expression, ...]:
        return tuple([self.expression(node) for node in nodes if node.type != "comment"])

    def optional(self, node: Node | None) -> ir.Expression | None:
        return None if node is None else self.expression(node)

    def other(self, node: Node, line: int) -> ir.Expression:
        return ir.Other(line, self.all(node.named_children))

    def group(self, nodes: list[Node], line: int) -> ir.Expression:
        """One expression, or a tuple of several: `x[a, b]`, `return a, b`."""
        lowered = self.all(nodes)
        return lowered[0] if len(lowered) == 1 else ir.Sequence(line, "tuple", lowered)

    def inner(self, node: Node, line: int) -> ir.Expression:
        """The only part of a node that adds no meaning: parentheses, `await`, `type`."""
        parts = [part for part in node.named_children if part.type != "comment"]
        return self.expression(parts[0]) if len(parts) == 1 else ir.Other(line, self.all(parts))

    # ------------------------------------------------------------ literals

    def string(self, node: Node, line: int) -> ir.Expression:
        raw = self.source[node.start_byte : node.end_byte].decode("utf-8", "replace")
        opening = _QUOTED.match(raw)
        if opening is None:
            return ir.Other(line)
        prefix = opening.group(1).lower()
        if "f" in prefix or "t" in prefix:
            return self._template(node, line, raw="r" in prefix)
        text = raw[opening.end() :].removesuffix(opening.group(2))
        return ir.Text(line, text if "\\" not in text or "r" in prefix else unescaped(text))

    def _template(self, node: Node, line: int, *, raw: bool) -> ir.Expression:
        parts: list[ir.Expression] = []
        for child in node.named_children:
            if child.type == "string_content":
                text = self.text(child).replace("{{", "{").replace("}}", "}")
                parts.append(ir.Text(self.line(child.start_byte), text if raw else unescaped(text)))
            elif child.type == "interpolation":
                value = child.child_by_field_name("expression")
                parts.append(ir.Other(line) if value is None else self.expression(value))
        return _joined(line, parts)

    def strings(self, node: Node, line: int) -> ir.Expression:
        parts: list[ir.Expression] = []
        for literal in self.all(node.named_children):
            parts.extend(literal.parts if isinstance(literal, ir.Template) else (literal,))
        return _joined(line, parts)

    def number(self, node: Node, line: int) -> ir.Expression:
        text = self.text(node).replace("_", "").lower()
        try:
            value = int(text.rstrip("l"), 0) if node.type == "integer" else float(text)
        except ValueError:
            return ir.Other(line)
        known = abs(value) <= _LARGEST if isinstance(value, int) else math.isfinite(value)
        return ir.Constant(line, value) if known else ir.Other(line)

    def constant(self, node: Node, line: int) -> ir.Expression:
        return ir.Constant(line, {"true": True, "false": False}.get(node.type))

    def sequence(self, node: Node, line: int) -> ir.Expression:
        return ir.Sequence(line, _SEQUENCES[node.type], self.all(node.named_children))

    def mapping(self, node: Node, line: int) -> ir.Expression:
        items: list[tuple[ir.Expression | None, ir.Expression]] = []
        for child in node.named_children:
            if child.type == "pair":
                key, value = child.child_by_field_name("key"), child.child_by_field_name("value")
                if key is not None and value is not None:
                    items.append((self.expression(key), self.expression(value)))
            elif child.type != "comment":
                items.append((None, self.inner(child, line)))
        return ir.Mapping(line, tuple(items))

    # ------------------------------------------------------------ members and calls

    def attribute(self, node: Node, line: int) -> ir.Expression:
        value, name = node.child_by_field_name("object"), node.child_by_field_name("attribute")
        if value is None or name is None:
            return self.other(node, line)
        return ir.Attribute(line, self.expression(value), self.text(name))

    def dotted(self, node: Node, line: int) -> ir.Expression:
        return dotted(self.text(node), line)

    def subscript(self, node: Node, line: int) -> ir.Expression:
        value = node.child_by_field_name("value")
        keys = node.children_by_field_name("subscript")
        if value is None or not keys:
            return self.other(node, line)
        return ir.Index(line, self.expression(value), self.group(keys, self.line(keys[0].start_byte)))

    def generic(self, node: Node, line: int) -> ir.Expression:
        """`X[A, B]` in an annotation."""
        match node.named_children:
            case [value, keys] if keys.named_children:
                return ir.Index(line, self.expression(value), self.group(keys.named_children, line))
        return self.other(node, line)

    def call(self, node: Node, line: int) -> ir.Expression:
        function, given = node.child_by_field_name("function"), node.child_by_field_name("arguments")
        if function is None or given is None:
            return self.other(node, line)
        called = self.expression(function)
        if given.type != "argument_list":
            return ir.Call(line, called, (self.expression(given),))
        arguments, keywords = self.arguments(given)
        return ir.Call(line, called, arguments, keywords)

    def arguments(self, node: Node) -> tuple[tuple[ir.Expression, ...], tuple[ir.Keyword, ...]]:
        """Positional and named arguments of a call or of a class."""
        positional: list[ir.Expression] = []
        named: list[ir.Keyword] = []
        for child in node.named_children:
            kind = child.type
            if kind == "keyword_argument":
                name, value = child.child_by_field_name("name"), child.child_by_field_name("value")
                if name is not None and value is not None:
                    named.append(ir.Keyword(self.line(child.start_byte), self.text(name), self.expression(value)))
            elif kind == "dictionary_splat":
                line = self.line(child.start_byte)
                named.append(ir.Keyword(line, "", self.inner(child, line)))
            elif kind != "comment":
                positional.append(self.expression(child))
        return tuple(positional), tuple(named)

    def splat(self, node: Node, line: int) -> ir.Expression:
        return ir.Spread(line, self.inner(node, line))

    # ------------------------------------------------------------ operators

    def operator(self, node: Node) -> str:
        token = node.child_by_field_name("operator")
        return "" if token is None else token.type

    def _operands(self, node: Node, operator: str) -> list[Node]:
        """Operands of `a + b + …`, which the parser nests to the left, in order."""
        operands: list[Node] = []
        left: Node | None = node
        while left is not None and left.type == node.type and self.operator(left) == operator:
            right = left.child_by_field_name("right")
            if right is not None:
                operands.append(right)
            left = left.child_by_field_name("left")
        if left is not None:
            operands.append(left)
        return operands[::-1]

    def binary(self, node: Node, line: int) -> ir.Expression:
        operator = self.operator(node)
        operands = self.all(self._operands(node, operator))
        if not 1 < len(operands) <= CHAIN:
            return ir.Other(line, operands)
        lowered = operands[0]
        for operand in operands[1:]:
            lowered = ir.Binary(line, operator, lowered, operand)
        return lowered

    def union(self, node: Node, line: int) -> ir.Expression:
        match self.all(node.named_children):
            case (left, right):
                return ir.Binary(line, "|", left, right)
            case parts:
                return ir.Other(line, parts)

    def boolean(self, node: Node, line: int) -> ir.Expression:
        operator = self.operator(node)
        return ir.Choice(line, "and" if operator == "and" else "or", self.all(self._operands(node, operator)))

    def comparison(self, node: Node, line: int) -> ir.Expression:
        operators = [token.type for token in node.children_by_field_name("operators")]
        operands = self.all(node.named_children)
        match operators, operands:
            case [operator], (left, right):
                return ir.Binary(line, operator, left, right)
        return ir.Other(line, operands)

    def negation(self, node: Node, line: int) -> ir.Expression:
        argument = node.child_by_field_name("argument")
        return self.other(node, line) if argument is None else ir.Not(line, self.expression(argument))

    def unary(self, node: Node, line: int) -> ir.Expression:
        lowered = self.inner(node, line)
        if isinstance(lowered, ir.Constant) and isinstance(lowered.value, int | float) and self.operator(node) == "-":
            return ir.Constant(line, -lowered.value)
        return ir.Other(line, (lowered,))

    def conditional(self, node: Node, line: int) -> ir.Expression:
        match self.all(node.named_children):
            case (first, test, second):
                return ir.Choice(line, "if", (first, second), test)
            case parts:
                return ir.Other(line, parts)

    # ------------------------------------------------------------ the rest

    def comprehension(self, node: Node, line: int) -> ir.Expression:
        body = node.child_by_field_name("body")
        loops: list[tuple[ir.Expression, ir.Expression]] = []
        tests: list[ir.Expression] = []
        for child in node.named_children:
            if child.type == "for_in_clause":
                left, right = child.child_by_field_name("left"), child.children_by_field_name("right")
                if left is not None and right:
                    loops.append((self.expression(left), self.group(right, line)))
            elif child.type == "if_clause":
                tests.extend(self.all(child.named_children))
        if body is None:
            return self.other(node, line)
        if body.type == "pair":
            element: ir.Expression = ir.Sequence(self.line(body.start_byte), "tuple", self.all(body.named_children))
        else:
            element = self.expression(body)
        return ir.Comprehension(line, element, tuple(loops), tuple(tests))

    def assigned(self, node: Node, line: int) -> ir.Expression:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name is None or value is None:
            return self.other(node, line)
        return ir.Assigned(line, self.expression(name), self.expression(value))

    def yielded(self, node: Node, line: int) -> ir.Expression:
        parts = node.named_children
        return ir.Yield(line, self.group(parts, line) if parts else None)

    def function_value(self, node: Node, line: int) -> ir.Expression:
        body, given = node.child_by_field_name("body"), node.child_by_field_name("parameters")
        parameters = () if given is None else self.parameters(given)
        returned = () if body is None else (ir.Return(self.line(body.start_byte), self.expression(body)),)
        return ir.Lambda(line, ir.Function(line, "", parameters, returned))

    def parameters(self, node: Node) -> tuple[ir.Parameter, ...]:
        return tuple([found for child in node.named_children if (found := self._parameter(child)) is not None])

    def _parameter(self, node: Node) -> ir.Parameter | None:
        line = self.line(node.start_byte)
        if node.type == "identifier":
            return ir.Parameter(line, self.text(node))
        if node.type not in _PARAMETERS:
            return None
        named = node.child_by_field_name("name") or (node if node.type in _RESTS else node.named_children[0])
        annotation = self.annotation(node.child_by_field_name("type"))
        default = self.optional(node.child_by_field_name("value"))
        kind = _RESTS.get(named.type, "normal")
        if kind != "normal" and named.named_children:
            named = named.named_children[0]
        if named.type != "identifier":
            return ir.Parameter(line, "", annotation, default, kind, self.expression(named))
        return ir.Parameter(line, self.text(named), annotation, default, kind)

    def annotation(self, node: Node | None) -> ir.Expression | None:
        """Lower an annotation; a string that holds a dotted name is that name."""
        lowered = self.optional(node)
        if isinstance(lowered, ir.Text) and _FORWARD.match(lowered.value):
            return dotted(lowered.value, lowered.line)
        return lowered


def dotted(name: str, line: int) -> ir.Expression:
    """`a.b.c` as an expression."""
    first, *rest = [intern(part.strip()) for part in name.split(".")]
    lowered: ir.Expression = ir.Name(line, first)
    if len(rest) > CHAIN:
        return ir.Other(line)
    for part in rest:
        lowered = ir.Attribute(line, lowered, part)
    return lowered


def _joined(line: int, parts: list[ir.Expression]) -> ir.Expression:
    """Parts of a string, with adjacent texts joined."""
    joined: list[ir.Expression] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, ir.Text) and isinstance(last, ir.Text):
            joined[-1] = ir.Text(last.line, last.value + part.value)
        else:
            joined.append(part)
    if not joined:
        return ir.Text(line, "")
    if len(joined) == 1 and isinstance(joined[0], ir.Text):
        return ir.Text(line, joined[0].value)
    return ir.Template(line, tuple(joined))


_RESTS: dict[str, Literal["normal", "rest", "keywords"]] = {
    "list_splat_pattern": "rest",
    "dictionary_splat_pattern": "keywords",
}
_PARAMETERS = frozenset([*_RESTS, "typed_parameter", "default_parameter", "typed_default_parameter", "tuple_pattern"])

_Lower: TypeAlias = "Callable[[Expressions, Node, int], ir.Expression]"
_LOWER: dict[str, _Lower] = {
    "attribute": Expressions.attribute,
    "dotted_name": Expressions.dotted,
    "call": Expressions.call,
    "string": Expressions.string,
    "concatenated_string": Expressions.strings,
    "integer": Expressions.number,
    "float": Expressions.number,
    "true": Expressions.constant,
    "false": Expressions.constant,
    "none": Expressions.constant,
    **dict.fromkeys(_SEQUENCES, Expressions.sequence),
    "dictionary": Expressions.mapping,
    "subscript": Expressions.subscript,
    "generic_type": Expressions.generic,
    "union_type": Expressions.union,
    "binary_operator": Expressions.binary,
    "boolean_operator": Expressions.boolean,
    "comparison_operator": Expressions.comparison,
    "not_operator": Expressions.negation,
    "unary_operator": Expressions.unary,
    "conditional_expression": Expressions.conditional,
    **dict.fromkeys(
        ("list_comprehension", "set_comprehension", "dictionary_comprehension", "generator_expression"),
        Expressions.comprehension,
    ),
    "named_expression": Expressions.assigned,
    "yield": Expressions.yielded,
    "lambda": Expressions.function_value,
    **dict.fromkeys(
        ("list_splat", "dictionary_splat", "list_splat_pattern", "dictionary_splat_pattern", "splat_type"),
        Expressions.splat,
    ),
    **dict.fromkeys(("parenthesized_expression", "await", "type", "as_pattern_target"), Expressions.inner),
}
