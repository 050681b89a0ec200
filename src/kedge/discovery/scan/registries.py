"""Classes and functions that are taken from a container by a key: `BACKENDS[name]()`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kedge.discovery import ir
from kedge.discovery.scan.calling import called_name
from kedge.discovery.scan.scopes import CallSite, Scope
from kedge.discovery.scan.values import Box, ClassOf, FunctionOf

if TYPE_CHECKING:
    from kedge.discovery.scan.resolver import Resolver

_MOST = 500
"""Calls of what a container holds that are resolved."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A call of something that a container holds under a key. `name`: the key that is written in the literal."""

    site: CallSite
    key: ir.Expression
    name: str


class Registries:
    """Finds the calls of classes and functions that are taken from a container."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        self._taken: dict[int, list[Taken]] | None = None

    def of(self, scope: Scope) -> list[Taken]:
        """Return the calls of a class or function through a container."""
        if self._taken is None:
            self._taken = {}
            calls = (
                (site, lookup) for each in self.resolver.scopes for site in each.calls if (lookup := _lookup(site))
            )
            for number, (site, (container, key)) in enumerate(calls):
                if number < _MOST:
                    self._note(site, container, key)
        return self._taken.get(id(scope), [])

    def _note(self, site: CallSite, container: ir.Expression, key: ir.Expression) -> None:
        for box in self.resolver.eval(container, site.scope):
            for name, value in box.items if isinstance(box, Box) else ():
                if isinstance(name, str) and isinstance(value, ClassOf | FunctionOf) and self._taken is not None:
                    self._taken.setdefault(id(value.scope), []).append(Taken(site, key, name))


def _lookup(site: CallSite) -> tuple[ir.Expression, ir.Expression] | None:
    """Return the container and key of what a call calls, also through a local name."""
    node = site.call.function
    if isinstance(node, ir.Name):
        bindings = site.scope.bindings.get(node.id, ())
        found = (each.expression for each in bindings if each.kind == "value" and each.expression is not None)
        node = next((each for each in found if isinstance(each, ir.Index | ir.Call)), node)
    if isinstance(node, ir.Index):
        return node.value, node.key
    if isinstance(node, ir.Call) and called_name(node) == "get" and isinstance(node.function, ir.Attribute):
        return (node.function.value, node.arguments[0]) if node.arguments else None
    return None
