"""Imports and exports of JavaScript modules, ES and CommonJS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kedge.discovery import ir
from kedge.discovery.scan.javascript_syntax import line_of, string_of, text_of

if TYPE_CHECKING:
    from tree_sitter import Node


def bound(statement: ir.Statement) -> Iterable[str]:
    """Return the names that a declaration binds."""
    if isinstance(statement, ir.Function | ir.Class):
        return (statement.name,) if statement.name else ()
    if isinstance(statement, ir.Import):
        return [name.alias for name in statement.names] + ([statement.alias] if statement.alias else [])
    if isinstance(statement, ir.Assign):
        return [name for target in statement.targets for name in _names(target)]
    return ()


def _names(target: ir.Expression | None) -> Iterable[str]:
    if isinstance(target, ir.Name):
        yield target.id
    elif isinstance(target, ir.Assigned):
        yield from _names(target.target)
    elif isinstance(target, ir.Spread):
        yield from _names(target.value)
    elif isinstance(target, ir.Sequence):
        for item in target.items:
            yield from _names(item)
    elif isinstance(target, ir.Mapping):
        for _, item in target.items:
            yield from _names(item)


def specifiers(node: Node) -> Iterable[ir.Imported]:
    """Return the names of `{a as b, c}`, of an import or an export."""
    for child in node.named_children:
        name, alias = child.child_by_field_name("name"), child.child_by_field_name("alias")
        if name is not None:
            label = string_of(name) if name.type == "string" else text_of(name)
            yield ir.Imported(line_of(child), label, label if alias is None else text_of(alias))


def reexport(node: Node, module: str) -> ir.Import:
    """Return the import that `export … from "module"` is."""
    line = line_of(node)
    for child in node.named_children:
        if child.type == "namespace_export":
            return ir.Import(line, module, alias=text_of(child.named_children[-1]), exported=True)
        if child.type == "export_clause":
            return ir.Import(line, module, tuple(specifiers(child)), exported=True)
    return ir.Import(line, module, (ir.Imported(line, "*", "*"),), exported=True)


def _module_of(value: ir.Expression) -> str:
    """The specifier of `require("x")` and `import("x")`, else ""."""
    if (
        isinstance(value, ir.Call)
        and isinstance(value.function, ir.Name)
        and value.function.id in {"require", "import"}
        and len(value.arguments) >= 1
        and isinstance(value.arguments[0], ir.Text)
    ):
        return value.arguments[0].value
    return ""


def imported(line: int, target: ir.Expression, value: ir.Expression) -> ir.Import | None:
    """Return the import that `const target = require("x")` is, if it is one."""
    if module := _module_of(value):
        if isinstance(target, ir.Name):
            return ir.Import(line, module, alias=target.id)
        if isinstance(target, ir.Mapping):
            names = tuple(
                ir.Imported(item.line, key.value, item.id)
                for key, item in target.items
                if isinstance(key, ir.Text) and isinstance(item, ir.Name)
            )
            return ir.Import(line, module, names) if len(names) == len(target.items) else None
    if isinstance(value, ir.Attribute) and isinstance(target, ir.Name) and (module := _module_of(value.value)):
        return ir.Import(line, module, (ir.Imported(line, value.name, target.id),))
    return None


def commonjs(target: ir.Expression, value: ir.Expression) -> Iterable[ir.Statement]:
    """Return the exports of `module.exports = …` and `exports.name = …`."""
    whole = isinstance(target, ir.Attribute) and target.name == "exports" and _is(target.value, "module")
    if whole:
        yield ir.Export(target.line, "default", value)
        for key, item in value.items if isinstance(value, ir.Mapping) else ():
            if isinstance(key, ir.Text):
                yield ir.Export(item.line, key.value, item)
    elif isinstance(target, ir.Attribute):
        owner = target.value
        inner = isinstance(owner, ir.Attribute) and owner.name == "exports" and _is(owner.value, "module")
        if inner or _is(owner, "exports"):
            yield ir.Export(target.line, target.name, value)


def _is(value: ir.Expression, name: str) -> bool:
    return isinstance(value, ir.Name) and value.id == name
