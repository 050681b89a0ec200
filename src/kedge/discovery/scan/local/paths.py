"""Paths of files as patterns: what the code tells of them, with wildcards for the rest."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from functools import lru_cache

from kedge.discovery import ir
from kedge.discovery.scan.local.words import last_name, names
from kedge.discovery.scan.resolver import Resolver
from kedge.discovery.scan.scopes import Binding, Scope, is_visible
from kedge.discovery.scan.values import FunctionOf, Instance

_DEPTH = 14
_LONGEST = 500
"""Characters of a pattern. Texts that are longer are no paths."""
_SAME = names("files", "same_path")
_JOINS = frozenset(("join", "joinpath", "resolve"))
_FOLDERS = {"home": "~", "homedir": "~", "cwd": ".", "getcwd": ".", "gettempdir": "<tmp>", "tmpdir": "<tmp>"}
_TEMPORARY = names("files", "temporary")
_FIELD = re.compile(r"\{[^{}]*\}|%\(?\w*\)?[sdrif]")
_ANCHOR = re.compile(r"<[^<>]*>")
_PARAMETER = re.compile(r"<parameter (\d+)>")
_WILD = re.compile(r"\*{3,}|\*\*(?=[^/])|(?<=[^/])\*\*")


class Paths:
    """Evaluates expressions to path patterns.

    In a pattern `*` is any text without "/", `**` any text. An anchor in angle brackets is a folder or file that is
    known by where it comes from only: `<config data_dir>`, `<a.py Store.path>`, `<parameter 0>`.
    """

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._known: dict[tuple[int, int], str | None] = {}
        self._depth = 0

    def of(self, node: ir.Expression, scope: Scope) -> str | None:
        """Return the pattern of a path, null if nothing is known of it."""
        if isinstance(node, ir.Text):
            return _clean(node.value) if len(node.value) <= _LONGEST else None
        key = (id(node), id(scope))
        if key in self._known:
            return self._known[key]
        if self._depth >= _DEPTH:
            return None
        self._known[key] = None
        self._depth += 1
        try:
            found = self._of(node, scope)
        finally:
            self._depth -= 1
        found = None if found is None or len(found) > _LONGEST else _clean(found)
        self._known[key] = found
        return found

    def _of(self, node: ir.Expression, scope: Scope) -> str | None:
        match node:
            case ir.Template():
                return self._together(node.parts, scope)
            case ir.Binary(operator="/" | "+" | "%"):
                return self._operated(node, scope)
            case ir.Choice():
                found = [each for option in node.options if (each := self.of(option, scope)) is not None]
                return min(found, key=lambda each: bool(_PARAMETER.search(each)), default=None)
            case ir.Name():
                return self._name(node, scope)
            case ir.Attribute():
                return self._attribute(node, scope)
            case ir.Index():
                return self._setting(node, scope) or self._item(node, scope)
            case ir.Call():
                return self._call(node, scope)
            case ir.Assigned() | ir.Spread():
                return self.of(node.value, scope)
            case _:
                return None

    def _operated(self, node: ir.Binary, scope: Scope) -> str | None:
        if node.operator == "/":
            return self._joined((node.left, node.right), scope)
        if node.operator == "+":
            return self._together((node.left, node.right), scope)
        left = self.of(node.left, scope)
        return None if left is None else _FIELD.sub("*", left)

    def _together(self, parts: Iterable[ir.Expression], scope: Scope) -> str | None:
        """Texts one after the other. An anchor may only be the beginning."""
        found = ""
        for part in parts:
            text = self.of(part, scope)
            found += "*" if text is None or (found and text.startswith("<")) else text
        return found if found.strip("*/.") else None

    def _joined(self, parts: Iterable[ir.Expression], scope: Scope) -> str | None:
        found: list[str] = []
        for part in parts:
            text = self.of(part, scope)
            if text is None:
                found.append("*")
            elif found and text.startswith("<"):
                found.append(_ANCHOR.sub("*", text))
            else:
                found.append(text)
        return posixpath.join(*found) if found and any(each.strip("*/.") for each in found) else None

    # ------------------------------------------------------------ names

    def _name(self, node: ir.Name, scope: Scope) -> str | None:
        if node.id == "__file__":
            return scope.module.path
        if node.id in ("__dirname", "import.meta.dirname"):
            return posixpath.dirname(scope.module.path) or "."
        holder: Scope | None = scope
        while holder is not None:
            if node.id in holder.bindings and is_visible(holder, scope):
                return self._bound(holder.bindings[node.id], holder, node, scope)
            holder = holder.parent
        return None

    def _bound(self, bindings: list[Binding], holder: Scope, node: ir.Expression, scope: Scope) -> str | None:
        parameter = next((each.parameter for each in bindings if each.kind == "parameter"), None)
        found = self._first(self._resolver.folder.sources(node, scope))
        if found is not None or parameter is None or holder.function is None:
            return found
        position = next((number for number, each in enumerate(holder.function.parameters) if each is parameter), None)
        return None if position is None or parameter.kind != "normal" else f"<parameter {position}>"

    def _first(self, sources: Iterable[tuple[ir.Expression, Scope]]) -> str | None:
        for value, at in sources:
            if (found := self.of(value, at)) is not None:
                return found
        return None

    def _attribute(self, node: ir.Attribute, scope: Scope) -> str | None:
        if node.name == "parent":
            inner = self.of(node.value, scope)
            return None if inner is None else _parent(inner)
        if node.name in ("name", "stem", "suffix", "parents"):
            return None
        for value in self._resolver.eval(node.value, scope):
            found = self._first(self._resolver.folder.sources(node, scope))
            if found is not None and not _PARAMETER.search(found):
                return found
            if isinstance(value, Instance):
                owner = self._owner(value.scope, node.name)
                return f"<{owner.module.path} {owner.name}.{node.name}>"
        return self._setting(node, scope) or self._dotted(node, scope)

    def _owner(self, scope: Scope, name: str) -> Scope:
        """The class of a line that sets an attribute."""
        line = self._resolver.classes.line(scope)[0]
        return next((each for each in line if name in each.attributes or name in each.bindings), scope)

    def _setting(self, node: ir.Expression, scope: Scope) -> str | None:
        setting = self._resolver.folder.setting(node, scope)
        if setting is None:
            return None
        if isinstance(setting.default, str) and setting.default.strip("{}"):
            return _FIELD.sub("*", setting.default)
        return f"<{setting.source} {setting.name}>"

    def _item(self, node: ir.Index, scope: Scope) -> str | None:
        base = self._dotted(node.value, scope)
        key = node.key.value if isinstance(node.key, ir.Text) else None
        return None if base is None or key is None else f"{base[:-1]}[{key}]>"

    def _dotted(self, node: ir.Expression, scope: Scope) -> str | None:
        """An anchor for an attribute of something unknown: the same name in the same module is the same path."""
        names: list[str] = []
        while isinstance(node, ir.Attribute):
            names.append(node.name)
            node = node.value
        if not names or not isinstance(node, ir.Name):
            return None
        return f"<{scope.module.path} {'.'.join([node.id, *reversed(names)])}>"

    # ------------------------------------------------------------ calls

    def _call(self, node: ir.Call, scope: Scope) -> str | None:
        name = last_name(node.function)
        receiver = node.function.value if isinstance(node.function, ir.Attribute) else None
        if name in _FOLDERS:
            return _FOLDERS[name]
        if name in _TEMPORARY:
            return "<tmp>/*"
        if name in _JOINS and node.arguments:
            library = receiver is None or last_name(receiver) in ("path", "posix", "os")
            parts = node.arguments if library or receiver is None else (receiver, *node.arguments)
            return None if isinstance(receiver, ir.Text) else self._joined(parts, scope)
        if name in _SAME:
            if node.arguments:
                return self._joined(node.arguments, scope)
            return self.of(receiver, scope) if receiver is not None else "."
        if receiver is not None and (changed := self._changed(name, node, receiver, scope)) is not None:
            return changed
        return self._setting(node, scope) or self._returned(node, scope)

    def _changed(self, name: str, node: ir.Call, receiver: ir.Expression, scope: Scope) -> str | None:
        """What a method makes of a path or text."""
        if name == "dirname" and node.arguments:
            inner = self.of(node.arguments[0], scope)
            return None if inner is None else _parent(inner)
        if name not in ("with_suffix", "with_name", "with_stem", "format"):
            return None
        inner = self.of(receiver, scope)
        if inner is None:
            return None
        if name == "format":
            return _FIELD.sub("*", inner)
        given = self.of(node.arguments[0], scope) if node.arguments else None
        given = "*" if given is None or given.startswith("<") else given
        if name == "with_name":
            return posixpath.join(_parent(inner), given)
        stem = inner if inner.endswith(">") else re.sub(r"\.\w+$", "", inner)
        return stem + given if name == "with_suffix" else posixpath.join(_parent(inner), given) + ".*"

    def _returned(self, node: ir.Call, scope: Scope) -> str | None:
        """What a function of the repository returns, with the arguments in place of its parameters."""
        for value in self._resolver.callees(node, scope):
            if not isinstance(value, FunctionOf) or value.scope.function is None:
                continue
            inner = value.scope
            for given, _ in inner.returns:
                found = self.of(given, inner)
                if found is not None:
                    return self.substituted(found, node, inner, scope)
            returned = f"{inner.module.path} {inner.name}()"
            return f"<{returned}>" if _returns_path(inner) else None
        return None

    def substituted(self, pattern: str, call: ir.Call, function: Scope, scope: Scope) -> str:
        """Put the arguments of a call in place of the parameters of a pattern."""

        def argument(match: re.Match[str]) -> str:
            node = argument_of(call, function, int(match.group(1)))
            found = self.of(node, scope) if node is not None else None
            if found is None or (match.start() and found.startswith("<")):
                return "*"
            return found

        return _clean(_PARAMETER.sub(argument, pattern))


def argument_of(call: ir.Call, function: Scope, position: int) -> ir.Expression | None:
    """Return what a call gives for a parameter, by its position in the definition."""
    node = function.function
    if node is None or position >= len(node.parameters):
        return None
    name = node.parameters[position].name
    for keyword in call.keywords:
        if keyword.name == name:
            return keyword.value
    first = node.parameters[0].name
    bound = function.parent is not None and function.parent.kind == "class" and first in ("self", "cls")
    index = position - 1 if bound else position
    if 0 <= index < len(call.arguments) and not any(
        isinstance(each, ir.Spread) for each in call.arguments[: index + 1]
    ):
        return call.arguments[index]
    return None


def _returns_path(scope: Scope) -> bool:
    function = scope.function
    named = last_name(function.returns) if function is not None and function.returns is not None else ""
    return (
        named in ("Path", "PurePath", "PathLike")
        or re.search(r"(?i)path|file(?:name)?$|dir$", scope.own_name) is not None
    )


def _parent(path: str) -> str:
    if path.endswith(">") and "/" not in _ANCHOR.sub("", path):
        return f"{path}/.."
    return posixpath.dirname(path) or "."


def _clean(path: str) -> str:
    path = _WILD.sub("*", path.replace("\\", "/"))
    while path.startswith("./"):
        path = path[2:]
    return re.sub(r"(?<!:)/{2,}", "/", path)


def settled(pattern: str) -> str:
    """A pattern whose parameters are wildcards, but for one at the beginning."""
    first = _PARAMETER.match(pattern)
    start = first.end() if first else 0
    return _clean(pattern[:start] + _PARAMETER.sub("*", pattern[start:]))


def parameters(pattern: str) -> bool:
    """Whether a pattern depends on a parameter of its function."""
    return _PARAMETER.search(pattern) is not None


def unanchored(pattern: str) -> str:
    """The part of a pattern that is a path's text."""
    return _ANCHOR.sub("", pattern)


def is_anchored(pattern: str) -> bool:
    """Whether the beginning of a pattern says where it is."""
    return not pattern.startswith("*")


@lru_cache(maxsize=65536)
def meet(first: str, second: str) -> bool:
    """Whether a path can match both patterns."""
    if not (_agree(first, second) and _agree(first[::-1], second[::-1])):
        return False
    a, b = _tokens(first), _tokens(second)
    seen: set[tuple[int, int]] = set()
    todo = [(0, 0)]
    while todo:
        i, j = todo.pop()
        if (i, j) in seen:
            continue
        seen.add((i, j))
        if i == len(a) and j == len(b):
            return True
        left = a[i] if i < len(a) else ""
        right = b[j] if j < len(b) else ""
        if left in ("*", "**"):
            todo.append((i + 1, j))
            if right and (left == "**" or right != "/"):
                todo.append((i, j + 1))
        if right in ("*", "**"):
            todo.append((i, j + 1))
            if left and (right == "**" or left != "/"):
                todo.append((i + 1, j))
        if left == right and left not in ("", "*", "**"):
            todo.append((i + 1, j + 1))
    return False


def _agree(first: str, second: str) -> bool:
    """Whether two patterns are equal up to the first wildcard of either."""
    a, b = first.partition("*")[0], second.partition("*")[0]
    length = min(len(a), len(b))
    if len(a) == len(first) and len(b) == len(second):
        return a == b
    return a[:length] == b[:length]


def _tokens(pattern: str) -> list[str]:
    return re.findall(r"<[^<>]*>|\*\*|\*|[^*<]|<", pattern)
