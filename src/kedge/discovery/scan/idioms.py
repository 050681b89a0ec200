"""Calls of Python, JavaScript and frameworks that pass a value or a function through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedge.discovery import ir
from kedge.discovery.scan.calling import CALLED
from kedge.discovery.scan.scopes import Scope
from kedge.discovery.scan.values import Box, FunctionOf, Instance, Library, Method, Value, Values, union

if TYPE_CHECKING:
    from kedge.discovery.scan.resolver import Resolver

_SAME = {
    "run": 0, "run_until_complete": 0, "wait_for": 0, "shield": 0, "create_task": 0, "ensure_future": 0, "iter": 0,
    "copy": 0, "deepcopy": 0, "partial": 0, "wraps": 0, "useRef": 0, "useCallback": 0, "cache": 0, "memo": 0,
    "sync_to_async": 0, "async_to_sync": 0, "syncify": 0, "asyncify": 0, "contextmanager": 0, "asynccontextmanager": 0,
    "resolve": 0, "traceable": 0, "wrapOpenAI": 0, "wrap_openai": 0, "aclosing": 0, "closing": 0,
}  # fmt: skip
"""Functions that give an argument back, and its position."""
_FIELDS = {"field", "Field", "PrivateAttr", "attrib", "ib", "mapped_column"}
_FACTORIES = {"default_factory", "factory"}
"""Fields of data classes, and their arguments that make a value."""
_ITEMS = {"list", "tuple", "set", "sorted", "reversed", "dict", "gather", "all", "from", "deque", "allSettled", "chain"}
"""Functions that give a container of what is in their arguments."""
_ENTERED = {"enter_context", "enter_async_context"}
_CHAINED = {"catch", "finally"}
_HOLDERS = {
    "asyncio",
    "anyio",
    "Promise",
    "Promise.resolve",
    "React",
    "functools",
    "copy",
    "contextlib",
    "loop",
    "langsmith",
}


class Idioms:
    """Gives the result of calls that are no functions of the repository but pass values through."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver

    def result(self, call: ir.Call, scope: Scope) -> Values | None:
        """Return what such a call gives; None if it is none of them."""
        node = call.function
        name = node.name if isinstance(node, ir.Attribute) else node.id if isinstance(node, ir.Name) else ""
        if isinstance(node, ir.Attribute):
            if (found := self._method(call, node, scope)) is not None:
                return found
            if name not in CALLED and not self._of_library(node.value, scope):
                return None
        elif isinstance(node, ir.Name) and not self._is_free(node, scope):
            return None
        return self._function(name, call, scope)

    def _function(self, name: str, call: ir.Call, scope: Scope) -> Values | None:
        arguments = call.arguments
        if name in CALLED and len(arguments) > CALLED[name]:
            return self.invoked(arguments[CALLED[name]], call, scope)
        if name in _SAME and len(arguments) > _SAME[name]:
            return self.resolver.eval(arguments[_SAME[name]], scope)
        if name in _FIELDS:
            return self._field(call, scope)
        if name == "cast" and len(arguments) > 1:
            return self.resolver.annotations.values(arguments[0], scope) or self.resolver.eval(arguments[1], scope)
        if name == "next" and arguments:
            return self._items(arguments[:1], scope)
        if name == "getattr" and len(arguments) > 1:
            folded = self.resolver.folder.fold(arguments[1], scope)
            return (
                self.resolver.members(self.resolver.eval(arguments[0], scope), folded)
                if isinstance(folded, str)
                else ()
            )
        if name in _ITEMS:
            return (Box(tuple((None, value) for value in self._items(arguments, scope))),)
        if name == "super":
            return self._super(scope)
        return None

    def _field(self, call: ir.Call, scope: Scope) -> Values | None:
        """Return what a field of a data class holds by default."""
        for word in call.keywords:
            if word.name in _FACTORIES:
                return self.invoked(word.value, call, scope)
            if word.name == "default":
                return self.resolver.eval(word.value, scope)
        return None

    def invoked(self, node: ir.Expression, call: ir.Call, scope: Scope) -> Values:
        """Return what a call of an argument gives; of a call, its own result."""
        found: Values = ()
        for value in self.resolver.eval(node, scope):
            if isinstance(value, FunctionOf | Method | Library) or type(value).__name__ == "ClassOf":
                found = union(found, self.resolver.result_of(value, ir.Call(call.line, node), scope))
            else:
                found = union(found, (value,))
        return found

    def _method(self, call: ir.Call, node: ir.Attribute, scope: Scope) -> Values | None:
        name = node.name
        if name in _ENTERED and call.arguments:
            return union(*(self.resolver.entered(value) for value in self.resolver.eval(call.arguments[0], scope)))
        if name in _CHAINED:
            return self.resolver.eval(node.value, scope)
        if name in {"get", "values", "items", "pop", "setdefault", "at", "popleft", "copy"}:
            boxes = [value for value in self.resolver.eval(node.value, scope) if isinstance(value, Box)]
            if boxes:
                key = self.resolver.folder.fold(call.arguments[0], scope) if call.arguments else None
                if name in {"values", "copy"}:
                    return tuple(boxes)
                found = tuple(value for box in boxes for value in box.at(key if isinstance(key, str | int) else None))
                return tuple(_item(value) for value in found) if name == "items" else found
        return None

    def _of_library(self, node: ir.Expression, scope: Scope) -> bool:
        return any(
            isinstance(value, Library) and value.path.rpartition(":")[2].partition(".")[0].partition("(")[0] in _HOLDERS
            for value in self.resolver.eval(node, scope)
        )

    def _is_free(self, node: ir.Name, scope: Scope) -> bool:
        return any(isinstance(value, Library) for value in self.resolver.name(node.id, scope))

    def _items(self, arguments: tuple[ir.Expression, ...], scope: Scope) -> Values:
        found: Values = ()
        for argument in arguments:
            for value in self.resolver.eval(argument, scope):
                found = union(found, value.all() if isinstance(value, Box) else (value,))
        return found

    def _super(self, scope: Scope) -> Values:
        owner = scope.owner()
        if owner is None:
            return ()
        classes, libraries = self.resolver.classes.line(owner)
        if len(classes) > 1:
            return (Instance(classes[1]),)
        return union(*(self.resolver.instance_of(path) for path in libraries))


def _item(value: Value) -> Value:
    """Return what a loop over `items()` gives: a pair whose second part is the value."""
    return Box(((1, value),))
