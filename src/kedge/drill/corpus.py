"""Documents of the drill: the docstrings of Python's standard library."""

import ast
import hashlib
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import msgspec

from kedge.errors import InvalidValue

DOCUMENTS_DEFAULT = 4000
TEXT_CHARACTERS_MAX = 1500
_DOCSTRING_CHARACTERS_MIN = 40
_FOLDERS_LEFT_OUT = {
    "__pycache__", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "dist-packages", "test", "tests",
    "turtledemo",
}  # fmt: skip
_Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Document(msgspec.Struct, frozen=True):
    """One docstring: `id` is its qualified name, `topic` its top-level module, `text` its signature and itself."""

    id: str
    topic: str
    text: str


def read_corpus(limit: int | None = DOCUMENTS_DEFAULT, root: Path | None = None) -> list[Document]:
    """Return up to `limit` documents (None: all), sorted by id; the same ones for the same Python and limit.

    Modules are taken whole, in an order that a hash of their names decides, until there are enough documents. Nothing
    is imported: the sources are parsed. Raise `InvalidValue` if the limit is less than 1 or the sources are missing.
    """
    if limit is not None and limit < 1:
        raise InvalidValue(f"invalid number of documents {limit!r}: must be at least 1; omit it for all")
    folder = root or Path(sysconfig.get_path("stdlib"))
    modules = sorted(_modules(folder, ""), key=lambda item: hashlib.sha256(item[0].encode()).digest())
    documents: dict[str, Document] = {}
    for module, path in modules:
        for document in _documents(module, path):
            documents.setdefault(document.id, document)
        if limit is not None and len(documents) >= limit:
            break
    if not documents:
        raise InvalidValue(f"no docstrings in {str(folder)!r}; use a Python with the sources of its standard library")
    return sorted(list(documents.values())[:limit], key=lambda document: document.id)


def corpus_digest(documents: list[Document]) -> str:
    """Return the SHA-256 over all ids and texts, in order: the name of this training data."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(document.id.encode() + b"\0" + document.text.encode() + b"\0")
    return "sha256:" + digest.hexdigest()


def _modules(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if path.name.isidentifier() and path.name not in _FOLDERS_LEFT_OUT:
                yield from _modules(path, f"{prefix}{path.name}.")
        elif path.suffix == ".py" and path.stem.isidentifier():
            yield (prefix[:-1] if path.stem == "__init__" else prefix + path.stem), path


def _documents(module: str, path: Path) -> Iterator[Document]:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # templates and deliberately broken sources are skipped
        return
    yield from _walk(tree, module, module.partition(".")[0])


def _walk(node: ast.AST, name: str, topic: str) -> Iterator[Document]:
    if isinstance(node, ast.Module | _Documented):
        docstring = ast.get_docstring(node, clean=True)
        if docstring and len(docstring) >= _DOCSTRING_CHARACTERS_MIN:
            yield Document(name, topic, f"{name}{_signature(node)}\n\n{docstring}"[:TEXT_CHARACTERS_MAX])
    for child in getattr(node, "body", ()):
        if isinstance(child, _Documented) and not child.name.startswith("_"):
            yield from _walk(child, f"{name}.{child.name}", topic)


def _signature(node: ast.AST) -> str:
    return f"({ast.unparse(node.args)})" if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else ""


__all__ = ["DOCUMENTS_DEFAULT", "Document", "corpus_digest", "read_corpus"]
