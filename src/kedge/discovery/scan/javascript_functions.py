"""Lowering of JavaScript and TypeScript functions and classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from kedge.discovery import ir
from kedge.discovery.scan.javascript_syntax import line_of, text_of
from kedge.discovery.scan.javascript_types import type_of
from kedge.discovery.scan.javascript_values import Values

if TYPE_CHECKING:
    from tree_sitter import Node

_PROPERTY: Final = frozenset({"accessibility_modifier", "readonly", "override_modifier"})
_METHODS: Final = frozenset({"method_definition", "abstract_method_signature"})


class Definitions(Values):
    """Lowering of functions and classes; statements are left to the subclass."""

    # ------------------------------------------------------------ functions

    def function(self, node: Node, name: str, decorators: tuple[ir.Expression, ...] = ()) -> ir.Function:
        """Lower a function, method or signature. Properties declared by parameters are assigned at its beginning."""
        parameters, properties = self._parameters(node)
        words = {child.type for child in node.children if not child.is_named}
        if "get" in words and node.type == "method_definition":
            decorators = (*decorators, ir.Name(line_of(node), "property"))
        if "static" in words:
            decorators = (*decorators, ir.Name(line_of(node), "staticmethod"))
        body = node.child_by_field_name("body")
        if body is None:
            statements: tuple[ir.Statement, ...] = ()
        elif body.type == "statement_block":
            statements = self.block(body)
        else:
            statements = (ir.Return(line_of(body), self.value(body)),)
        return ir.Function(
            line_of(node),
            name,
            parameters,
            (*properties, *statements),
            decorators,
            type_of(node.child_by_field_name("return_type")),
            "async" in words,
        )

    def _parameters(self, node: Node) -> tuple[tuple[ir.Parameter, ...], list[ir.Statement]]:
        given = node.child_by_field_name("parameters")
        single = node.child_by_field_name("parameter")
        nodes = [single] if single is not None else [] if given is None else given.named_children
        parameters: list[ir.Parameter] = []
        properties: list[ir.Statement] = []
        for child in nodes:
            if child.type in {"comment", "decorator"}:
                continue
            parameter = self._parameter(child)
            if parameter.name == "this":
                continue
            parameters.append(parameter)
            if _PROPERTY & {part.type for part in child.children}:
                name = ir.Name(parameter.line, parameter.name)
                field = ir.Attribute(parameter.line, ir.Name(parameter.line, "self"), parameter.name)
                properties.append(ir.Assign(parameter.line, (field,), name, parameter.annotation))
        return tuple(parameters), properties

    def _parameter(self, node: Node) -> ir.Parameter:
        pattern, annotation, default = node, None, None
        if node.type in {"required_parameter", "optional_parameter"}:
            inner = node.child_by_field_name("pattern")
            pattern = node if inner is None else inner
            annotation = type_of(node.child_by_field_name("type"))
            default = node.child_by_field_name("value")
        elif node.type == "assignment_pattern":
            left = node.child_by_field_name("left")
            pattern = node if left is None else left
            default = node.child_by_field_name("right")
        value = None if default is None else self.value(default)
        if pattern.type == "rest_pattern":
            name = text_of(pattern.named_children[0]) if pattern.named_children else ""
            return ir.Parameter(line_of(node), name, annotation, value, "rest")
        if pattern.type in {"object_pattern", "array_pattern"}:
            return ir.Parameter(line_of(node), "", annotation, value, pattern=self.pattern(pattern))
        return ir.Parameter(line_of(node), text_of(pattern), annotation, value)

    # ------------------------------------------------------------ classes

    def class_of(self, node: Node, name: str = "", decorators: tuple[ir.Expression, ...] = ()) -> ir.Class:
        """Lower a class."""
        own = node.child_by_field_name("name")
        bases: list[ir.Expression] = []
        found = list(decorators)
        for child in node.named_children:
            if child.type == "class_heritage":
                bases.extend(self._bases(child))
            elif child.type == "decorator":
                found.extend(self.values(child.named_children))
        body = node.child_by_field_name("body")
        return ir.Class(
            line_of(node),
            name if own is None else text_of(own),
            tuple(bases),
            body=() if body is None else tuple(self._class_body(body)),
            decorators=tuple(found),
        )

    def _bases(self, node: Node) -> Iterable[ir.Expression]:
        for child in node.named_children:
            if child.type == "extends_clause":
                yield self.value(child.child_by_field_name("value"))
            elif child.type == "implements_clause":
                yield from (found for part in child.named_children if (found := type_of(part)) is not None)
            else:
                yield self.value(child)

    def _class_body(self, node: Node) -> Iterable[ir.Statement]:
        decorators: tuple[ir.Expression, ...] = ()
        for child in node.named_children:
            kind = child.type
            if kind == "decorator":
                decorators = (*decorators, *self.values(child.named_children))
                continue
            if kind in _METHODS:
                name = self.key(child.child_by_field_name("name"))
                yield self.function(child, name.value if isinstance(name, ir.Text) else "", decorators)
            elif kind in {"public_field_definition", "field_definition"}:
                yield self._field(child)
            elif kind == "class_static_block":
                body = child.child_by_field_name("body")
                yield from () if body is None else self.block(body)
            decorators = ()

    def _field(self, node: Node) -> ir.Statement:
        key = node.child_by_field_name("name") or node.child_by_field_name("property")
        name = self.key(key)
        label = name.value if isinstance(name, ir.Text) else ""
        given = node.child_by_field_name("value")
        value = None if given is None else self.value(given, label)
        if isinstance(value, ir.Lambda):
            return value.definition
        target = ir.Name(line_of(node), label)
        return ir.Assign(line_of(node), (target,), value, type_of(node.child_by_field_name("type")))
