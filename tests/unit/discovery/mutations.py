"""Changes of Python code that keep what it does: other names, other aliases, one function more."""

import ast
from collections.abc import Callable, Mapping

Files = Mapping[str, str]
"""Code by path."""


def renamed(files: Files) -> dict[str, str]:
    """Give another name to each variable that only its own file uses."""
    return _changed(files, lambda tree, taken: _Renamed({name: f"{name}_2" for name in _own(tree) - taken}))


def aliased(files: Files) -> dict[str, str]:
    """Import each name under another one."""
    return _changed(files, lambda tree, _taken: _Aliased({name: f"{name}_2" for name in _imported(tree)}))


def moved(files: Files) -> dict[str, str]:
    """Open what a module opens in a function that returns it."""
    return _changed(files, lambda _tree, _taken: _Moved())


def wrapped(files: Files) -> dict[str, str]:
    """Put a function that only passes its arguments on before each function of a module."""
    return _changed(files, lambda _tree, _taken: _Wrapped())


MUTATIONS: dict[str, Callable[[Files], dict[str, str]]] = {
    "renamed": renamed,
    "aliased": aliased,
    "moved": moved,
    "wrapped": wrapped,
}


def _changed(files: Files, change: Callable[[ast.Module, frozenset[str]], ast.NodeTransformer]) -> dict[str, str]:
    changed = dict(files)
    trees = {path: ast.parse(text) for path, text in files.items() if path.endswith(".py")}
    for path, tree in trees.items():
        taken = frozenset(name for other in trees.values() for name in _imported(other))
        changed[path] = ast.unparse(ast.fix_missing_locations(change(tree, taken).visit(tree)))
    return changed


def _imported(tree: ast.Module) -> set[str]:
    """Return the names that imports bind, without submodules."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {each.asname or each.name for each in node.names if "." not in (each.asname or each.name)}
    return found


def _own(tree: ast.Module) -> set[str]:
    """Return the variables that a module or its functions assign, without fields of classes."""
    fields = {
        id(target)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
    }
    stored = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in fields
    }
    return stored - _imported(tree)


class _Renamed(ast.NodeTransformer):
    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.copy_location(ast.Name(self.names.get(node.id, node.id), node.ctx), node)

    def visit_Global(self, node: ast.Global) -> ast.Global:
        return ast.Global([self.names.get(name, name) for name in node.names])


class _Aliased(_Renamed):
    def visit_Import(self, node: ast.Import) -> ast.Import:
        return ast.Import([self._alias(each) for each in node.names])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        return ast.ImportFrom(node.module, [self._alias(each) for each in node.names], node.level)

    def _alias(self, each: ast.alias) -> ast.alias:
        other = self.names.get(each.asname or each.name)
        return each if other is None else ast.alias(each.name, other)


class _Moved(ast.NodeTransformer):
    """`client = open()` of a module becomes `client = make_client()`."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        body: list[ast.stmt] = []
        for statement in node.body:
            if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call | ast.BoolOp):
                target = statement.targets[0]
                if isinstance(target, ast.Name):
                    made = f"make_{target.id}"
                    body.append(_function(made, None, [ast.Return(statement.value)]))
                    statement.value = ast.Call(ast.Name(made, ast.Load()), [], [])
            body.append(statement)
        return ast.Module(body, [])


class _Wrapped(ast.NodeTransformer):
    """`def f(x): …` of a module becomes `def f_inner(x): …` and a function `f` that calls it."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        body: list[ast.stmt] = []
        for statement in node.body:
            body.append(statement)
            if type(statement) is ast.FunctionDef and not statement.decorator_list:
                name, inner = statement.name, f"{statement.name}_inner"
                statement.name = inner
                passed = ast.Call(ast.Name(inner, ast.Load()), _names(statement.args), _keywords(statement.args))
                body.append(_function(name, statement.args, [ast.Return(passed)]))
        return ast.Module(body, [])


def _function(name: str, arguments: ast.arguments | None, body: list[ast.stmt]) -> ast.FunctionDef:
    nothing = ast.arguments([], [], None, [], [], None, [])
    return ast.FunctionDef(name=name, args=arguments or nothing, body=body, decorator_list=[], returns=None)


def _names(arguments: ast.arguments) -> list[ast.expr]:
    return [ast.Name(each.arg, ast.Load()) for each in (*arguments.posonlyargs, *arguments.args)]


def _keywords(arguments: ast.arguments) -> list[ast.keyword]:
    return [ast.keyword(each.arg, ast.Name(each.arg, ast.Load())) for each in arguments.kwonlyargs]
