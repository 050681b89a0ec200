"""State in files without a library: what one function writes and another, or a later run, reads back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from kedge.discovery.scan.local.accesses import Access, Accesses, is_passing
from kedge.discovery.scan.local.paths import Paths, is_anchored, meet, parameters, settled, unanchored
from kedge.discovery.scan.local.words import CACHES, names, words
from kedge.discovery.scan.program import Program
from kedge.discovery.scan.scopes import CallSite, Scope
from kedge.discovery.sites import Evidence, Site

_ROUNDS = 3
"""Functions, one calling the other, through which a path is handed on."""
_CALLERS = 40
_CONFIGURED = re.compile(
    r"(?i)(?:^|/)(?:\.env[^/]*|[^/]*(?:config|settings|credential|token|secret|cookie|auth)[^/]*)$"
)
_PROMPT_FILE = re.compile(r"\.(?:md|txt|j2|jinja2?|prompt|ya?ml|mustache|hbs)$")
_UPLOADED = re.compile(r"(?i)(?:^|/)uploads?(?:/|$)")
_WRITERS = names("words", "writers")
_READERS = names("words", "readers")
_ATTRIBUTE = re.compile(r"<([^<>]+) ([^<> ]+)\.[^<>. ]+>")
_GENERIC = frozenset(("*", "**", "*/*", "*.*"))


def file_sites(program: Program) -> Iterator[Site]:
    """Find the writes of files that something reads back, and the objects that do them."""
    finder = _Finder(program)
    yield from finder.sites()


class _Finder:
    def __init__(self, program: Program) -> None:
        self._resolver = program.resolver
        self._paths = Paths(program.resolver)
        accesses = Accesses(self._paths)
        self._accesses = [access for scope in self._resolver.scopes for access in accesses.of(scope)]

    def sites(self) -> Iterator[Site]:
        known = self._handed_on()
        reads = _Reads(each for each in known if each.what == "read" and not parameters(each.pattern))
        written: dict[int, list[tuple[Access, Access]]] = {}
        done: set[tuple[str, int]] = set()
        for write in known:
            if write.what == "write" and _worth(write.pattern) and self._is_one_file(write):
                read = reads.of(write)
                place = (write.scope.module.path, write.line)
                if read is not None and place not in done:
                    done.add(place)
                    yield _site(write, read, write.line, "write", write.scope)
                    yield from _helpers(write, read, done)
                    if write.through is None:
                        written.setdefault(id(write.scope), []).append((write, read))
        for pairs in written.values():
            yield from self._through(pairs[0], done)
        yield from self._prompts(known)

    def _prompts(self, known: list[Access]) -> Iterator[Site]:
        """Prompts that are read from files which nothing here writes."""
        writes = {each.pattern for each in known if each.what == "write"}
        for read in known:
            if not _is_prompt(read) or any(meet(each, read.pattern) for each in writes):
                continue
            yield _prompt(read)

    def _is_one_file(self, write: Access) -> bool:
        """Whether an attribute that is the whole path is of the object that writes; values have paths of their own."""
        whole = _ATTRIBUTE.fullmatch(write.pattern)
        if whole is None:
            return True
        owner = write.scope.owner()
        line = () if owner is None else self._resolver.classes.line(owner)[0]
        return any((each.module.path, each.name) == whole.groups() for each in line)

    def _handed_on(self) -> list[Access]:
        """All accesses; those of a path that is a parameter also where the callers give it."""
        found = list(self._accesses)
        turn = [each for each in found if parameters(each.pattern)]
        seen: set[tuple[int, int, str, str]] = set()
        for number in range(_ROUNDS):
            handed: list[Access] = []
            for access in turn:
                for site in self._callers(access.scope):
                    pattern = settled(self._paths.substituted(access.pattern, site.call, access.scope, site.scope))
                    key = (id(site.scope), site.call.line, access.what, pattern)
                    if number and access.what == "write" and _first_word(site.scope.own_name) in _READERS:
                        continue
                    if key not in seen and not is_passing(pattern):
                        seen.add(key)
                        through = access.through or access.scope
                        handed.append(Access(access.what, pattern, site.call.line, site.scope, through, access))
            found += handed
            turn = [each for each in handed if parameters(each.pattern)]
        return found

    def _callers(self, scope: Scope) -> list[CallSite]:
        return self._resolver.callers.callers(scope)[:_CALLERS]

    def _through(self, pair: tuple[Access, Access], done: set[tuple[str, int]]) -> Iterator[Site]:
        """Calls of a method that writes, and of the class that has it, from outside the class."""
        write, read = pair
        scope = write.scope
        owner = scope.parent
        if owner is None or not _is_writer(scope.own_name) or _family(write, scope) == "file:config":
            return
        for site in self._callers(scope):
            if owner.kind == "class" and site.scope.owner() is owner:
                continue
            place = (site.scope.module.path, site.call.line)
            if place not in done and site.scope is not scope:
                done.add(place)
                yield _site(replace(write, through=scope), read, site.call.line, "write", site.scope)
        if owner.kind != "class":
            return
        maker = self._resolver.classes.constructor(owner)
        for site in self._callers(maker) if maker is not None else ():
            place = (site.scope.module.path, site.call.line)
            if place not in done:
                done.add(place)
                yield _site(replace(write, through=scope), read, site.call.line, "bind", site.scope)


def _helpers(write: Access, read: Access, done: set[tuple[str, int]]) -> Iterator[Site]:
    """Yield the functions that a path was handed on to, down to the one that opens the file."""
    inner = write.inner
    while inner is not None:
        place = (inner.scope.module.path, inner.line)
        if place not in done:
            done.add(place)
            yield _site(replace(inner, pattern=write.pattern), read, inner.line, "write", inner.scope)
        inner = inner.inner


def _is_writer(name: str) -> bool:
    return not name.startswith("_") and _first_word(name) in _WRITERS


def _first_word(name: str) -> str:
    return next(iter(words(name)), "")


def _worth(pattern: str) -> bool:
    """Whether a pattern says enough to be found again."""
    if pattern in _GENERIC or pattern.startswith("**") or parameters(pattern):
        return False
    return is_anchored(pattern) or pattern.rpartition("/")[2].strip("*.") != ""


class _Reads:
    """Reads by the first part of their path, so that a write is held only against those that can be of its file."""

    def __init__(self, reads: Iterable[Access]) -> None:
        self._by_start: dict[str, list[Access]] = {}
        for read in sorted(reads, key=lambda each: (each.scope.module.path, each.line)):
            self._by_start.setdefault(_start(read.pattern), []).append(read)

    def of(self, write: Access) -> Access | None:
        """Return the read that brings back what a write wrote; one of the same module, if there is one."""
        starts = dict.fromkeys((_start(write.pattern), ""))
        likely = [each for start in starts for each in self._by_start.get(start, ())]
        found: Access | None = None
        for read in likely:
            near = read.scope.module is write.scope.module
            if (found is None or near) and _reads_back(write, read):
                found = read
                if near:
                    break
        return found


def _start(pattern: str) -> str:
    """The first part of a path, "" if it has a wildcard."""
    first = pattern.partition("/")[0]
    return "" if "*" in first else first


def _reads_back(write: Access, read: Access) -> bool:
    if read.scope is write.scope and read.line >= write.line:
        return False
    if read.pattern in _GENERIC or not meet(write.pattern, read.pattern):
        return False
    if is_anchored(write.pattern) and is_anchored(read.pattern):
        return True
    if read.scope.module is not write.scope.module:
        return False
    return write.pattern.rpartition("/")[2] == read.pattern.rpartition("/")[2]


def _site(write: Access, read: Access, line: int, what: str, scope: Scope) -> Site:
    reader = read.scope.name or "<module>"
    evidence = [Evidence(f"read back by {reader}", read.scope.module.path, read.line)]
    if write.through is not None:
        at = write.through.function
        by = Evidence(f"written by {write.through.name}", write.through.module.path, at.line if at is not None else 0)
        evidence.insert(0, by)
    return Site(
        scope.module.path,
        line,
        "bind" if what == "bind" else "write",
        _family(write, scope),
        "embedded",
        scope.name or "<module>",
        evidence=tuple(evidence),
        confidence="high" if is_anchored(write.pattern) else "medium",
        target=write.pattern,
    )


def _is_prompt(read: Access) -> bool:
    if read.what != "read" or read.through is not None:
        return False
    path = unanchored(read.pattern)
    named = f"{path} {read.scope.own_name}".lower()
    return "prompt" in named and not parameters(read.pattern) and _PROMPT_FILE.search(path) is not None


def _prompt(read: Access) -> Site:
    return Site(
        read.scope.module.path,
        read.line,
        "pin",
        "file:prompt",
        "embedded",
        read.scope.name or "<module>",
        evidence=(Evidence("a prompt is read from a file", read.scope.module.path, read.line),),
        confidence="medium",
        target=read.pattern,
    )


def _family(write: Access, scope: Scope) -> str:
    if _CONFIGURED.search(unanchored(write.pattern)):
        return "file:config"
    if _UPLOADED.search(write.pattern):
        return "file:upload"
    through = write.through
    names = [write.pattern, write.scope.name, scope.module.path.rpartition("/")[2], through.name if through else ""]
    return "file:cache" if any(not CACHES.isdisjoint(words(name)) for name in names) else "file:memory"
