"""What each function of a module reads and changes, collected in one walk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from kedge.discovery import ir
from kedge.discovery.scan.local.words import names

ADDS = names("containers", "adds")
TAKES = names("containers", "takes")
_CHANGING = ADDS | TAKES | names("containers", "removes")
Change: TypeAlias = Literal["item", "add", "take", "remove", "rebind", "augment"]


@dataclass(slots=True, frozen=True)
class Mutation:
    """A change of what `target` refers to: of an item, by a method, or by a new value."""

    target: ir.Expression
    line: int
    change: Change
    value: ir.Expression | None = None
    key: ir.Expression | None = None


@dataclass(slots=True, eq=False)
class Facts:
    """What one module, class or function does itself, without the functions inside it."""

    kind: Literal["module", "class", "function"]
    name: str
    node: ir.Module | ir.Class | ir.Function
    parent: Facts | None = None
    loads: Counter[str] = field(default_factory=Counter)
    """How often each name is read; a change of what it refers to reads it too."""
    members: Counter[str] = field(default_factory=Counter)
    """How often each attribute is read, of any value."""
    locals: dict[str, list[ir.Assign]] = field(default_factory=dict)
    outer: set[str] = field(default_factory=set)
    mutations: list[Mutation] = field(default_factory=list)
    calls: list[ir.Call] = field(default_factory=list)
    returns: list[ir.Expression] = field(default_factory=list)
    inner: list[Facts] = field(default_factory=list)
    bound: set[str] = field(default_factory=set)
    """Names that this scope binds: parameters, imports, definitions, and in Python what it assigns."""

    @property
    def shown(self) -> str:
        """Name for a site."""
        return self.name or "<module>"

    @property
    def path(self) -> str:
        """Path of the module."""
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope.node.path if isinstance(scope.node, ir.Module) else ""

    def owner(self) -> Facts | None:
        """Return the class that a method belongs to, or a function in a method."""
        scope: Facts | None = self
        while scope is not None and scope.kind != "class":
            scope = scope.parent
        return scope

    def all(self) -> Iterator[Facts]:
        """Yield this and all that is inside it."""
        yield self
        for each in self.inner:
            yield from each.all()

    def sees(self, name: str) -> bool:
        """Whether a name, used here, is that of the module."""
        scope: Facts | None = self
        while scope is not None and scope.kind != "module":
            if scope.kind == "function" and name in scope.bound and name not in scope.outer:
                return False
            scope = scope.parent
        return True


def collect(module: ir.Module) -> Facts:
    """Collect the facts of a module."""
    top = Facts("module", "", module)
    _Walk(assigning_binds=module.language == "python").body(module.body, top)
    return top


class _Walk:
    def __init__(self, *, assigning_binds: bool) -> None:
        """`assigning_binds`: an assigned name is the function's own, unless it says otherwise.

        In JavaScript the form does not tell `const a = b` from `a = b`. Few functions hide a name of their module.
        """
        self.assigning_binds = assigning_binds

    def body(self, body: tuple[ir.Statement, ...], facts: Facts) -> None:
        for statement in body:
            self.statement(statement, facts)

    def statement(self, node: ir.Statement, facts: Facts) -> None:
        _STATEMENTS[type(node)](self, node, facts)

    def do(self, node: ir.Do | ir.Export, facts: Facts) -> None:
        self.read(node.value, facts)

    def returned(self, node: ir.Return, facts: Facts) -> None:
        if node.value is not None:
            facts.returns.append(node.value)
            self.read(node.value, facts)

    def branch(self, node: ir.Branch, facts: Facts) -> None:
        for arm in node.arms:
            if arm.test is not None:
                self.read(arm.test, facts)
            self.body(arm.body, facts)

    def loop(self, node: ir.Loop, facts: Facts) -> None:
        if node.values is not None:
            self.read(node.values, facts)
        if node.target is not None:
            self.bind(node.target, facts)
            if node.values is not None:
                self.alias(node.line, node.target, ir.Index(node.line, node.values, ir.Other(node.line)), facts)
        self.body(node.body, facts)

    def with_values(self, node: ir.With, facts: Facts) -> None:
        for value, target in node.items:
            self.read(value, facts)
            if target is not None:
                self.bind(target, facts)
                self.alias(node.line, target, value, facts)
        self.body(node.body, facts)

    def attempt(self, node: ir.Try, facts: Facts) -> None:
        for body in (node.body, *node.handlers, node.finish):
            self.body(body, facts)

    def imported(self, node: ir.Import, facts: Facts) -> None:
        facts.bound.update(name.alias for name in node.names)
        facts.bound.add(node.alias)

    def scope(self, node: ir.Scope, facts: Facts) -> None:
        facts.outer.update(node.names)

    def delete(self, node: ir.Delete, facts: Facts) -> None:
        for target in node.targets:
            if isinstance(target, ir.Index):
                facts.mutations.append(Mutation(target.value, node.line, "remove", key=target.key))
            self.read(target, facts)

    def named_function(self, node: ir.Function, facts: Facts) -> None:
        facts.bound.add(node.name)
        self.function(node, facts)

    def named_class(self, node: ir.Class, facts: Facts) -> None:
        facts.bound.add(node.name)
        self.define(node, facts)

    def alias(self, line: int, target: ir.Expression, value: ir.Expression, facts: Facts) -> None:
        if isinstance(target, ir.Name):
            facts.locals.setdefault(target.id, []).append(ir.Assign(line, (target,), value))

    def assign(self, node: ir.Assign, facts: Facts) -> None:
        if node.value is not None:
            self.read(node.value, facts)
        for target in node.targets:
            if isinstance(target, ir.Index):
                facts.mutations.append(Mutation(target.value, node.line, "item", node.value, target.key))
                self.read(target.value, facts)
                self.read(target.key, facts)
            elif node.operator and node.operator not in ("||", "??"):
                facts.mutations.append(Mutation(target, node.line, "augment", node.value))
                self.read(target, facts)
            else:
                if node.value is not None:
                    facts.mutations.append(Mutation(target, node.line, "rebind", node.value))
                self.bind(target, facts)
                if isinstance(target, ir.Name):
                    facts.locals.setdefault(target.id, []).append(node)

    def bind(self, target: ir.Expression, facts: Facts) -> None:
        if isinstance(target, ir.Name):
            if self.assigning_binds or facts.kind == "module":
                facts.bound.add(target.id)
        elif isinstance(target, ir.Attribute):
            self.read(target.value, facts)
        elif isinstance(target, ir.Index):
            self.read(target, facts)
        elif isinstance(target, ir.Spread):
            self.bind(target.value, facts)
        elif isinstance(target, ir.Sequence):
            for item in target.items:
                self.bind(item, facts)
        elif isinstance(target, ir.Mapping):
            for _, item in target.items:
                self.bind(item, facts)

    def function(self, node: ir.Function, facts: Facts) -> None:
        inner = Facts("function", f"{facts.name}.{node.name}".strip("."), node, facts)
        facts.inner.append(inner)
        for decorator in node.decorators:
            self.read(decorator, facts)
        for parameter in node.parameters:
            inner.bound.add(parameter.name)
            if parameter.pattern is not None:
                self.bind(parameter.pattern, inner)
            if parameter.default is not None:
                self.read(parameter.default, facts)
        self.body(node.body, inner)

    def define(self, node: ir.Class, facts: Facts) -> None:
        inner = Facts("class", f"{facts.name}.{node.name}".strip("."), node, facts)
        facts.inner.append(inner)
        for part in (*node.decorators, *node.bases, *(keyword.value for keyword in node.keywords)):
            self.read(part, facts)
        self.body(node.body, inner)

    def read(self, node: ir.Expression, facts: Facts) -> None:
        """Collect what an expression reads, calls and changes."""
        lower = _EXPRESSIONS.get(type(node))
        if lower is not None:
            lower(self, node, facts)
        else:
            for part in parts(node):
                self.read(part, facts)

    def name(self, node: ir.Name, facts: Facts) -> None:
        facts.loads[node.id] += 1

    def attribute(self, node: ir.Attribute, facts: Facts) -> None:
        facts.members[node.name] += 1
        self.read(node.value, facts)

    def function_value(self, node: ir.Lambda, facts: Facts) -> None:
        if node.definition.name:
            self.function(node.definition, facts)
        else:
            self.closure(node.definition, facts)

    def class_value(self, node: ir.ClassValue, facts: Facts) -> None:
        self.define(node.definition, facts)

    def assigned(self, node: ir.Assigned, facts: Facts) -> None:
        self.assign(ir.Assign(node.line, (node.target,), node.value), facts)

    def comprehension(self, node: ir.Comprehension, facts: Facts) -> None:
        for target, values in node.loops:
            self.read(values, facts)
            self.bind(target, facts)
        for part in (node.element, *node.tests):
            self.read(part, facts)

    def closure(self, node: ir.Function, facts: Facts) -> None:
        """A function without a name belongs to the function around it."""
        inner = Facts("function", facts.name, node, facts)
        for parameter in node.parameters:
            inner.bound.add(parameter.name)
            if parameter.pattern is not None:
                self.bind(parameter.pattern, inner)
        facts.inner.append(inner)
        self.body(node.body, inner)

    def call(self, node: ir.Call, facts: Facts) -> None:
        facts.calls.append(node)
        function = node.function
        if isinstance(function, ir.Attribute) and function.name in _CHANGING:
            change: Change = "add" if function.name in ADDS else "take" if function.name in TAKES else "remove"
            value = node.arguments[-1] if node.arguments else None
            key = node.arguments[0] if len(node.arguments) > 1 else None
            facts.mutations.append(Mutation(function.value, node.line, change, value, key))
        self.read(function, facts)
        for argument in node.arguments:
            self.read(argument, facts)
        for keyword in node.keywords:
            self.read(keyword.value, facts)


def parts(node: ir.Expression) -> tuple[ir.Expression, ...]:
    """The expressions directly inside one."""
    if isinstance(node, ir.Template | ir.Other):
        return node.parts
    if isinstance(node, ir.Sequence):
        return node.items
    if isinstance(node, ir.Mapping):
        return tuple(part for item in node.items for part in item if part is not None)
    if isinstance(node, ir.Choice):
        return node.options if node.test is None else (*node.options, node.test)
    if isinstance(node, ir.Binary):
        return (node.left, node.right)
    if isinstance(node, ir.Index):
        return (node.value, node.key)
    if isinstance(node, ir.Not | ir.Spread):
        return (node.value,)
    if isinstance(node, ir.Yield):
        return () if node.value is None else (node.value,)
    return ()


_STATEMENTS: dict[type, Callable[..., None]] = {
    ir.Assign: _Walk.assign,
    ir.Do: _Walk.do,
    ir.Export: _Walk.do,
    ir.Return: _Walk.returned,
    ir.Branch: _Walk.branch,
    ir.Loop: _Walk.loop,
    ir.With: _Walk.with_values,
    ir.Try: _Walk.attempt,
    ir.Import: _Walk.imported,
    ir.Scope: _Walk.scope,
    ir.Delete: _Walk.delete,
    ir.Function: _Walk.named_function,
    ir.Class: _Walk.named_class,
}
_EXPRESSIONS: dict[type, Callable[..., None]] = {
    ir.Name: _Walk.name,
    ir.Attribute: _Walk.attribute,
    ir.Call: _Walk.call,
    ir.Lambda: _Walk.function_value,
    ir.ClassValue: _Walk.class_value,
    ir.Assigned: _Walk.assigned,
    ir.Comprehension: _Walk.comprehension,
}
