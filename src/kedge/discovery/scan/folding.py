"""Constants folded over names, attributes, f-strings and paths; settings from environment and configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from kedge.discovery import ir
from kedge.discovery.scan.classes import decorator_name
from kedge.discovery.scan.scopes import Binding, Scope, is_visible
from kedge.discovery.scan.values import ClassOf, Instance, ModuleOf, Value

if TYPE_CHECKING:
    from kedge.discovery.scan.resolver import Resolver

Folded: TypeAlias = str | bool | int | float | None
"""A constant; None if it is not known. A text has `{}` where a part of it is not known."""

UNKNOWN = "{}"
_DEPTH = 12
_KEPT = {"strip", "lower", "upper", "rstrip", "lstrip", "value", "get_secret_value", "as_posix", "toLowerCase", "trim"}
_KEPT |= {"toString", "resolve", "absolute", "expanduser", "toUpperCase", "name"}
_TEXTS = {"str", "Path", "PurePath", "text", "SQL", "dedent", "cleandoc", "String", "sql", "bool", "int", "Boolean"}
_JOINS = {"join", "joinpath", "resolve"}
_GETTERS = {"getenv", "get", "pop", "getEnv", "optional", "required"}
_ENVIRONMENTS = {"os.environ", "environ", "process.env", "Deno.env", "env", "Bun.env", "import.meta.env"}
_CONFIGS = ("config", "configuration", "configurable", "settings", "cfg", "conf", "options", "opts", "args", "params")


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that is decided outside the code: a variable of the environment, a field of a configuration."""

    source: Literal["env", "config", "argument"]
    name: str
    default: Folded = None


class Folder:
    """Folds expressions to constants."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        self._depth = 0
        self._folded: dict[tuple[int, int], Folded] = {}

    def text(self, node: ir.Expression, scope: Scope) -> str:
        """Return the text that an expression is, "" where it is not known or no text."""
        folded = self.fold(node, scope)
        return folded if isinstance(folded, str) and folded != UNKNOWN else ""

    def described(self, node: ir.Expression, scope: Scope) -> Folded:
        """Return the constant that an expression is, else the name of the setting or variable that it reads."""
        folded = self.fold(node, scope)
        if folded is not None and folded != "":
            return folded
        setting = self.setting(node, scope)
        if setting is not None:
            return f"{{{setting.name}}}"
        name = node.name if isinstance(node, ir.Attribute) else node.id if isinstance(node, ir.Name) else ""
        return f"{{{name}}}" if name else None

    def fold(self, node: ir.Expression, scope: Scope) -> Folded:
        """Return the constant that an expression is."""
        match node:
            case ir.Text() | ir.Constant():
                return node.value
            case ir.Name(id="True" | "False"):
                return node.id == "True"
        key = (id(node), id(scope))
        if key in self._folded:
            return self._folded[key]
        if self._depth >= _DEPTH:
            return None
        self._folded[key] = None
        self._depth += 1
        try:
            folded = self._fold(node, scope)
        finally:
            self._depth -= 1
        self._folded[key] = folded
        return folded

    def _fold(self, node: ir.Expression, scope: Scope) -> Folded:
        match node:
            case ir.Template():
                return "".join(_shown(self.fold(part, scope)) for part in node.parts)
            case ir.Binary(operator="+" | "/" | "%"):
                return self._joined(node, scope)
            case ir.Choice():
                options = (self.fold(option, scope) for option in node.options)
                return next((option for option in options if option is not None), None)
            case ir.Assigned() | ir.Spread():
                return self.fold(node.value, scope)
            case ir.Call():
                return self._call(node, scope)
            case ir.Name() | ir.Attribute() | ir.Index():
                setting = self.setting(node, scope)
                if setting is not None and setting.default is not None:
                    return setting.default
                folded = (self.fold(value, at) for value, at in self.sources(node, scope))
                return next((each for each in folded if each is not None), None)
            case _:
                return None

    def _joined(self, node: ir.Binary, scope: Scope) -> Folded:
        left, right = self.fold(node.left, scope), self.fold(node.right, scope)
        if left is None and right is None:
            return None
        if node.operator == "%":
            return left
        if isinstance(left, str) or isinstance(right, str):
            return _shown(left) + ("/" if node.operator == "/" else "") + _shown(right)
        return None

    def _call(self, node: ir.Call, scope: Scope) -> Folded:
        setting = self.setting(node, scope)
        if setting is not None:
            return setting.default
        name = decorator_name(node)
        if isinstance(node.function, ir.Attribute):
            if name in _JOINS and node.arguments:
                return self._path(node, node.function, scope)
            if name in _KEPT or name == "format":
                return self.fold(node.function.value, scope)
        if name in _TEXTS and node.arguments:
            return self.fold(node.arguments[0], scope)
        if name == "Field":
            default = next((word.value for word in node.keywords if word.name == "default"), None)
            default = node.arguments[0] if default is None and node.arguments else default
            return self.fold(default, scope) if default is not None else None
        return self._returned(node, scope)

    def _path(self, node: ir.Call, function: ir.Attribute, scope: Scope) -> Folded:
        parts = [self.fold(part, scope) for part in node.arguments]
        if function.name == "joinpath":
            parts.insert(0, self.fold(function.value, scope))
        if isinstance(function.value, ir.Text):
            return None
        return "/".join(_shown(part) for part in parts) if any(part is not None for part in parts) else None

    def _returned(self, node: ir.Call, scope: Scope) -> Folded:
        for value in self.resolver.callees(node, scope):
            function = getattr(value, "scope", None)
            if isinstance(function, Scope) and function.kind == "function":
                folded = (self.fold(given, function) for given, _ in function.returns)
                return next((each for each in folded if each is not None), None)
        return None

    # ------------------------------------------------------------ sources

    def sources(self, node: ir.Expression, scope: Scope) -> Iterator[tuple[ir.Expression, Scope]]:
        """Yield the expressions that a name or attribute is assigned, and the scopes in which they stand."""
        if isinstance(node, ir.Name):
            holder: Scope | None = scope
            while holder is not None:
                if node.id in holder.bindings and is_visible(holder, scope):
                    yield from self._of_bindings(holder.bindings[node.id])
                    return
                holder = holder.parent
        elif isinstance(node, ir.Attribute):
            if node.name in _KEPT:
                yield node.value, scope
            for value in self.resolver.eval(node.value, scope):
                yield from self._of_bindings(self.attribute_bindings(value, node.name))

    def attribute_bindings(self, value: Value, name: str) -> list[Binding]:
        """Return the bindings of an attribute of a value."""
        match value:
            case Instance() | ClassOf():
                for scope in self.resolver.classes.line(value.scope)[0]:
                    if found := [*scope.attributes.get(name, ()), *scope.bindings.get(name, ())]:
                        return found
            case ModuleOf() if value.path in self.resolver.indexes:
                return self.resolver.indexes[value.path].top.bindings.get(name, [])
            case _:
                pass
        return []

    def _of_bindings(self, bindings: list[Binding]) -> Iterator[tuple[ir.Expression, Scope]]:
        for binding in bindings:
            if binding.kind == "value" and binding.expression is not None and not binding.keys:
                yield binding.expression, binding.scope
            elif binding.kind == "item" and binding.expression is not None and not binding.keys:
                yield from self._items(binding.expression, binding.scope)
            elif binding.kind == "parameter" and binding.parameter is not None and not binding.keys:
                if binding.parameter.default is not None:
                    yield binding.parameter.default, binding.scope.parent or binding.scope
            elif binding.kind == "import" and binding.imported is not None:
                statement, imported = binding.imported
                yield from self._imported(statement, imported, binding.scope)
            elif binding.kind == "function" and binding.inner is not None:
                yield from ((given, binding.inner) for given, _ in binding.inner.returns)

    def _items(self, node: ir.Expression, scope: Scope) -> Iterator[tuple[ir.Expression, Scope]]:
        """Yield the items of a literal, also of one that a name or attribute stands for."""
        for expression, at in ((node, scope), *self.sources(node, scope)):
            if isinstance(expression, ir.Sequence):
                yield from ((item, at) for item in expression.items)

    def _imported(self, statement: ir.Import, name: str, scope: Scope) -> Iterator[tuple[ir.Expression, Scope]]:
        find = self.resolver.imports
        index = scope.module
        path = (
            find.python(index.path, statement.module, statement.level)
            if index.is_python
            else find.script(index.path, statement.module)
        )
        other = self.resolver.indexes.get(path) if path is not None else None
        if other is not None and name:
            if name in other.exports:
                yield other.exports[name], other.top
            else:
                yield from self._of_bindings(other.top.bindings.get(name, []))

    # ------------------------------------------------------------ settings

    def setting(self, node: ir.Expression, scope: Scope, depth: int = 5) -> Setting | None:
        """Return the setting that an expression reads, also through names; None if it is another value."""
        match node:
            case ir.Call():
                return self._setting_call(node, scope, depth)
            case ir.Index():
                return self._setting_item(node, scope)
            case ir.Attribute():
                return self._setting_attribute(node, scope, depth)
            case ir.Name() if depth:
                for value, at in self.sources(node, scope):
                    if (found := self.setting(value, at, depth - 1)) is not None:
                        return found
            case ir.Choice(operator="or" | "if"):
                return self._setting_choice(node, scope, depth)
            case _:
                pass
        return None

    def _setting_item(self, node: ir.Index, scope: Scope) -> Setting | None:
        key = self.fold(node.key, scope)
        if isinstance(key, str) and _dotted(node.value) in _ENVIRONMENTS:
            return Setting("env", key)
        return Setting("config", key) if isinstance(key, str) and _is_config(node.value) else None

    def _setting_choice(self, node: ir.Choice, scope: Scope, depth: int) -> Setting | None:
        settings = (self.setting(option, scope, depth) for option in node.options)
        found = next((each for each in settings if each is not None), None)
        if found is not None and found.default is None:
            return Setting(found.source, found.name, self.fold(node.options[-1], scope))
        return found

    def _setting_call(self, node: ir.Call, scope: Scope, depth: int) -> Setting | None:
        name = decorator_name(node)
        function = node.function
        default = self.fold(node.arguments[1], scope) if len(node.arguments) > 1 else None
        key = self.fold(node.arguments[0], scope) if node.arguments else None
        if isinstance(key, str) and name in _GETTERS:
            if name == "getenv" or (isinstance(function, ir.Attribute) and _dotted(function.value) in _ENVIRONMENTS):
                return Setting("env", key, default)
            if isinstance(function, ir.Attribute) and _is_config(function.value):
                return Setting("config", key, default)
        if isinstance(function, ir.Attribute) and name in _KEPT:
            return self.setting(function.value, scope, depth)
        if isinstance(function, ir.Name) and name in _TEXTS and node.arguments:
            return self.setting(node.arguments[0], scope, depth)
        return None

    def _setting_attribute(self, node: ir.Attribute, scope: Scope, depth: int) -> Setting | None:
        if _dotted(node.value) in _ENVIRONMENTS:
            return Setting("env", node.name)
        values = self.resolver.eval(node.value, scope)
        for value in values:
            if isinstance(value, Instance) and self._is_settings(value.scope):
                return self._field(value.scope, node.name)
        for value in values:
            if isinstance(value, Instance | ClassOf | ModuleOf) and depth:
                for source, at in self._of_bindings(self.attribute_bindings(value, node.name)):
                    if (found := self.setting(source, at, depth - 1)) is not None:
                        return found
        if node.name in _KEPT:
            return self.setting(node.value, scope, depth)
        if _is_config(node.value):
            folded = next(
                (
                    self.fold(source, at)
                    for value in values
                    for source, at in self._of_bindings(self.attribute_bindings(value, node.name))
                ),
                None,
            )
            return Setting("config", node.name, folded)
        return None

    def _is_settings(self, scope: Scope) -> bool:
        return any(path.endswith("BaseSettings") for path in self.resolver.classes.line(scope)[1])

    def _field(self, scope: Scope, name: str) -> Setting | None:
        """Return the variable that fills a field of pydantic settings: its alias, or its name in capitals."""
        bindings = self.attribute_bindings(Instance(scope), name)
        if not bindings or bindings[0].kind != "value":
            return None
        value = bindings[0].expression
        alias = None
        if isinstance(value, ir.Call):
            words = {word.name: word.value for word in value.keywords}
            alias = words.get("validation_alias") or words.get("alias") or words.get("env")
        variable = self.fold(alias, bindings[0].scope) if alias is not None else None
        default = self.fold(value, bindings[0].scope) if value is not None else None
        return Setting("env", variable if isinstance(variable, str) else name.upper(), default)


def _shown(folded: Folded) -> str:
    return UNKNOWN if folded is None else str(folded)


def _dotted(node: ir.Expression) -> str:
    """Return a dotted name as text, "" for another expression."""
    if isinstance(node, ir.Name):
        return node.id
    if isinstance(node, ir.Attribute) and (base := _dotted(node.value)):
        return f"{base}.{node.name}"
    return ""


def _is_config(node: ir.Expression) -> bool:
    """Whether an expression is named as configuration is: `config`, `self.settings`, `config["configurable"]`."""
    if isinstance(node, ir.Index):
        return isinstance(node.key, ir.Text) and node.key.value in _CONFIGS
    if isinstance(node, ir.Call):
        return decorator_name(node) in _GETTERS and any(
            isinstance(argument, ir.Text) and argument.value in _CONFIGS for argument in node.arguments
        )
    last = node.name if isinstance(node, ir.Attribute) else node.id if isinstance(node, ir.Name) else ""
    words = last.lower().strip("_")
    return words in _CONFIGS or words.endswith(_CONFIGS[:5])
