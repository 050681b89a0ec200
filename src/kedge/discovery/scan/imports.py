"""Modules of the repository by import: packages, relative imports, JavaScript specifiers."""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Iterable, Mapping

from kedge.discovery.scan.javascript_modules import ScriptModules


class Imports:
    """Finds the module that an import names. Paths are relative to the root of the scan."""

    def __init__(
        self,
        paths: Iterable[str],
        packages: frozenset[str] = frozenset(),
        configuration: Mapping[str, bytes] | None = None,
    ) -> None:
        """Index the paths of all modules.

        `packages`: top names of known libraries, which a file beside the importer does not shadow. `configuration`:
        contents of `tsconfig.json`, `package.json` and the like, by path.
        """
        self.paths = frozenset(paths)
        self._scripts = ScriptModules(self.paths, configuration)
        self.packages = packages
        self.folders: set[str] = set()
        for path in self.paths:
            folder = posixpath.dirname(path)
            while folder not in self.folders:
                self.folders.add(folder)
                folder = posixpath.dirname(folder)
        self._bases = self._python_bases()
        self._found: dict[tuple[str, str, int], str | None] = {}

    def _python_bases(self) -> dict[str, tuple[str, ...]]:
        """Return, for each top name, the folders that can stand on the import path and hold it, shortest first."""
        bases: dict[str, set[str]] = {}
        for path in self.paths:
            if path.endswith(".py"):
                name = posixpath.basename(path)[:-3]
                folder = posixpath.dirname(path)
                if name == "__init__":
                    name, folder = posixpath.basename(folder), posixpath.dirname(folder)
                while name:
                    if not self._is_package(folder):
                        bases.setdefault(name, set()).add(folder)
                    name, folder = posixpath.basename(folder), posixpath.dirname(folder)
        return {name: tuple(sorted(found, key=lambda base: (base.count("/"), base))) for name, found in bases.items()}

    def _is_package(self, folder: str) -> bool:
        return folder != "" and f"{folder}/__init__.py" in self.paths

    def python(self, importer: str, module: str, level: int) -> str | None:
        """Return the path of a Python module or folder that a file imports, or None if it is not of the repository."""
        key = (posixpath.dirname(importer), module, level)
        if key not in self._found:
            self._found[key] = self._python(importer, module, level)
        return self._found[key]

    def _python(self, importer: str, module: str, level: int) -> str | None:
        folder = posixpath.dirname(importer)
        inner = module.replace(".", "/")
        if level:
            for _ in range(level - 1):
                folder = posixpath.dirname(folder)
            return self.python_at(posixpath.join(folder, inner) if inner else folder)
        top, _, rest = module.partition(".")
        bases = self._bases.get(top, ())
        near = [base for base in bases if _contains(base, folder)]
        for base in sorted(near, key=lambda base: -base.count("/") if base else 1):
            found = self.python_at(posixpath.join(base, inner))
            shadows = not rest and top in self.packages and found == posixpath.join(folder, f"{top}.py")
            if found is not None and not shadows:
                return found
        far = [base for base in bases if base not in near]
        found_far = [path for base in far if (path := self.python_at(posixpath.join(base, inner))) is not None]
        if top in self.packages:
            return None
        return found_far[0] if len(found_far) == 1 else self._beside_script(importer, inner)

    def _beside_script(self, importer: str, inner: str) -> str | None:
        """Return a module in the folder of a script: Python looks there first, even if the folder is a package."""
        if inner.partition("/")[0] in sys.stdlib_module_names:
            return None
        folder = posixpath.dirname(importer)
        while folder:
            found = self.python_at(posixpath.join(folder, inner))
            if found is not None and found != importer:
                return found
            folder = posixpath.dirname(folder)
        return None

    def python_at(self, stem: str) -> str | None:
        """Return the module at a path without its ending: a file, a package, or a folder of modules."""
        for path in (f"{stem}.py", posixpath.join(stem, "__init__.py")):
            if path in self.paths:
                return path
        return stem if stem in self.folders else None

    def script(self, importer: str, specifier: str) -> str | None:
        """Return the path of a JavaScript or TypeScript module that a file imports, or None if it is a package's."""
        return self._scripts.resolve(specifier, importer)


def _contains(base: str, folder: str) -> bool:
    return base in {"", folder} or folder.startswith(f"{base}/")
