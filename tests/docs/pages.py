"""Parser of documentation pages, and a runner that follows one page from top to bottom.

The info string of a fence selects what happens to its block:

    ```python                   run; all Python of a page is one script. `expression  # -> repr` is checked
    ```python no-run: reason    skipped, for that reason
    ```console                  each `$ kedge …` is run. The lines below it must appear in its output, in order. It must
                                exit with 0, or with the number shown under `$ echo $?`
    ```json                     below a ```console block: the shape of what its last command printed; "…" is any value
    ```toml name.toml           written to that file; so are ```python name.py and ```ini name.env

In what is shown, `…` matches anything.
"""

import ast
import io
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import kedge
from kedge.cli import main

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^( *)```(\w*) *(.*)$")
SHOWN = re.compile(r"# -> (.*)$")


class Block(NamedTuple):
    """One fenced block: its language, the rest of its info string, its text and the line its text begins at."""

    language: str
    info: str
    text: str
    line: int


def find_pages() -> list[Path]:
    """Return the README and every page under docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def find_blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in order."""
    return list(_split(page.read_text(encoding="utf-8").splitlines()))


def _split(lines: list[str]) -> Iterator[Block]:
    opened: tuple[str, str, str, int] | None = None
    body: list[str] = []
    for number, line in enumerate(lines, start=1):
        fence = FENCE.match(line)
        if opened is None:
            if fence is not None:
                opened, body = (fence[1], fence[2], fence[3].strip(), number + 1), []
        elif fence is not None and not fence[2]:
            indent, language, info, first = opened
            text = "".join(f"{text.removeprefix(indent)}\n" for text in body)
            yield Block(language, info, text, first)
            opened = None
        else:
            body.append(line)
    assert opened is None, f"the fence before line {opened[3]} is never closed"


def is_file(block: Block) -> bool:
    """Say whether a block is the content of a file that it names."""
    return block.language in {"toml", "python", "ini"} and bool(re.fullmatch(r"\w[\w.-]*\.(toml|py|env)", block.info))


def is_run(block: Block) -> bool:
    """Say whether a Python block is part of its page's script."""
    return block.language == "python" and not block.info.startswith("no-run") and not is_file(block)


class Reader:
    """Runs one page from top to bottom, in a folder of its own."""

    def __init__(self, page: Path, folder: Path) -> None:
        self._page = page
        self._folder = folder
        self._names: dict[str, Any] = {"__name__": "__docs__", "_shows": self._check_shown}
        self._unchecked: set[int] = set()
        self._printed = ""

    def follow(self) -> None:
        """Run, check or write each block; close what the page leaves open, whose threads would go on."""
        try:
            self._follow()
        finally:
            if "openfeature.api" in sys.modules:
                sys.modules["openfeature.api"].shutdown()
            for opened in [each for each in self._names.values() if isinstance(each, kedge.Kedge)]:
                opened.close()

    def _follow(self) -> None:
        for block in find_blocks(self._page):
            if is_run(block):
                self._run_python(block)
            elif block.language == "console":
                self._run_console(block)
            elif block.language == "json":
                self._compare_shape(block)
            elif is_file(block):
                (self._folder / block.info).write_text(block.text, encoding="utf-8")
        assert not self._unchecked, f"{self._page.name}: the result in line {min(self._unchecked)} is never reached"

    def _run_python(self, block: Block) -> None:
        tree = ast.parse("\n" * (block.line - 1) + block.text, str(self._page))
        shows = _Shows(block)
        tree = shows.visit(tree)
        assert not shows.left, f"{self._page.name}:{shows.left[0] + block.line}: `# ->` follows no expression"
        self._unchecked |= shows.checked
        exec(compile(ast.fix_missing_locations(tree), str(self._page), "exec"), self._names)

    def _check_shown(self, value: object, said: str, line: int) -> None:
        self._unchecked.discard(line)
        assert _pattern(said).fullmatch(repr(value)), f"the page says {said}, but it is {value!r}"

    def _run_console(self, block: Block) -> None:
        for line, typed, shown, code in _typed(block):
            if not typed.startswith("kedge "):
                continue
            where = f"{self._page.name}:{line}: $ {typed}"
            found, self._printed, told = _type(typed)
            printed = told + self._printed  # progress comes before the result
            assert found == code, f"{where}\nexit code {found}, not {code}:\n{printed}"
            missing = _first_missing(shown, printed)
            assert missing is None, f"{where}\nnever prints {missing!r}, but:\n{printed}"

    def _compare_shape(self, block: Block) -> None:
        wrong = _shape_differs(json.loads(block.text), json.loads(self._printed), "$")
        assert wrong is None, f"{self._page.name}:{block.line}: {wrong}; it printed:\n{self._printed}"


# ── Python ──


class _Shows(ast.NodeTransformer):
    """Turns `expression  # -> repr`, or the same with the comment on the next line, into a check."""

    def __init__(self, block: Block) -> None:
        self.checked: set[int] = set()
        self._first = block.line
        self._said: dict[int, str] = {}
        for number, line in enumerate(block.text.splitlines()):
            if found := SHOWN.search(line):
                alone = line.lstrip().startswith("# ->")
                self._said[number - alone] = found[1].strip()

    @property
    def left(self) -> list[int]:
        """The lines whose comment follows no expression."""
        return sorted(self._said)

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        line = node.end_lineno or node.lineno
        said = self._said.pop(line - self._first, None)
        if said is None:
            return node
        self.checked.add(line)
        check = ast.Call(ast.Name("_shows", ast.Load()), [node.value, ast.Constant(said), ast.Constant(line)], [])
        return ast.copy_location(ast.Expr(check), node)


def _pattern(shown: str) -> re.Pattern[str]:
    """Return what matches a shown line: `…` matches all, a run of blanks any other."""
    parts = (r"\s+".join(re.escape(word) for word in re.split(r"\s+", part)) for part in shown.split("…"))
    return re.compile(".*".join(parts))


# ── console ──


def _type(typed: str) -> tuple[int, str, str]:
    """Run a command in this process with an empty stdin; return its exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with (
        Path(os.devnull).open(encoding="utf-8") as nobody,
        mock.patch.object(sys, "stdin", nobody),
        mock.patch.dict(os.environ, {"NO_COLOR": "1", "COLUMNS": "200", "TERM": "dumb"}),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        code = main.main(shlex.split(typed)[1:])
    return code, out.getvalue(), err.getvalue()


def _typed(block: Block) -> Iterator[tuple[int, str, list[str], int]]:
    """Return each command: its line, its text, the output shown below it, and its exit code."""
    found: list[tuple[int, str, list[str]]] = []
    for offset, text in enumerate(block.text.splitlines()):
        if text.startswith("$ "):
            found.append((block.line + offset, text[2:].strip(), []))
        elif text.startswith("> ") and found and found[-1][1].endswith("\\"):
            line, typed, shown = found[-1]
            found[-1] = (line, typed.removesuffix("\\") + text[2:].strip(), shown)
        elif text.strip() and found:
            found[-1][2].append(text.strip())
    for position, (line, typed, shown) in enumerate(found):
        following = found[position + 1] if position + 1 < len(found) else None
        asked = following is not None and following[1] == "echo $?"
        yield line, typed, shown, int(following[2][0]) if asked and following is not None else 0


def _first_missing(shown: list[str], printed: str) -> str | None:
    """Return the first shown line that is missing from the printed ones, in their order; None if none is."""
    lines = iter(printed.splitlines())
    for line in shown:
        if line != "…" and not any(_pattern(line).fullmatch(text.strip()) for text in lines):
            return line
    return None


# ── JSON ──


def _shape_differs(said: object, found: object, path: str) -> str | None:
    """Return where a value differs from the documented keys and types, or None. null and "…" match anything."""
    if said is None or said == "…" or found is None:
        return None
    if isinstance(said, dict) and isinstance(found, dict):
        if said.keys() != found.keys():
            return f"{path} has the keys {sorted(found)}, not {sorted(said)}"
        wrong = (_shape_differs(said[key], found[key], f"{path}.{key}") for key in said)
        return next((text for text in wrong if text is not None), None)
    if isinstance(said, list) and isinstance(found, list):
        pairs = zip(said[:1], found[:1], strict=False)
        return next((text for a, b in pairs if (text := _shape_differs(a, b, f"{path}[0]")) is not None), None)
    numbers = (int, float)
    alike = type(said) is type(found) or (
        isinstance(said, numbers) and isinstance(found, numbers) and bool not in {type(said), type(found)}
    )
    return None if alike else f"{path} is {found!r:.60}, documented as {said!r:.60}"
