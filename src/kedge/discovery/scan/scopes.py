"""Scopes of a module: what each name is bound to, every call, and the branches that guard them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from kedge.discovery import ir

BindingKind: TypeAlias = Literal["value", "enter", "item", "import", "function", "class", "parameter"]


_GUARDS = 100
"""Branches around a statement, or before it, that are looked at for what selects it."""


@dataclass(slots=True, eq=False)
class Guard:
    """An arm of a branch that must be taken. `node`: a `Branch`, or a `Choice` of values; `arm` counts from 0."""

    parent: Guard | None
    node: ir.Branch | ir.Choice
    arm: int
    scope: Scope

    def chain(self) -> Iterator[Guard]:
        """Yield this guard and those around it, innermost first; of very many, the nearest."""
        guard: Guard | None = self
        for _ in range(_GUARDS):
            if guard is None:
                return
            yield guard
            guard = guard.parent


@dataclass(slots=True, eq=False)
class Binding:
    """One way in which a name gets a value.

    `enter`: what `with` binds; `item`: an item of a loop. `keys`: items or properties taken from that in turn.
    """

    kind: BindingKind
    scope: Scope
    expression: ir.Expression | None = None
    annotation: ir.Expression | None = None
    guard: Guard | None = None
    keys: tuple[int | str, ...] = ()
    imported: tuple[ir.Import, str] | None = None
    inner: Scope | None = None
    parameter: ir.Parameter | None = None


@dataclass(slots=True, eq=False)
class CallSite:
    """A call in the code."""

    call: ir.Call
    scope: Scope
    guard: Guard | None


@dataclass(slots=True, eq=False)
class Scope:
    """A module, class or function."""

    kind: Literal["module", "class", "function"]
    module: ModuleIndex
    parent: Scope | None
    name: str
    node: ir.Module | ir.Class | ir.Function
    guard: Guard | None = None
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    outer: set[str] = field(default_factory=set)
    returns: list[tuple[ir.Expression, Guard | None]] = field(default_factory=list)
    yields: list[ir.Expression] = field(default_factory=list)
    attributes: dict[str, list[Binding]] = field(default_factory=dict)
    stored: dict[str, list[tuple[ir.Expression, Binding]]] = field(default_factory=dict)
    """What is assigned to items, by key: of a name in this scope, of an attribute in this class."""
    calls: list[CallSite] = field(default_factory=list)

    @property
    def function(self) -> ir.Function | None:
        """The function's node."""
        return self.node if isinstance(self.node, ir.Function) else None

    @property
    def definition(self) -> ir.Class | None:
        """The class's node."""
        return self.node if isinstance(self.node, ir.Class) else None

    @property
    def own_name(self) -> str:
        """The last part of the name."""
        return "" if isinstance(self.node, ir.Module) else self.node.name

    @property
    def node_line(self) -> int:
        """The line of the definition."""
        return 1 if isinstance(self.node, ir.Module) else self.node.line

    def owner(self) -> Scope | None:
        """Return the class whose method this function is, or is nested in."""
        scope: Scope | None = self
        while scope is not None and scope.kind != "class":
            scope = scope.parent
        return scope


@dataclass(slots=True, eq=False)
class ModuleIndex:
    """One module, indexed."""

    module: ir.Module
    top: Scope = None  # type: ignore[assignment]
    scopes: list[Scope] = field(default_factory=list)
    by_node: dict[int, Scope] = field(default_factory=dict)
    exports: dict[str, ir.Expression] = field(default_factory=dict)
    reexports: list[ir.Import] = field(default_factory=list)
    stars: list[ir.Import] = field(default_factory=list)
    assignments: list[tuple[ir.Assign, Scope, Guard | None]] = field(default_factory=list)
    """Assignments to an attribute of something else than `self`."""
    _packages: frozenset[str] | None = None

    def imports(self, package: str) -> bool:
        """Whether the module imports a package or something of it, anywhere."""
        if self._packages is None:
            self._packages = frozenset(
                binding.imported[0].module
                for scope in self.scopes
                for bindings in scope.bindings.values()
                for binding in bindings
                if binding.imported is not None
            )
        return any(name == package or name.startswith((f"{package}.", f"{package}/")) for name in self._packages)

    @property
    def path(self) -> str:
        """Path of the file."""
        return self.module.path

    @property
    def is_python(self) -> bool:
        """Whether the module is Python."""
        return self.module.language == "python"


def is_visible(holder: Scope, scope: Scope) -> bool:
    """Whether the names of a scope can be read bare in one that is inside of it: those of a class only in its body."""
    return holder.kind != "class" or (holder is scope and holder.module.is_python)
