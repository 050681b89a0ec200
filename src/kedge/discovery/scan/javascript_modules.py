"""Resolution of JavaScript and TypeScript imports to files of the repository.

Read are the `paths` and `baseUrl` of `tsconfig.json` and `jsconfig.json`, with what they extend, and the names,
`exports`, `imports` and workspaces of `package.json`. Where a repository has no such file for an import, the usual
meanings of `@/` and `~/` are tried: the nearest folder above that has the rest of the path.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

ENDS: Final = (".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs")
"""Endings that an import may leave out, in the order in which they are tried."""

CONFIGURATION: Final = re.compile(r"(?:^|/)(?:[tj]sconfig[^/]*\.json|package\.json|pnpm-workspace\.yaml)$")
"""Paths of the files that `ScriptModules` reads."""

_SOURCES: Final = {".js": (".ts", ".tsx", ".jsx"), ".jsx": (".tsx",), ".mjs": (".mts",), ".cjs": (".cts",)}
_BUILT: Final = re.compile(r"(?:^|(?<=/))(?:dist|build|lib|out|esm|cjs)(?:/(?:esm|cjs|src))?/")
_COMMENT: Final = re.compile(r'("(?:\\.|[^"\\\n])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_PACKAGE: Final = re.compile(
    r"(?:npm:/?|jsr:/?|https://(?:esm\.sh|cdn\.skypack\.dev)/(?:v\d+/)?)?"
    r"(?P<name>@[\w.-]+/[\w.-]+|[\w.-]+)(?:@[^/?]+)?(?P<inner>/[^?]*)?(?:\?.*)?"
)
_COMMA: Final = re.compile(r'("(?:\\.|[^"\\\n])*")|,(?=\s*[}\]])')
_LOCAL: Final = ("workspace:", "file:", "link:", "portal:")
_CONDITIONS: Final = ("source", "import", "node", "module", "default", "require", "types")
_MAX_EXTENDS: Final = 8


def package_name(specifier: str) -> str:
    """Return the name that rules have for a package, however it is imported.

    >>> package_name("npm:openai@4"), package_name("https://esm.sh/@supabase/supabase-js@2.39?target=deno")
    ('openai', '@supabase/supabase-js')
    >>> package_name("firebase/firestore.js"), package_name("discord.js")
    ('firebase/firestore', 'discord.js')
    """
    match = _PACKAGE.fullmatch(specifier)
    if match is None:
        return specifier
    inner = match["inner"] or ""
    return match["name"] + (inner.removesuffix(".js").removesuffix(".mjs"))


class _Alias(msgspec.Struct, frozen=True):
    """One entry of `paths`: what stands before and after its `*`, and the targets from the root of the scan."""

    before: str
    after: str | None
    targets: tuple[str, ...]


class _Package(msgspec.Struct, frozen=True):
    """One `package.json`."""

    folder: str
    name: str
    entries: tuple[str, ...]
    exports: tuple[_Alias, ...]
    imports: tuple[_Alias, ...]
    local: frozenset[str]
    workspaces: tuple[str, ...]


class ScriptModules:
    """Finds the file that an import of JavaScript names. Paths are relative to the root of the scan."""

    def __init__(self, paths: Iterable[str], configuration: Mapping[str, bytes] | None = None) -> None:
        """Index the paths of all modules. `configuration`: contents of the files of `CONFIGURATION`, by path."""
        self._paths = frozenset(paths)
        self._texts = configuration or {}
        self._aliases: dict[str, list[_Alias]] = {}
        self._bases: dict[str, list[str]] = {}
        self._packages: dict[str, _Package] = {}
        for path in sorted(self._texts, key=lambda path: (posixpath.basename(path) not in _MAIN, path)):
            name = posixpath.basename(path)
            if name == "package.json":
                package = _read_package(path, self._texts[path])
                self._packages[package.folder] = package
            elif name.endswith(".json"):
                self._read_tsconfig(path)
        self._members = self._workspaces()
        self._found: dict[tuple[str, str], str | None] = {}

    def resolve(self, specifier: str, importer: str) -> str | None:
        """Return the path of the module that a file imports, or null if it is no file of the repository."""
        folder = posixpath.dirname(importer)
        key = (folder, specifier)
        if key not in self._found:
            self._found[key] = self._resolve(specifier, folder)
        return self._found[key]

    def _resolve(self, specifier: str, folder: str) -> str | None:
        if specifier.startswith("."):
            return self.at(posixpath.join(folder, specifier))
        if specifier.startswith("/"):
            return self._first(posixpath.join(base, specifier[1:]) for base in _above(folder))
        for found in (self._aliased(specifier, folder), self._packaged(specifier, folder)):
            if found is not None:
                return found
        return self._usual(specifier, folder)

    def at(self, stem: str) -> str | None:
        """Return the module at a path: with its ending, without it, or the index of a folder."""
        stem = posixpath.normpath(stem)
        root, end = posixpath.splitext(stem)
        candidates = [stem, *(root + other for other in _SOURCES.get(end, ()))]
        candidates += [stem + other for other in ENDS]
        candidates += [posixpath.join(stem, "index") + other for other in ENDS]
        return next((path for path in candidates if path in self._paths), None)

    def _first(self, stems: Iterable[str]) -> str | None:
        return next((found for stem in stems if (found := self.at(stem)) is not None), None)

    # ------------------------------------------------------------ tsconfig

    def _read_tsconfig(self, path: str) -> None:
        folder = posixpath.dirname(path)
        for config, options in self._extended(path):
            origin = posixpath.dirname(config)
            base = options.get("baseUrl")
            if isinstance(base, str):
                origin = posixpath.join(origin, base)
                self._bases.setdefault(folder, []).append(origin)
            paths = options.get("paths")
            if isinstance(paths, dict):
                self._aliases.setdefault(folder, []).extend(_aliases(paths, origin))

    def _extended(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The compiler options of a file and of those that it extends or refers to, nearest first."""
        waiting, seen = [path], {path}
        while waiting and len(seen) <= _MAX_EXTENDS:
            config = waiting.pop(0)
            content = _json(self._texts[config])
            options = content.get("compilerOptions")
            yield config, options if isinstance(options, dict) else {}
            given = content.get("extends")
            for name in [given] if isinstance(given, str) else given if isinstance(given, list) else []:
                near = posixpath.normpath(posixpath.join(posixpath.dirname(config), str(name)))
                for other in (near, f"{near}.json", posixpath.join(near, "tsconfig.json")):
                    if other in self._texts and other not in seen:
                        seen.add(other)
                        waiting.append(other)

    def _aliased(self, specifier: str, folder: str) -> str | None:
        for above in _above(folder):
            found = self._match(self._aliases.get(above, ()), specifier)
            if found is None:
                found = self._first(posixpath.join(base, specifier) for base in self._bases.get(above, ()))
            if found is not None:
                return found
        return None

    def _match(self, aliases: Iterable[_Alias], specifier: str) -> str | None:
        """The longest pattern that fits decides; an exact name is the longest of all."""
        for alias in sorted(aliases, key=lambda alias: (alias.after is not None, -len(alias.before))):
            if alias.after is None:
                stems = alias.targets if specifier == alias.before else ()
            elif specifier.startswith(alias.before) and specifier.endswith(alias.after):
                star = specifier[len(alias.before) : len(specifier) - len(alias.after)]
                stems = tuple(target.replace("*", star) for target in alias.targets)
            else:
                continue
            found = self._first(other for stem in stems for other in _sources(stem))
            if found is not None:
                return found
        return None

    # ------------------------------------------------------------ packages of the repository

    def _workspaces(self) -> dict[str, _Package]:
        """Packages that others of the repository can import, by name."""
        roots = [(package.folder, package.workspaces) for package in self._packages.values() if package.workspaces]
        for path, text in self._texts.items():
            if posixpath.basename(path) == "pnpm-workspace.yaml":
                globs = re.findall(r"^[ \t]*-\s*['\"]?([^'\"\s#]+)", text.decode("utf-8", "replace"), re.MULTILINE)
                roots.append((posixpath.dirname(path), tuple(globs)))
        wanted = [_glob(posixpath.normpath(posixpath.join(root, glob))) for root, globs in roots for glob in globs]
        return {
            package.name: package
            for folder, package in sorted(self._packages.items())
            if package.name and any(pattern.fullmatch(folder) for pattern in wanted)
        }

    def _packaged(self, specifier: str, folder: str) -> str | None:
        own = next((self._packages[above] for above in _above(folder) if above in self._packages), None)
        if specifier.startswith("#"):
            return None if own is None else self._match(own.imports, specifier)
        parts = specifier.split("/")
        size = 2 if specifier.startswith("@") else 1
        name, rest = "/".join(parts[:size]), "/".join(parts[size:])
        package = self._members.get(name)
        if package is None and own is not None and name in own.local:
            package = next((other for other in self._packages.values() if other.name == name), None)
        if package is None:
            return None
        found = self._match(package.exports, f"./{rest}" if rest else ".")
        if found is not None:
            return found
        stems = [rest, f"src/{rest}"] if rest else [*package.entries, "src/index", "index"]
        return self._first(other for stem in stems for other in _sources(posixpath.join(package.folder, stem)))

    # ------------------------------------------------------------ without configuration

    def _usual(self, specifier: str, folder: str) -> str | None:
        prefix, _, rest = specifier.partition("/")
        if not rest:
            return None
        if prefix in {"@", "~", "#"}:
            inner = rest
        elif prefix == "$lib":
            inner = f"lib/{rest}"
        elif prefix in {"src", "app"}:
            inner = specifier
        else:
            return None
        return self._first(posixpath.join(base, part, inner) for base in _above(folder) for part in ("", "src"))


_MAIN: Final = frozenset({"tsconfig.json", "jsconfig.json"})


def _above(folder: str) -> Iterator[str]:
    """A folder and those above it, nearest first."""
    while True:
        yield folder
        if not folder:
            return
        folder = posixpath.dirname(folder)


def _json(text: bytes) -> dict[str, Any]:
    """Read JSON with comments and trailing commas; a broken file is empty."""
    cleaned = _COMMENT.sub(r"\1", text.decode("utf-8-sig", "replace"))
    try:
        content = json.loads(_COMMA.sub(r"\1", cleaned))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _aliases(paths: Mapping[str, Any], origin: str) -> list[_Alias]:
    result: list[_Alias] = []
    for pattern, given in paths.items():
        targets = [target for target in ([given] if isinstance(given, str) else given or []) if isinstance(target, str)]
        before, star, after = pattern.partition("*")
        joined = tuple(posixpath.join(origin, target) for target in targets)
        result.append(_Alias(before, after if star else None, joined))
    return result


def _sources(stem: str) -> Iterator[str]:
    """A path, and the sources of which it may be built: `dist/a.js` of `src/a.ts`."""
    yield stem
    for source in ("src/", ""):
        other = _BUILT.sub(source, stem, count=1)
        if other != stem:
            yield other.replace(".d.ts", ".ts")


def _glob(pattern: str) -> re.Pattern[str]:
    text = re.escape(pattern).replace(r"\*\*", "\0").replace(r"\*", "[^/]*").replace("\0", ".*")
    return re.compile(text)


def _read_package(path: str, text: bytes) -> _Package:
    content = _json(text)
    folder = posixpath.dirname(path)
    named = content.get("name")
    entries = [content.get(field) for field in ("source", "module", "main", "types")]
    spaces = content.get("workspaces")
    spaces = spaces.get("packages") if isinstance(spaces, dict) else spaces
    local: set[str] = set()
    for field in ("dependencies", "devDependencies", "peerDependencies"):
        group = content.get(field)
        if isinstance(group, dict):
            local.update(name for name, version in group.items() if str(version).startswith(_LOCAL))
    return _Package(
        folder,
        named if isinstance(named, str) else "",
        tuple(entry for entry in entries if isinstance(entry, str)),
        tuple(_aliases(_entries(content.get("exports")), folder)),
        tuple(_aliases(_entries(content.get("imports")), folder)),
        frozenset(local),
        tuple(space for space in spaces if isinstance(space, str)) if isinstance(spaces, list) else (),
    )


def _entries(content: Any) -> dict[str, list[str]]:
    """The targets of `exports` or `imports` by name, whatever their conditions."""
    if isinstance(content, dict) and all(str(name).startswith((".", "#")) for name in content):
        return {str(name): list(_targets(target)) for name, target in content.items()}
    return {".": list(_targets(content))} if content is not None else {}


def _targets(target: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(target, str):
        yield target
    elif isinstance(target, dict) and depth < _MAX_EXTENDS:
        for condition in sorted(target, key=_rank):
            yield from _targets(target[condition], depth + 1)
    elif isinstance(target, list) and depth < _MAX_EXTENDS:
        for item in target:
            yield from _targets(item, depth + 1)


def _rank(condition: str) -> int:
    return _CONDITIONS.index(condition) if condition in _CONDITIONS else len(_CONDITIONS)
