"""Parameters of functions that are given to a call: what the library calls them with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kedge.discovery import ir
from kedge.discovery.scan.rules import Rule
from kedge.discovery.scan.scopes import CallSite, Scope
from kedge.discovery.scan.values import Box, FunctionOf, Handle, Library, Method, Value, Values, union

if TYPE_CHECKING:
    from kedge.discovery.scan.resolver import Resolver

_PROCEDURES = {"query", "mutation", "subscription", "use"}
_CONTEXTS = {"createTRPCContext", "createInnerTRPCContext", "createContext", "createContextInner"}
"""Functions that make the context of tRPC, by the names that its documentation gives them."""
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
        self._waiting: list[CallSite] | None = None
        """Calls that may be given a function by its name; resolved at the first question."""

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
        self._resolve_names()
        site = self._given.get(id(scope.node))
        if site is None or scope.function is None:
            return ()
        own_name = scope.function.parameters[position].name
        node = site.call.function
        name = node.name if isinstance(node, ir.Attribute) else ""
        found: Values = ()
        if position == 0 and isinstance(node, ir.Attribute) and (name == "then" or name in _ITEM):
            for value in self.resolver.eval(node.value, site.scope):
                if name == "then" or isinstance(value, Box):
                    found = union(found, value.all() if name != "then" and isinstance(value, Box) else (value,))
        for value in self.resolver.callees(site.call, site.scope):
            if name in _PROCEDURES and isinstance(value, Library) and value.path.startswith("@trpc/server:"):
                found = union(found, self._context())
            for rule in self._rules(value):
                fits = own_name in rule.parameters if rule.parameters else rule.parameter == position
                found = union(found, self._by_rule(rule, value, site) if fits else ())
        return found

    def _resolve_names(self) -> None:
        """Note the functions that calls are given by name: `graph.add_node("a", node)`."""
        if self._waiting is not None:
            return
        verbs = self.resolver.rules.callback_verbs
        self._waiting = [site for name in sorted(verbs) for site in self.resolver.callers.named(name)]
        for site in self._waiting:
            for argument in site.call.arguments:
                values = self.resolver.eval(argument, site.scope) if _is_dotted(argument) else ()
                for value in values:
                    if isinstance(value, FunctionOf):
                        self._given.setdefault(id(value.scope.node), site)

    def _context(self) -> Values:
        """Return what a procedure of tRPC is given: the context under `ctx`."""
        made = (scope for scope in self.resolver.scopes if scope.own_name in _CONTEXTS and not scope.module.is_python)
        values = union(*(self.resolver.returned(scope) for scope in made))
        return (Box(tuple(("ctx", value) for value in values)),)

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
            if rule.store:
                return (Handle(rule.gives, rule.store, rule.kind or "config", confidence="medium"),)
            return (handle if rule.gives == "self" else replace(handle, type=rule.gives),)
        origin = (site.scope.module.path, site.call.line)
        return (Handle(rule.gives, rule.store, rule.kind or "config", "", origin, rule.confidence),)


def _is_dotted(node: ir.Expression) -> bool:
    return isinstance(node, ir.Name | ir.Attribute)
