"""Generator of `src/kedge/aio/__init__.pyi`: the types of the async façade, from the signatures of the sync classes.

`python tools/aio_stub.py` writes it (`make stub`); with `--check` it exits with 1 if the file is out of date.
"""

import ast
import builtins
import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
STUB = SOURCE / "kedge" / "aio" / "__init__.pyi"

# The async classes: the sync class of each, and the async twins of what it hands out.
CLASSES = {
    "AsyncArtifacts": "kedge.stores.artifacts.Artifacts",
    "AsyncCache": "kedge.stores.cache.Cache",
    "AsyncContext": "kedge.stores.keyed.Context",
    "AsyncDocuments": "kedge.stores.keyed.Documents",
    "AsyncKeyedView": "kedge.stores.keyed.KeyedView",
    "AsyncValues": "kedge.stores.own.Values",
    "AsyncStore": "kedge.stores.own.Store",
    "AsyncStoreView": "kedge.stores.own.StoreView",
    "AsyncMemory": "kedge.stores.memory.Memory",
    "AsyncMemoryView": "kedge.stores.memory.MemoryView",
    "AsyncVectors": "kedge.stores.vectors.Vectors",
    "AsyncVectorsView": "kedge.stores.vectors.VectorsView",
    "AsyncMember": "kedge.fleet.member.Member",
    "AsyncReadView": "kedge.turns.view.ReadView",
    "AsyncTurn": "kedge.turns.turn.Turn",
    "AsyncPermit": "kedge.turns.permits.Permit",
    "AsyncGuard": "kedge.guard.guard.Guard",
    "AsyncLadder": "kedge.guard.ladder.Ladder",
    "AsyncKedge": "kedge.face.Kedge",
}
TWINS = {path.rpartition(".")[2]: name for name, path in CLASSES.items()} | {
    "VectorBatches": "AsyncBatches",
    "WriteBatch": "AsyncWriteBatch",
}
PARTS = {"view", "guard", "ladder"}  # properties, and methods as such, that hand out an async twin
_FUNCTIONS = {"open", "migrate_store", "compare_stores", "stop", "release"}  # of the module kedge.open
SYNC = {"documents", "vectors", "store", "space", "batch"}  # methods that return a store, or a batch, at once
VIEWED = {"documents": "AsyncKeyedView", "vectors": "AsyncVectorsView", "store": "AsyncStoreView"}
HANDING_OUT = {"AsyncTurn", "AsyncReadView", "AsyncStore", "AsyncStoreView"}
STORES = {
    "AsyncTurn": {"artifacts": "AsyncArtifacts", "memory": "AsyncMemory", "context": "AsyncContext",
                  "cache": "AsyncCache"},
    "AsyncReadView": {"artifacts": "AsyncArtifacts", "memory": "AsyncMemoryView", "context": "AsyncKeyedView"},
}  # fmt: skip
BY_HAND = {
    "AsyncTurn": "    @property\n    def unanswered(self) -> tuple[str, ...]: ...\n",
    "AsyncMember": """\
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: _types.TracebackType | None
    ) -> None: ...
""",
    "AsyncPermit": """\
    act: _kedge_model_rights.Act
    tool: str | None
    reversibility: _kedge_model_rights.Reversibility | None
    approved_by: str | None
    verdict: _kedge_model_rights.Verdict
    level: _kedge_model_levels.Level
    epoch: int
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: _types.TracebackType | None
    ) -> None: ...
""",
    "AsyncKedge": """\
    def __init__(self, opener: _collections_abc.Callable[[], _kedge_face.Kedge], threads: int = ...) -> None: ...
    def __await__(self) -> _collections_abc.Generator[_typing.Any, None, Self]: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: _types.TracebackType | None
    ) -> None: ...
    @property
    def sync(self) -> _kedge_face.Kedge: ...
""",
}
LEFT_OUT = {"AsyncKedge": {"turn", "__enter__", "__exit__"}, "AsyncMember": {"__enter__", "__exit__"},
            "AsyncPermit": {"__enter__", "__exit__"}}  # fmt: skip
BATCHES = """
class AsyncBatches:
    rows: int
    unembedded: int
    size: int
    dim: int
    def __aiter__(self) -> _collections_abc.AsyncIterator[_kedge_stores_batches.VectorRows]: ...

class AsyncWriteBatch:
    @property
    def seqs(self) -> list[int]: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: _types.TracebackType | None
    ) -> None: ...
"""


class Names:
    """Names as the modules of the package use them, each by the module that defines it."""

    def __init__(self) -> None:
        self.modules: set[str] = {"collections.abc", "contextlib", "types", "typing", "kedge.face",
                                  "kedge.stores.batches"}  # fmt: skip

    def find(self, module: str, name: str) -> str:
        """Return a name qualified by the module that defines it."""
        while not hasattr(builtins, name) or name == "open":
            found = _imports(module).get(name)
            if found is None:
                break
            module, name = found
            if not module.startswith("kedge") or not name:
                break
        else:
            return name
        self.modules.add(module)
        return f"{_alias(module)}.{name}" if name else _alias(module)


def _alias(module: str) -> str:
    """Return the name of a module in the stub, which no method of a class has."""
    return f"_{module.replace('.', '_')}"


def _imports(module: str) -> dict[str, tuple[str, str]]:
    """Return what a module imports: by its name there, the module that it is from, and its name in that."""
    if not module.startswith("kedge"):
        return {}
    found: dict[str, tuple[str, str]] = {}
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.asname or alias.name: (alias.name, "") for alias in node.names}
    return found


def _tree(module: str) -> ast.Module:
    file = importlib.import_module(module).__file__
    return ast.parse(Path(str(file)).read_text(encoding="utf-8"))


class _Qualified(ast.NodeTransformer):
    """Qualifies the names of an annotation; `twins` replaces sync classes by their async twins."""

    def __init__(self, names: Names, module: str, *, twins: bool) -> None:
        self._names, self._module, self._twins = names, module, twins

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if self._twins and node.id in TWINS:
            return ast.Name(TWINS[node.id])
        if node.id == "Self":
            return node
        found = self._names.find(self._module, node.id)
        if not self._twins and node.id in {"ReadView", "Turn"}:
            found = f"{TWINS[node.id]} | {found}"
        return ast.parse(found, mode="eval").body

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, str):  # a quoted annotation
            return self.visit(ast.parse(node.value, mode="eval").body)  # type: ignore[no-any-return]
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        if isinstance(node.value, ast.Name) and node.value.id == "Literal":
            return ast.Subscript(self.visit(node.value), node.slice)
        return self.generic_visit(node)  # type: ignore[return-value]


def _members(path: str) -> list[tuple[str, ast.FunctionDef]]:
    """Return the methods of a class and its bases, each with the module that it is from; the nearest first."""
    module, _, name = path.rpartition(".")
    tree = _tree(module)
    kind = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    found = [(module, node) for node in kind.body if isinstance(node, ast.FunctionDef)]
    for base in kind.bases:
        where, real = _imports(module).get(ast.unparse(base), (module, ast.unparse(base)))
        if where.startswith("kedge"):
            found += _members(f"{where}.{real}")
    return found


def _method(names: Names, module: str, node: ast.FunctionDef, *, is_sync: bool) -> str:
    arguments = node.args
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        if argument.annotation is not None:
            argument.annotation = _Qualified(names, module, twins=False).visit(argument.annotation)
    arguments.defaults = [ast.Constant(...) for _ in arguments.defaults]
    arguments.kw_defaults = [None if default is None else ast.Constant(...) for default in arguments.kw_defaults]
    is_property = any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list)
    given = "_typing.Any" if node.returns is None else ast.unparse(
        _Qualified(names, module, twins=not is_property or node.name in PARTS).visit(node.returns)
    )  # fmt: skip
    handler = "_kedge_recovery_replay.Handler"
    parameters = ast.unparse(arguments).replace(
        handler, f"{handler} | _collections_abc.Callable[[AsyncTurn, _kedge_recovery_replay.ReplayInput], _typing.Any]"
    )
    start = "@property\n    def" if is_property else "def" if is_sync else "async def"
    return f"    {start} {node.name}({parameters}) -> {given}: ...\n"


def _class(names: Names, name: str, path: str) -> str:
    lines, seen = [], {"__init__", "__repr__", "__contains__", "__iter__", "__len__"} | LEFT_OUT.get(name, set())
    for store, kind in STORES.get(name, {}).items():
        lines.append(f"    {store}: {kind}\n")
    lines.append(BY_HAND.get(name, ""))
    view = (
        {"documents": "AsyncKeyedView", "vectors": "AsyncVectorsView", "store": "AsyncStoreView"}
        if name == "AsyncReadView"
        else {}
    )
    for module, node in _members(path):
        if node.name in seen or (node.name.startswith("_") and node.name != "__getitem__"):
            continue
        if name == "AsyncTurn" and node.name in {"__enter__", "__exit__", "close"}:
            continue
        seen.add(node.name)
        line = _method(names, module, node, is_sync=node.name in SYNC and name in HANDING_OUT)
        lines.append(line if node.name not in view else line.replace(f"-> {line.split('-> ')[1]}",
                     f"-> {view[node.name]}: ...\n"))  # fmt: skip
    return f"\nclass {name}:\n{''.join(lines) or '    ...'}"


def _turn(names: Names) -> str:
    module, node = next((m, n) for m, n in _members("kedge.face.Kedge") if n.name == "turn")
    line = _method(names, module, node, is_sync=True)
    return line.replace("-> AsyncTurn", "-> _contextlib.AbstractAsyncContextManager[AsyncTurn]")


def _functions(names: Names) -> str:
    made = []
    for node in _tree("kedge.open").body:
        if isinstance(node, ast.FunctionDef) and node.name in _FUNCTIONS:
            if node.name == "open":
                node.args.kwonlyargs.append(ast.arg("threads", ast.Name("int")))
                node.args.kw_defaults.append(ast.Constant(32))
                node.returns = ast.Name("Kedge")
            made.append(_method(names, "kedge.open", node, is_sync=node.name == "open").strip() + "\n")
    return "".join(made) + "def current_turn() -> AsyncTurn | None: ...\n"


def stub() -> str:
    """Return the text of the stub."""
    names = Names()
    classes = "".join(_class(names, name, path) for name, path in CLASSES.items()) + _turn(names)
    functions = _functions(names)
    imports = "".join(f"import {module} as {_alias(module)}\n" for module in sorted(names.modules))
    head = "# Types of the async façade, written by tools/aio_stub.py: run `make stub` after a signature has changed.\n"
    constants = "\nTHREADS: int\nTURN_THREADS: int\nTHREADS_MAX: int\n\n"
    return f"{head}{imports}from typing import Self\n{constants}{functions}{BATCHES}{classes}"


def main(arguments: list[str]) -> int:
    """Write the stub, or check it."""
    text = stub()
    if "--check" in arguments:
        if not STUB.exists() or STUB.read_text(encoding="utf-8") != text:
            print(f"{STUB.relative_to(ROOT)} is out of date; run `make stub`", file=sys.stderr)
            return 1
        return 0
    STUB.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
