"""Files of a folder in a fixed order, without following symbolic links; what is left out is named."""

import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from kedge.discovery.sites import Unparsed
from kedge.errors import InvalidValue

MOST_BYTES = 2_000_000  # of a file of code or configuration
MOST_NOTEBOOK_BYTES = 20_000_000  # a notebook holds its output, images too
MOST_TOTAL_BYTES = 100_000_000  # of all files: some 2.5 million lines, which a scan holds in memory
_LOOKED_AT = 8_192  # bytes, for whether a file is binary

_HIDDEN = {".git", ".hg", ".svn", "__pycache__"}  # never named: no source
_SKIPPED = {
    **dict.fromkeys(("node_modules", "bower_components", "site-packages"), "installed packages"),
    **dict.fromkeys((".venv", "venv", "virtualenv"), "a virtual environment"),
    **dict.fromkeys(("dist", "build", ".next", "_next", ".nuxt", ".output", ".svelte-kit", ".vercel"), "build output"),
    **dict.fromkeys(
        (".cache", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", ".nox", ".turbo", ".terraform", ".eggs"),
        "a cache",
    ),
}
_MINIFIED = re.compile(r"\.min\.[cm]?js$|\.bundle\.js$")
_TEST_FOLDERS = {"tests", "test", "__tests__", "__mocks__"}
_TEST_FILE = re.compile(r"^test_|^conftest\.py$|_test\.[^.]+$|\.(?:test|spec|e2e)\.[^.]+$")


class File(msgspec.Struct, frozen=True):
    """A file below the root: its path with "/", and its bytes."""

    path: str
    source: bytes


class Walk(msgspec.Struct, frozen=True):
    """Files in the order of their paths, and what was left out."""

    files: tuple[File, ...]
    skipped: tuple[Unparsed, ...]


def suffix(path: str) -> str:
    """Return the end of a file's name from its last dot on, in lower case."""
    name = path.rpartition("/")[2]
    return f".{name.rpartition('.')[2].lower()}" if "." in name[1:] else ""


def is_test(path: str) -> bool:
    """Whether a path is that of a test, by the names that test runners look for."""
    *folders, name = path.split("/")
    return not _TEST_FOLDERS.isdisjoint(folders) or _TEST_FILE.search(name) is not None


def walk(root: Path, *, wanted: Callable[[str], bool], tests: bool = False) -> Walk:
    """Read the files that `wanted` selects. A folder that cannot be opened raises `InvalidValue` if it is the root."""
    if not root.is_dir():
        raise InvalidValue(f"not a folder: {root}: give the folder of a repository")
    files: list[File] = []
    skipped: list[Unparsed] = []
    left = MOST_TOTAL_BYTES
    for path, reason in _paths(root):
        if reason:
            skipped.append(Unparsed(_shown(path), reason))
        elif wanted(path) and (tests or not is_test(path)):
            source = _read(root, path)
            if isinstance(source, bytes) and len(source) > left:
                skipped.append(Unparsed(path, f"skipped: the files before it hold {MOST_TOTAL_BYTES // 1_000_000} MB"))
            elif isinstance(source, bytes):
                left -= len(source)
                files.append(File(path, source))
            else:
                skipped.append(source)
    return Walk(tuple(sorted(files, key=lambda file: file.path)), tuple(sorted(skipped)))


class Wanted:
    """Selects files by the end of the name, or by the whole name."""

    def __init__(self, suffixes: frozenset[str], name: re.Pattern[str]) -> None:
        self._suffixes = suffixes
        self._name = name

    def __call__(self, path: str) -> bool:
        """Whether a file is read."""
        return suffix(path) in self._suffixes or self._name.search(path) is not None


def _paths(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the path of each file with "", and of what is left out with the reason."""
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(root / folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield folder or ".", f"cannot be opened: {error.strerror}"
            continue
        if any(entry.name == "pyvenv.cfg" for entry in inside):
            yield folder or ".", "skipped: a virtual environment"
            continue
        for entry in inside:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_symlink():
                yield path, "skipped: a symbolic link"
            elif entry.is_dir(follow_symlinks=False):
                if entry.name in _SKIPPED:
                    yield path, f"skipped: {_SKIPPED[entry.name]}"
                elif entry.name not in _HIDDEN:
                    folders.append(path)
            elif entry.is_file(follow_symlinks=False):
                yield path, ""
            else:
                yield path, "skipped: not a regular file"


def _read(root: Path, path: str) -> bytes | Unparsed:
    """Return the bytes of a file, or why it is not read."""
    shown = _shown(path)
    if shown != path:
        return Unparsed(shown, "skipped: its name is not UTF-8")
    if _MINIFIED.search(path):
        return Unparsed(path, "skipped: minified")
    most = MOST_NOTEBOOK_BYTES if path.endswith(".ipynb") else MOST_BYTES
    try:
        handle = os.open(root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                return Unparsed(path, "skipped: not a regular file")
            source = file.read(most + 1)
    except OSError as error:
        return Unparsed(path, f"cannot be read: {error.strerror}")
    if len(source) > most:
        return Unparsed(path, f"skipped: larger than {most // 1_000_000} MB")
    if b"\0" in source[:_LOOKED_AT]:
        return Unparsed(path, "skipped: binary")
    return source


def _shown(path: str) -> str:
    """Return a path that can be printed: bytes that are not UTF-8 are escaped."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
