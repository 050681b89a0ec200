"""Index of a module: its scopes, in one walk. Nothing is evaluated here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kedge.discovery import ir
from kedge.discovery.scan.scopes import Binding, CallSite, Guard, ModuleIndex, Scope


def index_module(module: ir.Module) -> ModuleIndex:
    """Index one module."""
    return _Indexer(module).run()


class _Indexer:
    def __init__(self, module: ir.Module) -> None:
        self.index = ModuleIndex(module)
        self._expressions: dict[type, Callable[..., None]] = {
            ir.Attribute: self._attribute,
            ir.Index: self._index,
            ir.Call: self._call,
            ir.Template: self._template,
            ir.Sequence: self._sequence,
            ir.Mapping: self._mapping,
            ir.Choice: self._choice,
            ir.Binary: self._binary,
            ir.Not: self._not,
            ir.Lambda: self._lambda,
            ir.ClassValue: self._class_value,
            ir.Spread: self._spread,
            ir.Comprehension: self._comprehension,
            ir.Assigned: self._assigned,
            ir.Yield: self._yield,
            ir.Other: self._other,
        }
        self._statements: dict[type, Callable[..., None]] = {
            ir.Assign: self._assign,
            ir.Do: self._do,
            ir.Return: self._return,
            ir.Loop: self._loop,
            ir.With: self._with,
            ir.Try: self._try,
            ir.Import: self._import,
            ir.Export: self._export,
            ir.Scope: self._scope,
            ir.Delete: self._delete,
            ir.Function: self._function,
            ir.Class: self._class,
        }

    def run(self) -> ModuleIndex:
        module = self.index.module
        top = self.index.top = Scope("module", self.index, None, "", module)
        self.index.scopes.append(top)
        self.body(module.body, top, None)
        return self.index

    # ------------------------------------------------------------ statements

    def body(self, body: tuple[ir.Statement, ...], scope: Scope, guard: Guard | None) -> None:
        """Walk statements. What follows a branch that leaves in each of its arms is guarded by its absence."""
        for statement in body:
            if isinstance(statement, ir.Branch):
                guard = self._branch(statement, scope, guard)
            else:
                self._statements[type(statement)](statement, scope, guard)

    def _branch(self, branch: ir.Branch, scope: Scope, guard: Guard | None) -> Guard | None:
        leaves = True
        for number, arm in enumerate(branch.arms):
            if arm.test is not None:
                self.expression(arm.test, scope, guard)
            self.body(arm.body, scope, Guard(guard, branch, number, scope))
            leaves = leaves and _leaves(arm.body)
        if leaves and branch.arms and branch.arms[-1].test is not None:
            return Guard(guard, branch, len(branch.arms), scope)
        return guard

    def _assign(self, node: ir.Assign, scope: Scope, guard: Guard | None) -> None:
        if node.value is not None:
            self.expression(node.value, scope, guard)
        for target in node.targets:
            if isinstance(target, ir.Attribute) and not self._is_self(target.value, scope):
                self.index.assignments.append((node, scope, guard))
            elif isinstance(target, ir.Index):
                self._item("__setitem__", target, scope, guard)
            self.bind(target, Binding("value", scope, node.value, node.annotation, guard))

    def _do(self, node: ir.Do, scope: Scope, guard: Guard | None) -> None:
        self.expression(node.value, scope, guard)

    def _return(self, node: ir.Return, scope: Scope, guard: Guard | None) -> None:
        if node.value is not None:
            self.expression(node.value, scope, guard)
            scope.returns.append((node.value, guard))

    def _loop(self, node: ir.Loop, scope: Scope, guard: Guard | None) -> None:
        if node.values is not None:
            self.expression(node.values, scope, guard)
            if node.target is not None:
                self.bind(node.target, Binding("item", scope, node.values, guard=guard))
        self.body(node.body, scope, guard)

    def _with(self, node: ir.With, scope: Scope, guard: Guard | None) -> None:
        for value, target in node.items:
            self.expression(value, scope, guard)
            if target is not None:
                self.bind(target, Binding("enter", scope, value, guard=guard))
        self.body(node.body, scope, guard)

    def _try(self, node: ir.Try, scope: Scope, guard: Guard | None) -> None:
        for body in (node.body, *node.handlers, node.finish):
            self.body(body, scope, guard)

    def _import(self, node: ir.Import, scope: Scope, guard: Guard | None) -> None:
        if node.exported:
            self.index.reexports.append(node)
            return
        if node.alias:
            self._add(node.alias, scope, Binding("import", scope, guard=guard, imported=(node, "")))
        for name in node.names:
            if name.name == "*":
                self.index.stars.append(node)
            else:
                self._add(name.alias, scope, Binding("import", scope, guard=guard, imported=(node, name.name)))

    def _export(self, node: ir.Export, scope: Scope, guard: Guard | None) -> None:
        self.expression(node.value, scope, guard)
        self.index.exports[node.name] = node.value

    def _scope(self, node: ir.Scope, scope: Scope, _guard: Guard | None) -> None:
        scope.outer.update(node.names)

    def _delete(self, node: ir.Delete, scope: Scope, guard: Guard | None) -> None:
        for target in node.targets:
            self.expression(target, scope, guard)
            if isinstance(target, ir.Index):
                self._item("__delitem__", target, scope, guard)

    def _item(self, method: str, target: ir.Index, scope: Scope, guard: Guard | None) -> None:
        """Note `holder[key] = value` and `del holder[key]` as the calls that they are."""
        call = ir.Call(target.line, ir.Attribute(target.line, target.value, method), (target.key,))
        scope.calls.append(CallSite(call, scope, guard))

    def _function(self, node: ir.Function, scope: Scope, guard: Guard | None) -> None:
        inner = self._define(node, scope, guard)
        if node.name:
            self._add(node.name, scope, Binding("function", scope, guard=guard, inner=inner))

    def _define(self, node: ir.Function, scope: Scope, guard: Guard | None) -> Scope:
        inner = Scope("function", self.index, scope, _dotted(scope.name, node.name), node, guard)
        self.index.scopes.append(inner)
        self.index.by_node[id(node)] = inner
        for decorator in node.decorators:
            self.expression(decorator, inner, guard)
            self._decorated(decorator, inner, guard)
        for parameter in node.parameters:
            binding = Binding("parameter", inner, parameter=parameter)
            if parameter.default is not None:
                self.expression(parameter.default, scope, guard)
            if parameter.name:
                self._add(parameter.name, inner, binding)
            elif parameter.pattern is not None:
                self.bind(parameter.pattern, binding)
        self.body(node.body, inner, None)
        return inner

    def _class(self, node: ir.Class, scope: Scope, guard: Guard | None) -> None:
        inner = self._define_class(node, scope, guard)
        if node.name:
            self._add(node.name, scope, Binding("class", scope, guard=guard, inner=inner))

    def _define_class(self, node: ir.Class, scope: Scope, guard: Guard | None) -> Scope:
        inner = Scope("class", self.index, scope, _dotted(scope.name, node.name), node, guard)
        self.index.scopes.append(inner)
        self.index.by_node[id(node)] = inner
        for part in (*node.decorators, *node.bases, *(keyword.value for keyword in node.keywords)):
            self.expression(part, scope, guard)
        for decorator in node.decorators:
            self._decorated(decorator, inner, guard)
        self.body(node.body, inner, None)
        return inner

    def _decorated(self, decorator: ir.Expression, inner: Scope, guard: Guard | None) -> None:
        """Note a decorator without arguments as the call that it is."""
        if isinstance(decorator, ir.Name | ir.Attribute):
            inner.calls.append(CallSite(ir.Call(decorator.line, decorator), inner, guard))

    # ------------------------------------------------------------ bindings

    def bind(self, target: ir.Expression, binding: Binding) -> None:
        """Bind a target: a name, an attribute of `self`, or the parts of a pattern."""
        scope = binding.scope
        if isinstance(target, ir.Name):
            self._add(target.id, scope, binding)
        elif isinstance(target, ir.Attribute):
            self.expression(target.value, scope, binding.guard)
            owner = scope.owner()
            if owner is not None and self._is_self(target.value, scope):
                owner.attributes.setdefault(target.name, []).append(binding)
        elif isinstance(target, ir.Index):
            self._index(target, scope, binding.guard)
            self._store(target, binding)
        elif isinstance(target, ir.Spread | ir.Choice):
            self.bind(target.value if isinstance(target, ir.Spread) else target.options[0], binding)
        elif isinstance(target, ir.Sequence):
            for number, item in enumerate(target.items):
                self.bind(item, _part(binding, number))
        elif isinstance(target, ir.Mapping):
            for key, item in target.items:
                self._property(item, _part(binding, key.value) if isinstance(key, ir.Text) else binding)

    def _store(self, target: ir.Index, binding: Binding) -> None:
        """Note what is assigned to an item of a name, or of an attribute of `self`."""
        scope = binding.scope
        owner = scope.owner()
        container = target.value
        if isinstance(container, ir.Attribute) and owner is not None and self._is_self(container.value, scope):
            owner.stored.setdefault(container.name, []).append((target.key, binding))
        elif isinstance(container, ir.Name):
            holder: Scope | None = scope
            while holder is not None and container.id not in holder.bindings:
                holder = holder.parent
            (holder or scope).stored.setdefault(container.id, []).append((target.key, binding))

    def _property(self, target: ir.Expression, binding: Binding) -> None:
        """Bind a property of a pattern, which may have a default."""
        if isinstance(target, ir.Assigned):
            self.expression(target.value, binding.scope, binding.guard)
            self.bind(target.target, Binding("value", binding.scope, target.value, guard=binding.guard))
            target = target.target
        self.bind(target, binding)

    def _is_self(self, value: ir.Expression, scope: Scope) -> bool:
        """Whether an expression is the instance or class that a method belongs to."""
        if not isinstance(value, ir.Name):
            return False
        owner = scope.owner()
        if value.id in {"self", "cls"} or (owner is not None and value.id == owner.own_name):
            return True
        inner: Scope | None = scope
        while inner is not None and inner.function is not None:
            if inner.parent is not None and inner.parent.kind == "class":
                parameters = inner.function.parameters
                return self.index.is_python and bool(parameters) and parameters[0].name == value.id
            inner = inner.parent
        return False

    def _add(self, name: str, scope: Scope, binding: Binding) -> None:
        if name in scope.outer:
            scope = self._outer(name, scope)
        elif binding.kind == "value" and not self.index.is_python and name not in scope.bindings:
            scope = self._declared(name, scope) or scope
        scope.bindings.setdefault(name, []).append(binding)

    def _declared(self, name: str, scope: Scope) -> Scope | None:
        """Return the outer scope that declares a name without a value (`let name`): a function gives it one."""
        outer = scope.parent if scope.kind == "function" else None
        while outer is not None and name not in outer.bindings:
            outer = outer.parent
        if outer is None:
            return None
        first = outer.bindings[name][0]
        is_empty = first.expression is None or first.expression == ir.Constant(first.expression.line, None)
        return outer if first.kind == "value" and is_empty else None

    def _outer(self, name: str, scope: Scope) -> Scope:
        outer = scope.parent
        while outer is not None and outer.kind == "function":
            if name in outer.bindings:
                return outer
            outer = outer.parent
        return self.index.top

    # ------------------------------------------------------------ expressions

    def expression(self, node: ir.Expression, scope: Scope, guard: Guard | None) -> None:
        """Walk an expression."""
        visit = self._expressions.get(type(node))
        if visit is not None:
            visit(node, scope, guard)

    def _all(self, parts: tuple[ir.Expression, ...], scope: Scope, guard: Guard | None) -> None:
        for part in parts:
            visit = self._expressions.get(type(part))
            if visit is not None:
                visit(part, scope, guard)

    def _attribute(self, node: ir.Attribute, scope: Scope, guard: Guard | None) -> None:
        self.expression(node.value, scope, guard)

    def _index(self, node: ir.Index, scope: Scope, guard: Guard | None) -> None:
        self._all((node.value, node.key), scope, guard)

    def _call(self, node: ir.Call, scope: Scope, guard: Guard | None) -> None:
        scope.calls.append(CallSite(node, scope, guard))
        self.expression(node.function, scope, guard)
        self._all(node.arguments, scope, guard)
        for keyword in node.keywords:
            self.expression(keyword.value, scope, guard)

    def _template(self, node: ir.Template, scope: Scope, guard: Guard | None) -> None:
        self._all(node.parts, scope, guard)

    def _sequence(self, node: ir.Sequence, scope: Scope, guard: Guard | None) -> None:
        self._all(node.items, scope, guard)

    def _mapping(self, node: ir.Mapping, scope: Scope, guard: Guard | None) -> None:
        for key, value in node.items:
            if key is not None:
                self.expression(key, scope, guard)
            self.expression(value, scope, guard)

    def _choice(self, node: ir.Choice, scope: Scope, guard: Guard | None) -> None:
        if node.test is not None:
            self.expression(node.test, scope, guard)
        for number, option in enumerate(node.options):
            inner = guard if node.operator == "and" else Guard(guard, node, number, scope)
            self.expression(option, scope, inner)

    def _binary(self, node: ir.Binary, scope: Scope, guard: Guard | None) -> None:
        self._all((node.left, node.right), scope, guard)

    def _not(self, node: ir.Not, scope: Scope, guard: Guard | None) -> None:
        self.expression(node.value, scope, guard)

    def _lambda(self, node: ir.Lambda, scope: Scope, guard: Guard | None) -> None:
        self._define(node.definition, scope, guard)

    def _class_value(self, node: ir.ClassValue, scope: Scope, guard: Guard | None) -> None:
        self._define_class(node.definition, scope, guard)

    def _spread(self, node: ir.Spread, scope: Scope, guard: Guard | None) -> None:
        self.expression(node.value, scope, guard)

    def _comprehension(self, node: ir.Comprehension, scope: Scope, guard: Guard | None) -> None:
        for target, values in node.loops:
            self.expression(values, scope, guard)
            self.bind(target, Binding("item", scope, values, guard=guard))
        self._all((node.element, *node.tests), scope, guard)

    def _assigned(self, node: ir.Assigned, scope: Scope, guard: Guard | None) -> None:
        self.expression(node.value, scope, guard)
        self.bind(node.target, Binding("value", scope, node.value, guard=guard))

    def _yield(self, node: ir.Yield, scope: Scope, guard: Guard | None) -> None:
        if node.value is not None:
            self.expression(node.value, scope, guard)
            scope.yields.append(node.value)

    def _other(self, node: ir.Other, scope: Scope, guard: Guard | None) -> None:
        self._all(node.parts, scope, guard)


def _dotted(outer: str, name: str) -> str:
    return f"{outer}.{name}" if outer and name else outer or name


def _part(binding: Binding, key: int | str) -> Binding:
    """Return the binding of an item or property of what a binding gives."""
    return replace(binding, keys=(*binding.keys, key))


def _leaves(body: tuple[ir.Statement, ...]) -> bool:
    """Whether a body ends by leaving the function."""
    return bool(body) and isinstance(body[-1], ir.Return)
