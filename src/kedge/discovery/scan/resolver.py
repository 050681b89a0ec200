"""Name resolution: what an expression of the scanned code can be, as abstract values.

Values are unions without an order of statements: a variable is any of what is assigned to it. All results are kept;
a value that depends on itself adds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kedge.discovery import ir
from kedge.discovery.scan.annotations import Annotations
from kedge.discovery.scan.callbacks import Callbacks
from kedge.discovery.scan.callers import Callers, is_concrete
from kedge.discovery.scan.calling import called_name
from kedge.discovery.scan.classes import Classes
from kedge.discovery.scan.contexts import Contexts
from kedge.discovery.scan.exports import Exports
from kedge.discovery.scan.fixpoint import Fixpoint
from kedge.discovery.scan.folding import Folder
from kedge.discovery.scan.idioms import Idioms
from kedge.discovery.scan.imports import Imports
from kedge.discovery.scan.opening import Opening
from kedge.discovery.scan.rules import Rules
from kedge.discovery.scan.scopes import Binding, ModuleIndex, Scope, is_visible
from kedge.discovery.scan.values import (
    LONGEST,
    Box,
    ClassOf,
    FunctionOf,
    Handle,
    Instance,
    Library,
    Method,
    ModuleOf,
    Value,
    Values,
    union,
)

_PASSED = {"remote", "delay", "invoke", "ainvoke", "apply_async", "func", "coroutine", "__wrapped__", "fn", "bind"}
"""Members of a decorated function that stand for the function."""


def states_of(indexes: Sequence[ModuleIndex]) -> dict[str, list[tuple[ir.Expression, Scope]]]:
    """Return what is assigned to attributes of an application's state, by attribute."""
    found: dict[str, list[tuple[ir.Expression, Scope]]] = {}
    for assignment, scope, _ in (each for index in indexes for each in index.assignments):
        for target in assignment.targets:
            of_state = isinstance(target, ir.Attribute) and _is_state(target.value)
            if of_state and isinstance(target, ir.Attribute) and assignment.value is not None:
                found.setdefault(target.name, []).append((assignment.value, scope))
    return found


class Resolver:
    """Resolves names over all modules of a repository."""

    def __init__(
        self, indexes: Sequence[ModuleIndex], rules: Rules, configuration: Mapping[str, bytes] | None = None
    ) -> None:
        self.rules = rules
        self.values = Fixpoint()
        self._literals: dict[tuple[int, str], ir.Mapping] = {}
        self.indexes = {index.path: index for index in indexes}
        self.scopes = [scope for index in indexes for scope in index.scopes]
        self._states = states_of(indexes)
        self.imports = Imports(self.indexes, rules.packages, configuration)
        self.classes = Classes(self)
        self.exports = Exports(self)
        self.callers = Callers(self)
        self.callbacks = Callbacks(self)
        self.contexts = Contexts(self)
        self.annotations = Annotations(self)
        self.folder = Folder(self)
        self.opening = Opening(self)
        self.idioms = Idioms(self)

    # ------------------------------------------------------------ expressions

    def eval(self, node: ir.Expression, scope: Scope) -> Values:
        """Return what an expression can be; nothing where that is not known."""
        if isinstance(node, ir.Name):
            return self.name(node.id, scope)
        return self.values.get((id(node), id(scope)), lambda: self._eval(node, scope))

    def _eval(self, node: ir.Expression, scope: Scope) -> Values:
        match node:
            case ir.Attribute():
                found = self.members(self.eval(node.value, scope), node.name)
                return (
                    (self._of_state(node) or self.contexts.value(node, scope) or found) if _is_unknown(found) else found
                )
            case ir.Call():
                return self.result(node, scope)
            case ir.Choice():
                options = node.options[-1:] if node.operator == "and" else node.options
                return union(*(self.eval(option, scope) for option in options))
            case ir.Index():
                return self._subscript(node, scope)
            case ir.Sequence():
                return (self._sequence(node, scope),)
            case ir.Mapping():
                return (self._mapping(node, scope),)
            case ir.Assigned() | ir.Spread():
                return self.eval(node.value, scope)
            case _:
                return self._definition(node, scope)

    def _definition(self, node: ir.Expression, scope: Scope) -> Values:
        if isinstance(node, ir.Lambda | ir.ClassValue):
            inner = scope.module.by_node[id(node.definition)]
            return (ClassOf(inner),) if inner.kind == "class" else (FunctionOf(inner),)
        if isinstance(node, ir.Comprehension):
            element = node.element
            if isinstance(element, ir.Sequence) and element.kind == "tuple" and element.items:
                element = element.items[-1]
            return (Box(tuple((None, value) for value in self.eval(element, scope))),)
        return ()

    def _of_state(self, node: ir.Attribute) -> Values:
        """Return what is assigned to an attribute of an application's state anywhere: `app.state.store`."""
        if not _is_state(node.value):
            return ()
        assigned = self._states.get(node.name, ())
        return self.values.get(
            ("state", node.name), lambda: union(*(self.eval(value, scope) for value, scope in assigned))
        )

    def _sequence(self, node: ir.Sequence, scope: Scope) -> Box:
        items: list[tuple[str | int | None, Value]] = []
        for number, item in enumerate(node.items[:100]):
            if isinstance(item, ir.Spread):
                items += ((None, value) for value in iterate(self.eval(item.value, scope)))
            elif not isinstance(item, ir.Text | ir.Constant):
                items += ((number, value) for value in self.eval(item, scope))
        return Box(tuple(items))

    def _mapping(self, node: ir.Mapping, scope: Scope) -> Box:
        items: list[tuple[str | int | None, Value]] = []
        for key, value in node.items[:200]:
            if isinstance(value, ir.Text | ir.Constant | ir.Template):
                continue
            if key is None:
                for inner in self.eval(value, scope):
                    items += inner.items if isinstance(inner, Box) else ()
                continue
            folded = key.value if isinstance(key, ir.Text) else self.folder.fold(key, scope)
            name = folded if isinstance(folded, str) else None
            items += ((name, each) for each in self.eval(value, scope))
        return Box(tuple(items))

    def _subscript(self, node: ir.Index, scope: Scope) -> Values:
        found: Values = ()
        if getattr(node.value, "id", getattr(node.value, "name", "")) == "Annotated":
            return self.annotations.values(node, scope)  # an alias: `Db = Annotated[Session, Depends(open)]`
        for value in self.eval(node.value, scope):
            match value:
                case Box():
                    folded = self.folder.fold(node.key, scope)
                    found = union(found, value.at(folded if isinstance(folded, str | int) else None))
                case Handle():
                    found = union(found, self.opening.member(value, "[]", self.folder.text(node.key, scope)))
                case ClassOf():
                    found = union(found, (value,))
                case Library() if "()" not in value.path:
                    found = union(found, (value,))
                case Instance():
                    getters = self.classes.member(value, "__getitem__")
                    found = union(found, *(self.returned_by(getter) for getter in getters))
                case _:
                    pass
        return found

    # ------------------------------------------------------------ names

    def name(self, name: str, scope: Scope) -> Values:
        """Return what a name can be in a scope. A name that nothing binds is a builtin or global of the language."""
        holder: Scope | None = scope
        while holder is not None:
            if name in holder.bindings and is_visible(holder, scope):
                return self.bound_in(name, holder)
            holder = holder.parent
        if name in {"self", "super"}:
            owner = scope.owner()
            if owner is not None:
                return (Instance(owner),) if name == "self" else (Library("super"),)
        for star in scope.module.stars:
            if found := self.exports.imported(star, name, scope.module):
                return found
        return (Library(name),)

    def bound_in(self, name: str, holder: Scope) -> Values:
        """Return what a name is bound to in the scope that binds it."""
        return self.values.get(
            (id(holder), name),
            lambda: union(*(self.bound(binding) for binding in holder.bindings[name]), self.stored(holder, name)),
        )

    def stored(self, holder: Scope, name: str) -> Values:
        """Return a container of what is assigned to the items of a name or attribute."""
        values = union(*(self.bound(binding) for _, binding in holder.stored.get(name, ())))
        return (Box(tuple((None, value) for value in values)),) if values else ()

    def bound(self, binding: Binding) -> Values:
        """Return what a binding gives its name."""
        match binding.kind:
            case "function":
                found: Values = () if binding.inner is None else (FunctionOf(binding.inner),)
            case "class":
                found = () if binding.inner is None else (ClassOf(binding.inner),)
            case "import" if binding.imported is not None:
                statement, name = binding.imported
                found = self.exports.imported(statement, name, binding.scope.module)
            case "parameter" if binding.parameter is not None:
                found = self.callers.parameter(binding.scope, binding.parameter)
            case _:
                found = self._assigned(binding)
        for key in binding.keys:
            found = self.part(found, key)
        return found

    def _assigned(self, binding: Binding) -> Values:
        found: Values = ()
        if binding.expression is not None:
            found = self.eval(binding.expression, binding.scope)
            if binding.kind == "enter":
                found = union(*(self.entered(value) for value in found))
            elif binding.kind == "item":
                found = iterate(found)
        if not found and binding.annotation is not None:
            found = self.annotations.values(binding.annotation, binding.scope)
        return found

    def part(self, values: Values, key: int | str) -> Values:
        """Return an item or property of any of several values."""
        if isinstance(key, str):
            return self.members(values, key)
        boxes = union(*(value.at(key) for value in values if isinstance(value, Box)))
        # A library that gives a pair: any of its parts may be the one that its rules speak of.
        return union(boxes, tuple(value for value in values if isinstance(value, Library | Handle)))

    # ------------------------------------------------------------ members

    def members(self, values: Values, name: str) -> Values:
        """Return the member of any of several values."""
        found: Values = ()
        for value in values:
            found = union(found, self.member(value, name))
        return found

    def member(self, value: Value, name: str) -> Values:
        """Return the member of a value."""
        match value:
            case Library():
                return self.opening.attribute(value.member(name)) if len(value.path) < LONGEST else ()
            case Handle():
                return self.opening.member(value, name)
            case Method():
                return (Method(value.handle, f"{value.name}.{name}"),)
            case Instance() | ClassOf():
                return self.classes.member(value, name)
            case ModuleOf():
                return self.exports.exported(value.path, name)
            case FunctionOf():
                return (value,) if name in _PASSED else ()
            case Box():
                return value.at(name) if any(key == name for key, _ in value.items) else ()

    def entered(self, value: Value) -> Values:
        """Return what `with` binds for a value."""
        if isinstance(value, Handle):
            return self.opening.member(value, "with") or (value,)
        if isinstance(value, Instance):
            for name in ("__aenter__", "__enter__"):
                if found := union(*(self.returned_by(each) for each in self.classes.member(value, name))):
                    return found
        return (value,)

    def instance_of(self, path: str) -> Values:
        """Return an instance of a class of a library."""
        return self.opening.annotated(path)

    # ------------------------------------------------------------ calls

    def callees(self, call: ir.Call, scope: Scope) -> Values:
        """Return what a call can call. Of a handle's or library's member, the member's name is kept."""
        node = call.function
        if not isinstance(node, ir.Attribute):
            return self.eval(node, scope)
        found: Values = ()
        for value in self.eval(node.value, scope):
            match value:
                case Handle():
                    found = union(found, (Method(value, node.name),))
                case Method():
                    found = union(found, (Method(value.handle, f"{value.name}.{node.name}"),))
                case Library() if len(value.path) < LONGEST:
                    found = union(found, (value.member(node.name),))
                case _:
                    found = union(found, self.member(value, node.name))
        return found

    def result(self, call: ir.Call, scope: Scope) -> Values:
        """Return what a call gives."""
        known = self.idioms.result(call, scope)
        if known is not None:
            return known
        return union(*(self.result_of(value, call, scope) for value in self.callees(call, scope)))

    def result_of(self, value: Value, call: ir.Call, scope: Scope) -> Values:
        """Return what a call of a value gives."""
        match value:
            case Library():
                return self.opening.called(value, call, scope)
            case Method():
                return self.opening.method(value, call, scope)
            case Handle():
                return self.opening.member(value, "()")
            case ClassOf():
                return self.classes.made(value.scope)
            case FunctionOf():
                return self.returned(value.scope, value.receiver)
            case Instance():
                return union(*(self.returned_by(each) for each in self.classes.member(value, "__call__")))
            case _:
                return ()

    def returned_by(self, value: Value) -> Values:
        """Return what a method that was looked up gives; a property's value is what it gives already."""
        return self.returned(value.scope, value.receiver) if isinstance(value, FunctionOf) else ()

    def returned(self, function: Scope, receiver: Instance | ClassOf | None = None) -> Values:
        """Return what a function returns or yields, by its body, else by its annotation."""
        node = function.function
        if node is None:
            return ()
        known = self.values.get(id(function), lambda: self._given_back(function, node))
        if receiver is None:
            return known
        return union(*((self._specialised(value, function, receiver),) for value in known))

    def _given_back(self, function: Scope, node: ir.Function) -> Values:
        given = (*(value for value, _ in function.returns), *function.yields)
        found = union(*(self.eval(value, function) for value in given))
        if not is_concrete(found) and node.returns is not None:
            return self.annotations.values(node.returns, function.parent or function) or found
        return found

    def _specialised(self, value: Value, function: Scope, receiver: Instance | ClassOf) -> Value:
        """Return the instance of the subclass that a method of a base class was called on."""
        if (
            isinstance(value, Instance | ClassOf)
            and value.scope is function.parent
            and self.classes.is_subclass(receiver.scope, value.scope)
        ):
            return type(value)(receiver.scope)
        return value

    def follow(self, node: ir.Expression, scope: Scope, depth: int = 4) -> ir.Expression:
        """Return the expression that a name is assigned once, else the expression itself."""
        while isinstance(node, ir.Name) and depth:
            binding = self.binding_of(node.id, scope)
            if binding is None or binding.kind != "value" or binding.expression is None or binding.keys:
                break
            literal = binding.expression
            if isinstance(literal, ir.Mapping) or (isinstance(literal, ir.Call) and called_name(literal) == "dict"):
                return self._with_items(node.id, literal, binding.scope)
            node, scope, depth = binding.expression, binding.scope, depth - 1
        return node

    def _with_items(self, name: str, node: ir.Mapping | ir.Call, holder: Scope) -> ir.Mapping | ir.Call:
        """Return a literal with what is assigned to its items afterwards: `options["memory"] = True`."""
        if name not in holder.stored:
            return node
        key = (id(holder), name)
        if key not in self._literals:
            items = node.items if isinstance(node, ir.Mapping) else ((None, node),)
            later = ((item, bound.expression) for item, bound in holder.stored[name])
            self._literals[key] = ir.Mapping(
                node.line, (*items, *((item, value) for item, value in later if value is not None))
            )
        return self._literals[key]

    def import_of(self, node: ir.Expression, scope: Scope) -> ir.Import | None:
        """Return the import that binds the first name of a dotted expression."""
        while isinstance(node, ir.Attribute | ir.Call | ir.Index):
            node = node.function if isinstance(node, ir.Call) else node.value
        holder: Scope | None = scope if isinstance(node, ir.Name) else None
        while holder is not None and isinstance(node, ir.Name):
            for binding in holder.bindings.get(node.id, ()):
                return binding.imported[0] if binding.imported is not None else None
            holder = holder.parent
        return None

    def binding_of(self, name: str, scope: Scope) -> Binding | None:
        """Return the only binding of a name in its scope, None if there are several or none."""
        holder: Scope | None = scope
        while holder is not None:
            if name in holder.bindings and is_visible(holder, scope):
                bindings = holder.bindings[name]
                return bindings[0] if len(bindings) == 1 else None
            holder = holder.parent
        return None


def _is_state(node: ir.Expression) -> bool:
    return isinstance(node, ir.Attribute) and node.name == "state"


def _is_unknown(values: Values) -> bool:
    return all(isinstance(value, Library) for value in values)


def iterate(values: Values) -> Values:
    """Return an item of any of several containers; what is no container stands for its items."""
    return union(*(value.all() if isinstance(value, Box) else (value,) for value in values))
