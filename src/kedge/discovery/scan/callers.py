"""Parameters: what they can be by annotation, by default, and by the arguments of the callers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kedge.discovery import ir
from kedge.discovery.scan.arguments import parameter_argument
from kedge.discovery.scan.calling import called_argument, called_name
from kedge.discovery.scan.scopes import CallSite, Scope
from kedge.discovery.scan.values import ClassOf, FunctionOf, Handle, Instance, Library, Values, union

if TYPE_CHECKING:
    from kedge.discovery.scan.resolver import Resolver

CALLERS = 12
"""Callers that are asked for the value of a parameter."""
_LOOKED_AT = 200
"""Calls of one name that are resolved to find the callers of one function."""
_ABSTRACT = {"ABC", "ABCMeta", "Protocol"}


class Callers:
    """Finds the callers of a function, and with them the values of its parameters."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        self._callers: dict[int, list[CallSite]] = {}
        self._by_name: dict[str, list[CallSite]] = {}
        for scope in resolver.scopes:
            for site in scope.calls:
                self._by_name.setdefault(called_name(site.call), []).append(site)
                inner = called_argument(site.call)
                if inner is not None:
                    self._by_name.setdefault(called_name(inner), []).append(CallSite(inner, scope, site.guard))

    def named(self, name: str) -> list[CallSite]:
        """Return the calls of anything that has a name."""
        return self._by_name.get(name, [])

    def parameter(self, scope: Scope, parameter: ir.Parameter) -> Values:
        """Return what a parameter can be: by its annotation, its callers, or its default."""
        node = scope.function
        if node is None:
            return ()
        if node.parameters and node.parameters[0] is parameter and (found := self.resolver.classes.receiver(scope)):
            return found
        key = (id(scope), "parameter", parameter.name or id(parameter))
        return self.resolver.values.get(key, lambda: self._parameter(scope, node, parameter))

    def _parameter(self, scope: Scope, node: ir.Function, parameter: ir.Parameter) -> Values:
        annotated: Values = ()
        if parameter.annotation is not None:
            annotated = self.resolver.annotations.values(parameter.annotation, scope.parent or scope)
        given: Values = ()
        if parameter.default is not None:
            given = self.resolver.eval(parameter.default, scope.parent or scope)
        if not is_concrete(annotated) and parameter.kind == "normal":
            position = next(number for number, each in enumerate(node.parameters) if each is parameter)
            given = union(given, self.resolver.callbacks.parameter(scope, position))
            given = union(given, self._from_callers(scope, parameter))
        return given if is_concrete(given) or not annotated else annotated

    def _from_callers(self, scope: Scope, parameter: ir.Parameter) -> Values:
        return union(*(self.resolver.eval(argument, at) for argument, at in self.arguments(scope, parameter)))

    def arguments(self, scope: Scope, parameter: ir.Parameter) -> Iterator[tuple[ir.Expression, Scope]]:
        """Yield the arguments that callers give to a parameter, and the scopes in which they stand."""
        position = self.position(scope, parameter.name)
        if position is not None:
            for site in self.callers(scope):
                argument = parameter_argument(site.call, self.positional(scope), position)
                if argument is not None:
                    yield argument, site.scope

    def positional(self, scope: Scope) -> tuple[ir.Parameter, ...]:
        """Return the parameters that a caller gives, without `self`."""
        node = scope.function
        if node is None:
            return ()
        bound_first = scope.module.is_python and bool(self.resolver.classes.receiver(scope))
        return node.parameters[1:] if bound_first else node.parameters

    def position(self, scope: Scope, name: str) -> int | None:
        """Return the position of a parameter among those that a caller gives."""
        names = [parameter.name for parameter in self.positional(scope)]
        return names.index(name) if name in names else None

    def makers(self, owner: Scope) -> list[CallSite]:
        """Return the calls that make an instance of a class, or of a subclass that has its constructor."""
        found: list[CallSite] = []
        constructor = self.resolver.classes.constructor(owner)
        for each in (owner, *self.resolver.classes.subclasses(owner)):
            if each is owner or self.resolver.classes.constructor(each) is constructor:
                found += self._calls_of(each.own_name, each)
        return found[:CALLERS]

    def callers(self, scope: Scope) -> list[CallSite]:
        """Return the calls of a function; those of the class for a constructor."""
        known = self._callers.get(id(scope))
        if known is None:
            self._callers[id(scope)] = []
            known = self._callers[id(scope)] = self._find_callers(scope)
        return known

    def _find_callers(self, scope: Scope) -> list[CallSite]:
        owner = scope.parent
        name = scope.own_name
        found: list[CallSite] = []
        if owner is not None and owner.kind == "class" and name in {"__init__", "__new__", "constructor"}:
            classes = [owner, *self.resolver.classes.subclasses(owner)]
            for each in classes:
                if each is owner or self.resolver.classes.constructor(each) is scope:
                    found += self._calls_of(each.own_name, each)
            found += (site for each in classes[1:] for site in self._super_calls(each, name))
        else:
            found = self._calls_of(name, scope)
        return found[:CALLERS]

    def _super_calls(self, scope: Scope, name: str) -> list[CallSite]:
        constructor = self.resolver.classes.constructor(scope)
        if constructor is None or constructor.parent is not scope:
            return []
        return [site for site in constructor.calls if called_name(site.call) in {name, "super"} and is_super(site.call)]

    def _calls_of(self, name: str, target: Scope) -> list[CallSite]:
        found: list[CallSite] = []
        for site in self._by_name.get(name, ())[:_LOOKED_AT]:
            for value in self.resolver.callees(site.call, site.scope):
                if isinstance(value, FunctionOf | ClassOf) and self._can_be(target, value.scope):
                    found.append(site)
                    break
            if len(found) >= CALLERS:
                break
        return found

    def _can_be(self, target: Scope, called: Scope) -> bool:
        """Whether a call of one function or class can be one of another: itself, or a method that overrides it."""
        if target is called:
            return True
        owner, base = target.parent, called.parent
        if owner is None or base is None or owner.kind != "class" or base.kind != "class":
            return False
        return target.own_name == called.own_name and self.resolver.classes.is_subclass(owner, base)


def is_concrete(values: Values) -> bool:
    """Whether values say more than an abstract class does."""
    return any(
        not isinstance(value, Library)
        and not (isinstance(value, Handle) and value.kind == "config")
        and not (isinstance(value, Instance) and is_interface(value.scope))
        for value in values
    )


def is_interface(scope: Scope) -> bool:
    """Whether a class has no instances of its own: an abstract class of Python, or one of TypeScript that declares."""
    node = scope.definition
    if node is None:
        return False
    if scope.module.is_python:
        bases = (*node.bases, *(word.value for word in node.keywords if word.name == "metaclass"))
        return any(getattr(base, "id", getattr(base, "name", "")) in _ABSTRACT for base in bases)
    return all(
        (isinstance(each, ir.Assign) and each.value is None) or (isinstance(each, ir.Function) and not each.body)
        for each in node.body
    )


def is_super(call: ir.Call) -> bool:
    """Whether a call is `super(…)` or one of a method of `super()`."""
    node = call.function
    if isinstance(node, ir.Attribute):
        node = node.value
        node = node.function if isinstance(node, ir.Call) else node
    return isinstance(node, ir.Name) and node.id == "super"
