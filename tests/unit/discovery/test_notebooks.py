"""Notebooks as modules."""

import json

import pytest

from kedge.discovery.ir import Assign, Branch, Call, Cell, Constant, Do, Import, Module, Name, Text
from kedge.discovery.scan.notebooks import lower_notebook

PYTHON = {"language_info": {"name": "python"}}
TYPESCRIPT = {"kernelspec": {"language": "typescript", "name": "tslab"}, "language_info": {"name": "typescript"}}


def notebook(*cells: str | list[str] | None, metadata: object = PYTHON, **changes: object) -> bytes:
    """A notebook of code cells; null stands for a cell of text."""
    written = [
        {"cell_type": "markdown", "source": "# a"} if cell is None else {"cell_type": "code", "source": cell}
        for cell in cells
    ]
    return json.dumps({"cells": written, "metadata": metadata, "nbformat": 4, **changes}).encode()


def lower(*cells: str | list[str] | None, metadata: object = PYTHON) -> Module:
    (module,) = lower_notebook("a.ipynb", notebook(*cells, metadata=metadata))
    return module


def test_cells_are_one_module_and_map_its_lines() -> None:
    module = lower(["a = 1\n", "b = 2"], None, "c = 3")
    assert module.body == tuple(
        Assign(line, (Name(line, name),), Constant(line, line)) for line, name in enumerate("abc", 1)
    )
    assert module.cells == (Cell(0, 0), Cell(2, 2))
    assert (module.path, module.language, module.errors) == ("a.ipynb", "python", ())


@pytest.mark.parametrize(
    "source",
    [
        "%pip install a",
        "!pip install a",
        "?a",
        "a.b??",
        "x, y = !ls {a}",
        "!a \\\n --b 'c",
        "%%bash\na = (\n",
        "%%html\n<a>",
    ],
)
def test_lines_of_the_shell_are_no_code(source: str) -> None:
    module = lower(source, "a = 1")
    assert module.errors == ()
    (assign,) = module.body
    assert isinstance(assign, Assign)
    assert assign.line == source.count("\n") + 2


def test_code_that_only_looks_like_a_magic_is_read() -> None:
    module = lower("a = (\n'b'\n%(c)\n)\nd = '''\n!e\n'''\nif f != g: h")
    assert module.errors == ()
    first, second, third = module.body
    assert isinstance(first, Assign)
    assert second == Assign(5, (Name(5, "d"),), Text(5, "\n!e\n"))
    assert isinstance(third, Branch)


def test_a_line_of_spaces_takes_no_longer_than_its_length() -> None:
    assert lower(" " * 200_000 + "x").errors == ()


def test_a_magic_in_a_block_leaves_the_block() -> None:
    assert lower("if a:\n    !ls\nb()").errors == ()


def test_timed_cells_are_code() -> None:
    assert lower("%%time\na()").body == (Do(2, Call(2, Name(2, "a"))),)


def test_the_language_is_that_of_the_kernel() -> None:
    module = lower("import { a } from 'b';", "await a();", metadata=TYPESCRIPT)
    assert module.language == "typescript"
    assert module.cells == (Cell(0, 0), Cell(1, 1))
    assert isinstance(module.body[0], Import)
    assert module.body[1] == Do(2, Call(2, Name(2, "a")))
    assert lower("a", metadata={}).language == "python"
    assert lower_notebook("a.ipynb", notebook("a", metadata={"language_info": {"name": "R"}})) == ()


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"cells": ' + b"[" * 100_000 + b"]" * 100_000 + b', "nbformat": 4}',
        b'{"cells": [], "nbformat": 4, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        notebook("a", nbformat=3),
        notebook(cells=[{"cell_type": "code", "source": 1}]),
    ],
)
def test_a_malformed_notebook_is_one_error(source: bytes) -> None:
    assert lower_notebook("a.ipynb", source) == (Module("a.ipynb", "python", (), (1,)),)
