"""Lowering of TypeScript types to expressions of the intermediate representation.

Kept is what names a class: `A | B` is `Binary("|", A, B)`, `A<B>` and `B[]` are `Index`, `{a: B}` is a `Mapping`,
`() => A` is a `Lambda` that returns A, and `typeof f` is the call `typeof(f)`. `Promise<A>` and `Awaited<A>` are A,
because `await x` is x. Any other type is `Other`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from kedge.discovery import ir
from kedge.discovery.scan.javascript_syntax import line_of, text_of

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_DEPTH: Final = 60
"""Types nested deeper are `Other`."""

_TRANSPARENT: Final = frozenset({"Promise", "PromiseLike", "Awaited", "Readonly", "Required", "Partial", "NonNullable"})


def type_of(node: Node | None, depth: int = 0) -> ir.Expression | None:
    """Return the expression of a type, or of the type within an annotation; null where there is none."""
    if node is None:
        return None
    if depth > MAX_DEPTH:
        return ir.Other(line_of(node))
    lower = _TYPES.get(node.type)
    return ir.Other(line_of(node)) if lower is None else lower(node, depth + 1)


def joined(operator: str, options: Iterable[ir.Expression]) -> ir.Expression | None:
    """Return `a | b | c` of several types."""
    result: ir.Expression | None = None
    for option in options:
        result = option if result is None else ir.Binary(result.line, operator, result, option)
    return result


def members(node: Node) -> tuple[ir.Statement, ...]:
    """Return the fields and methods of an interface or of an object type, as the body of a class."""
    body: list[ir.Statement] = []
    for child in node.named_children:
        name = child.child_by_field_name("name")
        if name is None:
            continue
        if child.type == "property_signature":
            target = ir.Name(line_of(child), text_of(name))
            body.append(ir.Assign(line_of(child), (target,), annotation=type_of(child.child_by_field_name("type"))))
        elif child.type == "method_signature":
            returns = type_of(child.child_by_field_name("return_type"))
            body.append(ir.Function(line_of(child), text_of(name), returns=returns))
    return tuple(body)


def _name(node: Node, _depth: int) -> ir.Expression:
    return ir.Name(line_of(node), text_of(node))


def _nested(node: Node, _depth: int) -> ir.Expression:
    first, *rest = text_of(node).split(".")
    result: ir.Expression = ir.Name(line_of(node), first.strip())
    for part in rest:
        result = ir.Attribute(line_of(node), result, part.strip())
    return result


def _inner(node: Node, depth: int) -> ir.Expression:
    found = next((type_of(child, depth) for child in node.named_children), None)
    return ir.Other(line_of(node)) if found is None else found


def _generic(node: Node, depth: int) -> ir.Expression:
    name = node.child_by_field_name("name")
    given = node.child_by_field_name("type_arguments")
    arguments = [] if given is None else _all(given, depth)
    base = type_of(name, depth) or ir.Other(line_of(node))
    if not arguments:
        return base
    if isinstance(base, ir.Name) and base.id in _TRANSPARENT:
        return arguments[0]
    key = arguments[0] if len(arguments) == 1 else ir.Sequence(line_of(node), "tuple", tuple(arguments))
    return ir.Index(line_of(node), base, key)


def _array(node: Node, depth: int) -> ir.Expression:
    return ir.Index(line_of(node), ir.Name(line_of(node), "Array"), _inner(node, depth))


def _lookup(node: Node, depth: int) -> ir.Expression:
    """`A["b"]` is the type of the field b of A: `Attribute`."""
    match _all(node, depth):
        case [owner, ir.Text(value=name)]:
            return ir.Attribute(line_of(node), owner, name)
        case parts:
            return ir.Other(line_of(node), tuple(parts))


def _union(node: Node, depth: int) -> ir.Expression:
    return joined("|", _all(node, depth)) or ir.Other(line_of(node))


def _intersection(node: Node, depth: int) -> ir.Expression:
    return joined("&", _all(node, depth)) or ir.Other(line_of(node))


def _literal(node: Node, _depth: int) -> ir.Expression:
    child = node.named_children[0] if node.named_children else node
    if child.type == "string":
        return ir.Text(line_of(node), text_of(child)[1:-1])
    if child.type in {"null", "undefined"}:
        return ir.Constant(line_of(node), None)
    return ir.Other(line_of(node))


def _predefined(node: Node, _depth: int) -> ir.Expression:
    name = text_of(node)
    return ir.Constant(line_of(node), None) if name in {"void", "never", "undefined"} else ir.Name(line_of(node), name)


def _object(node: Node, _depth: int) -> ir.Expression:
    items: list[tuple[ir.Expression | None, ir.Expression]] = []
    for member in members(node):
        if isinstance(member, ir.Assign) and member.annotation is not None and isinstance(member.targets[0], ir.Name):
            items.append((ir.Text(member.line, member.targets[0].id), member.annotation))
        elif isinstance(member, ir.Function):
            items.append((ir.Text(member.line, member.name), ir.Lambda(member.line, member)))
    return ir.Mapping(line_of(node), tuple(items))


def _function(node: Node, depth: int) -> ir.Expression:
    returns = type_of(node.child_by_field_name("return_type"), depth)
    return ir.Lambda(line_of(node), ir.Function(line_of(node), "", returns=returns))


def _query(node: Node, depth: int) -> ir.Expression:
    """`typeof a.b`; `typeof import("x")` is the call `import("x")`."""
    child = node.named_children[0] if node.named_children else None
    if child is None:
        return ir.Other(line_of(node))
    if child.type in {"identifier", "member_expression", "nested_identifier"}:
        return ir.Call(line_of(node), ir.Name(line_of(node), "typeof"), (_nested(child, depth),))
    return ir.Other(line_of(node))


def _all(node: Node, depth: int) -> list[ir.Expression]:
    return [lowered for child in node.named_children if (lowered := type_of(child, depth)) is not None]


_TYPES: Final[dict[str, Callable[[Node, int], ir.Expression]]] = {
    "identifier": _name,
    "type_identifier": _name,
    "nested_type_identifier": _nested,
    "nested_identifier": _nested,
    "member_expression": _nested,
    "type_annotation": _inner,
    "parenthesized_type": _inner,
    "readonly_type": _inner,
    "optional_type": _inner,
    "rest_type": _inner,
    "asserts_annotation": _inner,
    "generic_type": _generic,
    "array_type": _array,
    "lookup_type": _lookup,
    "union_type": _union,
    "intersection_type": _intersection,
    "literal_type": _literal,
    "predefined_type": _predefined,
    "object_type": _object,
    "function_type": _function,
    "type_query": _query,
}
