"""Values that a type annotation names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kedge.discovery import ir
from kedge.discovery.scan.scopes import Scope
from kedge.discovery.scan.values import Box, ClassOf, Handle, Instance, Library, Values, union

if TYPE_CHECKING:
    from kedge.discovery.scan.resolver import Resolver

_THROUGH = {
    "Optional", "Union", "Annotated", "Awaitable", "Coroutine", "Generator", "AsyncGenerator", "Iterator",
    "AsyncIterator", "AbstractContextManager", "AbstractAsyncContextManager", "ContextManager", "AsyncContextManager",
    "ClassVar", "Final", "Required", "NotRequired", "Promise", "Readonly", "Partial", "NonNullable", "Self", "Mapped",
    "InstanceOf", "SkipValidation", "Ref", "RefObject", "MutableRefObject",
}  # fmt: skip
_CONTAINERS = {
    "list", "List", "tuple", "Tuple", "set", "Set", "Sequence", "Iterable", "Array", "ReadonlyArray", "deque",
    "dict", "Dict", "Mapping", "MutableMapping", "defaultdict", "DefaultDict", "OrderedDict", "Map", "Record",
}  # fmt: skip
_CLASSES = {"type", "Type"}
_CARRIERS = {
    "RunContext": "deps", "RunContextWrapper": "context", "ToolContext": "context", "AgentHookContext": "context",
    "Runtime": "context", "ToolRuntime": "context",
}  # fmt: skip
"""Contexts that a framework gives to a tool or node, and the attribute in which they carry the type's argument."""
_NOTHING = {"None", "Any", "str", "int", "float", "bool", "object", "bytes", "undefined", "null", "any", "unknown"}


class Annotations:
    """Reads annotations as values."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        self._parsed: dict[tuple[str, int], ir.Expression | None] = {}
        """Annotations that are written as strings: kept, since values are known by the identity of a node."""

    def values(self, node: ir.Expression, scope: Scope) -> Values:
        """Return what a variable of this annotation can be; nothing for builtin types."""
        match node:
            case ir.Text():
                parsed = self._parsed.setdefault((node.value, node.line), _parse(node.value, node.line))
                return self.values(parsed, scope) if parsed is not None else ()
            case ir.Binary(operator="|" | "&"):
                return union(self.values(node.left, scope), self.values(node.right, scope))
            case ir.Choice():
                return union(*(self.values(option, scope) for option in node.options))
            case ir.Index():
                return self._generic(node, scope)
            case ir.Mapping():
                fields = ((key.value, each) for key, each in node.items if isinstance(key, ir.Text))
                return (Box(tuple((key, value) for key, each in fields for value in self.values(each, scope))),)
            case ir.Call(function=ir.Name(id="typeof")) if node.arguments:
                return self.resolver.eval(node.arguments[0], scope)
            case ir.Name() if node.id in _NOTHING or node.id in _CONTAINERS:
                return ()
            case ir.Name() | ir.Attribute():
                return self._instances(self.resolver.eval(node, scope))
            case _:
                return ()

    def _instances(self, values: Values) -> Values:
        found: Values = ()
        for value in values:
            if isinstance(value, ClassOf):
                found = union(found, (Instance(value.scope),))
            elif isinstance(value, Library):
                found = union(found, self.resolver.instance_of(value.path))
            elif isinstance(value, Handle | Instance | Box):  # the name of another annotation
                found = union(found, (value,))
        return found

    def _generic(self, node: ir.Index, scope: Scope) -> Values:
        name = node.value.name if isinstance(node.value, ir.Attribute) else ""
        name = node.value.id if isinstance(node.value, ir.Name) else name
        arguments = node.key.items if isinstance(node.key, ir.Sequence) else (node.key,)
        if name == "Annotated":
            given = union(*(self.resolver.eval(each, scope) for each in arguments[1:] if isinstance(each, ir.Call)))
            concrete = tuple(value for value in given if not isinstance(value, Library))
            return concrete or self.values(arguments[0], scope)
        if name in _THROUGH:
            return union(*(self.values(each, scope) for each in arguments))
        if name in _CONTAINERS:
            inner = union(*(self.values(each, scope) for each in arguments))
            return (Box(tuple((None, value) for value in inner)),) if inner else ()
        if name in _CARRIERS:
            carried = union(*(self.values(each, scope) for each in arguments))
            box = Box(tuple((_CARRIERS[name], value) for value in carried))
            return union(self.values(node.value, scope), (box,) if carried else ())
        if name == "ReturnType":
            values = union(*(self.values(each, scope) for each in arguments))
            return union(*(self.resolver.returned_by(value) for value in values))
        if name in _CLASSES:
            return union(*(self.resolver.eval(each, scope) for each in arguments if not isinstance(each, ir.Text)))
        return self.values(node.value, scope)


def _parse(text: str, line: int) -> ir.Expression | None:
    """Read an annotation that is written as a string, as far as it is a dotted name with `| None` or `Optional`."""
    match = re.fullmatch(r"\s*(?:Optional\[)?\s*([A-Za-z_][\w.]*)\s*\]?(?:\s*\|\s*None)?\s*", text)
    if match is None:
        return None
    first, *rest = match[1].split(".")
    node: ir.Expression = ir.Name(line, first)
    for name in rest:
        node = ir.Attribute(line, node, name)
    return node
