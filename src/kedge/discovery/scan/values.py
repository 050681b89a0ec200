"""Abstract values: what an expression of the scanned code can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from kedge.discovery.scan.scopes import Scope
from kedge.discovery.sites import Confidence, StateKind


@dataclass(frozen=True, slots=True)
class Library:
    """A name of a package outside the repository, or what it gives: `redis.asyncio.Redis`, `pkg:Client().db`.

    `()` in the path is the result of a call.
    """

    path: str

    def member(self, name: str) -> Library:
        """Return the member of this name."""
        if self.path.endswith(":"):
            return Library(self.path + name)
        return Library(f"{self.path}.{name}")

    def result(self) -> Library:
        """Return what a call of it gives."""
        return Library(("%sdefault()" if self.path.endswith(":") else "%s()") % self.path)


@dataclass(frozen=True, slots=True)
class Handle:
    """A handle to a store, of an abstract type that rules name.

    `origin`: path and line where it was opened; empty where only an annotation says what it is.
    """

    type: str
    store: str
    kind: StateKind
    target: str = ""
    origin: tuple[str, int] | None = None
    confidence: Confidence = "high"


@dataclass(frozen=True, slots=True)
class Method:
    """A member of a handle that no rule gives a type: its method, perhaps behind namespaces (`beta.threads`)."""

    handle: Handle
    name: str


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance of a class of the repository."""

    scope: Scope


@dataclass(frozen=True, slots=True)
class ClassOf:
    """A class of the repository."""

    scope: Scope


@dataclass(frozen=True, slots=True)
class FunctionOf:
    """A function of the repository; `receiver`: the class or instance that it was taken from."""

    scope: Scope
    receiver: Instance | ClassOf | None = None


@dataclass(frozen=True, slots=True)
class ModuleOf:
    """A module of the repository, or a folder of modules, by path."""

    path: str


@dataclass(frozen=True, slots=True)
class Box:
    """A list, dict or other container: what it holds, and under which key where that is known."""

    items: tuple[tuple[str | int | None, Value], ...]

    def at(self, key: str | int | None) -> tuple[Value, ...]:
        """Return what a key holds; all that any holds, where the key is not known."""
        found = tuple(value for name, value in self.items if name == key and key is not None)
        return found or tuple(value for name, value in self.items if key is None or name is None)

    def all(self) -> tuple[Value, ...]:
        """Return all that it holds."""
        return tuple(value for _, value in self.items)


Value: TypeAlias = Library | Handle | Method | Instance | ClassOf | FunctionOf | ModuleOf | Box
Values: TypeAlias = tuple[Value, ...]

LONGEST = 200
"""Characters of a library's path after which a chain of calls is not followed."""

LIMIT = 40
"""Alternatives that are kept of one expression."""


def union(*groups: Values) -> Values:
    """Return all alternatives, each once, in order."""
    return tuple(dict.fromkeys(value for group in groups for value in group))[:LIMIT]
