"""Parameters of functions that are given to a call: what the library calls them with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kedge.discovery import ir
from kedge.discovery.scan.rules import Rule
from kedge.discovery.scan.scopes import CallSite, Scope
from kedge.discovery.scan.values import Box, Handle, Library, Method, Value, Values, union

if TYPE_CHECKING:
    from kedge.discovery.scan.resolver import Resolver

_ITEM = {"map", "forEach", "filter", "find", "some", "every", "flatMap"}
"""Methods of an array that call a function with each item."""


class Callbacks:
    """Finds the call that a function is given to, and what its parameters are by the rules for that call."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        self._given: dict[int, CallSite] = {}
        for scope in resolver.scopes:
            for site in scope.calls:
                for argument in site.call.arguments:
                    self._note(argument, site)

    def _note(self, argument: ir.Expression, site: CallSite) -> None:
        """Note a function among the arguments of a call, or among the properties of an object literal there."""
        if isinstance(argument, ir.Lambda):
            self._given[id(argument.definition)] = site
        elif isinstance(argument, ir.Mapping):
            for _, value in argument.items:
                if isinstance(value, ir.Lambda):
                    self._given[id(value.definition)] = site

    def parameter(self, scope: Scope, position: int) -> Values:
        """Return what the parameter of a function at a position is called with; nothing where no rule tells."""
        site = self._given.get(id(scope.node))
        if site is None:
            return ()
        node = site.call.function
        name = node.name if isinstance(node, ir.Attribute) else ""
        found: Values = ()
        if position == 0 and isinstance(node, ir.Attribute) and (name == "then" or name in _ITEM):
            for value in self.resolver.eval(node.value, site.scope):
                if name == "then" or isinstance(value, Box):
                    found = union(found, value.all() if name != "then" and isinstance(value, Box) else (value,))
        for value in self.resolver.callees(site.call, site.scope):
            found = union(
                found, *(self._by_rule(rule, value, site) for rule in self._rules(value) if rule.parameter == position)
            )
        return found

    def _rules(self, value: Value) -> tuple[Rule, ...]:
        rules = self.resolver.rules
        if isinstance(value, Method):
            return rules.methods("callback", value.handle.type, value.name)
        return rules.calls("callback", value.path) if isinstance(value, Library) else ()

    def _by_rule(self, rule: Rule, value: Value, site: CallSite) -> Values:
        if self.resolver.opening.pick((rule,), site.call, site.scope) is None:
            return ()
        if isinstance(value, Method):
            handle = value.handle
            return (handle if rule.gives == "self" else replace(handle, type=rule.gives),)
        origin = (site.scope.module.path, site.call.line)
        return (Handle(rule.gives, rule.store, rule.kind or "config", "", origin, rule.confidence),)
