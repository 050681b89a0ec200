"""Jupyter notebooks (nbformat 4) as one module of the notebook's language."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from kedge.discovery.ir import Cell, Module
from kedge.discovery.scan.javascript import lower_javascript
from kedge.discovery.scan.python import lower_python

_FORMAT = 4
_CODE_MAGICS = frozenset({"time", "timeit", "capture", "prun", "typescript", "ts", "javascript"})
"""Cell magics whose cell is code of the notebook's language."""
_CELL_MAGIC = re.compile(r"\s*%%(\w*)")
_MAGIC_LINE = re.compile(
    r"\s*(?:%{1,2}[A-Za-z_]|![^=]|\?|[\w.,\[\]'\"][\w.,\s\[\]'\"]*=\s*[%!](?!=)|[\w.]+\?{1,2}\s*$)"
)


class _CodeCell(msgspec.Struct, frozen=True):
    cell_type: str = ""
    source: str | list[str] = ""


class _Named(msgspec.Struct, frozen=True):
    name: str = ""
    language: str = ""


class _Metadata(msgspec.Struct, frozen=True):
    kernelspec: _Named = _Named()
    language_info: _Named = _Named()


class _Notebook(msgspec.Struct, frozen=True):
    cells: list[_CodeCell]
    nbformat: int
    metadata: _Metadata = _Metadata()


_decoder = msgspec.json.Decoder(_Notebook)


def lower_notebook(path: str, source: bytes) -> tuple[Module, ...]:
    """Lower the code cells of one notebook, in order, to one module; `cells` maps its lines to those of the cells.

    A notebook that is not valid JSON of nbformat 4 gives a module with an error; one in another language gives none.
    """
    try:
        notebook = _decoder.decode(source)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return (Module(path, "python", (), (1,)),)
    if notebook.nbformat != _FORMAT:
        return (Module(path, "python", (), (1,)),)
    language = _language(notebook.metadata)
    if language is None:
        return ()
    cells: list[Cell] = []
    lines: list[str] = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cells.append(Cell(number, len(lines)))
            lines += _code("".join(cell.source), language)
    code = "\n".join(lines).encode("utf-8", "replace")
    module = lower_python(path, code) if language == "python" else lower_javascript(path, code, language)
    return (msgspec.structs.replace(module, cells=tuple(cells)),)


def _language(metadata: _Metadata) -> Literal["python", "javascript", "typescript"] | None:
    """The language of a notebook; Python if it names none."""
    name = (metadata.language_info.name or metadata.kernelspec.language or metadata.kernelspec.name).lower()
    if name.startswith(("python", "ipython")) or not name:
        return "python"
    if name in ("typescript", "tslab", "deno"):
        return "typescript"
    return "javascript" if name in ("javascript", "jslab", "node") else None


def _code(source: str, language: str) -> list[str]:
    """Lines of a cell, as many as it has, without what is no code of the language."""
    lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    magic = _CELL_MAGIC.match(lines[0])
    if magic and magic.group(1) not in _CODE_MAGICS:
        return [""] * len(lines)
    if language != "python":
        return ["" if line.startswith(("%", "!")) else line for line in lines]
    return _without_magics(lines)


def _without_magics(lines: list[str]) -> list[str]:
    """Empty the lines of IPython and of the shell, with those that continue them. A string may hold such lines."""
    kept: list[str] = []
    quote = ""
    continued = False
    for line in lines:
        magic = None if quote else _MAGIC_LINE.match(line)
        if continued or magic:
            continued = line.endswith("\\")
            kept.append("")
        else:
            quote = _open_quote(line, quote)
            kept.append(line)
    return kept


def _open_quote(line: str, quote: str) -> str:
    """The triple quote that is open after a line."""
    for found in re.findall(r"\"\"\"|'''|#.*" if not quote else r"\"\"\"|'''", line):
        if not quote and found[0] != "#":
            quote = found
        elif found == quote:
            quote = ""
    return quote
