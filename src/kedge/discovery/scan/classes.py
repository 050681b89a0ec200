"""Classes of the repository: bases, subclasses, members, what `self` is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedge.discovery import ir
from kedge.discovery.scan.scopes import Binding, Scope
from kedge.discovery.scan.values import LIMIT, ClassOf, FunctionOf, Handle, Instance, Library, Values, union

if TYPE_CHECKING:
    from kedge.discovery.scan.resolver import Resolver

_PROPERTIES = {"property", "cached_property", "computed_field", "hybrid_property", "getter", "get"}
_BASES = 30
"""Classes that inherit from one another after which bases are not followed."""
_SUBCLASSES = 12
"""Subclasses that are tried for a member that a base class does not define."""


class Classes:
    """Looks up members in classes, their bases and, for what a base leaves abstract, their subclasses."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        self._lines: dict[int, tuple[tuple[Scope, ...], tuple[str, ...]]] = {}
        self._subclasses: dict[int, list[Scope]] | None = None
        self._depth = 0

    def line(self, scope: Scope) -> tuple[tuple[Scope, ...], tuple[str, ...]]:
        """Return a class and its bases in the repository, nearest first, and its bases from libraries."""
        known = self._lines.get(id(scope))
        if known is not None:
            return known
        self._lines[id(scope)] = ((scope,), ())
        if self._depth >= _BASES:
            return self._lines.pop(id(scope))
        self._depth += 1
        try:
            found = self._line(scope)
        finally:
            self._depth -= 1
        self._lines[id(scope)] = found
        return found

    def _line(self, scope: Scope) -> tuple[tuple[Scope, ...], tuple[str, ...]]:
        classes: list[Scope] = [scope]
        libraries: list[str] = []
        node = scope.definition
        for base in node.bases if node is not None else ():
            for value in self.resolver.eval(base, scope.parent or scope):
                if isinstance(value, ClassOf):
                    inner, outer = self.line(value.scope)
                    classes += [each for each in inner if each not in classes]
                    libraries += [each for each in outer if each not in libraries]
                elif isinstance(value, Library) and value.path not in libraries:
                    libraries.append(value.path)
        return tuple(classes), tuple(libraries)

    def is_subclass(self, scope: Scope, base: Scope) -> bool:
        """Whether a class is another or inherits from it."""
        return base in self.line(scope)[0]

    def subclasses(self, scope: Scope) -> list[Scope]:
        """Return the classes of the repository that inherit from a class."""
        if self._subclasses is None:
            self._subclasses = {}
            for each in self.resolver.scopes:
                if each.kind == "class":
                    for base in self.line(each)[0][1:]:
                        self._subclasses.setdefault(id(base), []).append(each)
        return self._subclasses.get(id(scope), [])[:_SUBCLASSES]

    def member(self, receiver: Instance | ClassOf, name: str, *, start: int = 0) -> Values:
        """Return what a member of an instance or class can be; `start`: how many classes of the line to skip."""
        found: Values = ()
        classes, libraries = self.line(receiver.scope)
        defined = False
        for scope in classes[start:]:
            bindings = (*scope.attributes.get(name, ()), *scope.bindings.get(name, ()))[-LIMIT:]
            if bindings:
                defined = defined or not all(is_abstract(binding) for binding in bindings)
                found = union(found, *(self._bound(binding, receiver) for binding in bindings))
                found = union(found, self.resolver.stored(scope, name))
                if found and defined:
                    return found
        if not defined and not start:
            for each in self.subclasses(receiver.scope):
                for binding in (*each.attributes.get(name, ()), *each.bindings.get(name, ())):
                    found = union(found, self._bound(binding, receiver))
        if not found:
            for path in libraries:
                base = self.resolver.instance_of(path)
                if isinstance(receiver, ClassOf):
                    base = (Library(path), *(value for value in base if isinstance(value, Handle)))
                found = union(found, self.resolver.members(base, name))
        return found

    def _bound(self, binding: Binding, receiver: Instance | ClassOf) -> Values:
        inner = binding.inner
        if binding.kind != "function" or inner is None:
            return self.resolver.bound(binding)
        if is_property(inner) and isinstance(receiver, Instance):
            return self.resolver.returned(inner, receiver)
        return (FunctionOf(inner, receiver),)

    def method(self, scope: Scope, name: str) -> Scope | None:
        """Return the method of a class or its bases, None if no class of the repository defines it."""
        for each in self.line(scope)[0]:
            for binding in each.bindings.get(name, ()):
                if binding.inner is not None and binding.kind == "function":
                    return binding.inner
        return None

    def constructor(self, scope: Scope) -> Scope | None:
        """Return the method that makes an instance ready."""
        return self.method(scope, "__init__" if scope.module.is_python else "constructor")

    def made(self, scope: Scope) -> Values:
        """Return what a call of a class gives: an instance, or what its `__new__` returns instead."""
        maker = self.method(scope, "__new__") if scope.module.is_python else None
        if maker is not None:
            others = [
                value
                for value in self.resolver.returned(maker, ClassOf(scope))
                if not isinstance(value, Instance | ClassOf | Library)
            ]
            if others:
                return tuple(others)
        return (Instance(scope),)

    def receiver(self, function: Scope) -> Values:
        """Return what the first parameter of a method is."""
        owner = function.parent
        if owner is None or owner.kind != "class" or function.function is None or not function.module.is_python:
            return ()
        names = {decorator_name(node) for node in function.function.decorators}
        if "staticmethod" in names:
            return ()
        if "classmethod" in names or function.own_name in {"__new__", "__init_subclass__"}:
            return (ClassOf(owner),)
        return (Instance(owner),)


def decorator_name(node: ir.Expression) -> str:
    """Return the last name of a decorator: `cached_property` of `functools.cached_property`."""
    if isinstance(node, ir.Call):
        node = node.function
    if isinstance(node, ir.Attribute):
        return node.name
    return node.id if isinstance(node, ir.Name) else ""


def is_property(scope: Scope) -> bool:
    """Whether a method is read as an attribute."""
    node = scope.function
    return node is not None and any(decorator_name(each) in _PROPERTIES for each in node.decorators)


def is_abstract(binding: Binding) -> bool:
    """Whether a binding defines nothing: no value, or a method without a body."""
    if binding.kind == "value":
        empty = binding.expression is None or (
            isinstance(binding.expression, ir.Constant) and binding.expression.value is None
        )
        return empty and binding.annotation is None
    if binding.inner is None or binding.inner.function is None or binding.kind != "function":
        return False
    names = {decorator_name(node) for node in binding.inner.function.decorators}
    return bool(names & {"abstractmethod", "abstract"}) or all(
        isinstance(statement, ir.Do) and _says_nothing(statement.value) for statement in binding.inner.function.body
    )


def _says_nothing(node: ir.Expression) -> bool:
    """Whether a statement is a docstring, `...`, or raises that a method is not implemented."""
    if isinstance(node, ir.Call):
        node = node.function
    return isinstance(node, ir.Text | ir.Constant) or (isinstance(node, ir.Name) and node.id == "NotImplementedError")
