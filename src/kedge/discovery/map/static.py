"""Sites of a scan as the map needs them: read from its JSON document, with selectors resolved and agents named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

import msgspec

from kedge.discovery.map.graphs import ELSEWHERE, Graph
from kedge.discovery.map.model import Choice
from kedge.discovery.scanning import Scan
from kedge.discovery.traces.agents import STEPS
from kedge.errors import InvalidValue

_VERSION = 1
_ENVIRONMENT = re.compile(r"env\((?P<name>[^)]+)\)(?:=(?P<value>.*))?")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_AGENT_WORD = "agent"
_GENERIC = frozenset({"agent", "agents", "module", "main", "init", "self"})


class StaticSite(msgspec.Struct, frozen=True, rename={"site_class": "class"}):
    """One site, as in the JSON document of a scan."""

    path: str
    line: int
    site_class: str
    store: str
    kind: str = ""
    function: str = ""
    selector: str | None = None
    default: bool = False
    alternatives: tuple[str, ...] = ()
    target: str = ""

    @property
    def place(self) -> str:
        """Path and line."""
        return f"{self.path}:{self.line}"

    @property
    def choice(self) -> Choice | None:
        """What decides whether the site is in use; null if nothing does."""
        return None if self.selector is None else Choice(self.selector, self.default, self.alternatives)


class _Unparsed(msgspec.Struct):
    path: str


class StaticScan(msgspec.Struct, frozen=True):
    """What a scan found, and the files that it could not read."""

    sites: tuple[StaticSite, ...]
    unparsed: tuple[str, ...] = ()


class _Document(msgspec.Struct):
    version: int
    sites: tuple[StaticSite, ...]
    unparsed: tuple[_Unparsed, ...] = ()


class Named(msgspec.Struct, frozen=True):
    """The agent that a site is of, and what says so: "name", "graph", "code" or "module"."""

    name: str
    by: str


def scan_document(content: bytes, name: str) -> StaticScan:
    """Decode the JSON document of `kedge scan --json`."""
    try:
        found = msgspec.json.decode(content, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidValue(
            f"{name} is no JSON document of a scan ({error}): write it with kedge scan PATH --json"
        ) from None
    if found.version != _VERSION:
        raise InvalidValue(f"{name} has version {found.version} of the scan document: this Kedge reads {_VERSION}")
    return StaticScan(found.sites, tuple(each.path for each in found.unparsed))


def static_scan(scan: Scan) -> StaticScan:
    """Return what a scan found, as its document would say it."""
    sites = (
        StaticSite(
            site.path,
            site.line,
            site.site_class,
            site.store,
            site.kind,
            site.function,
            None if site.selector is None else str(site.selector),
            site.selector is not None and site.selector.default,
            () if site.selector is None else site.selector.alternatives,
            site.target,
        )
        for site in scan.sites
    )
    return StaticScan(tuple(sites), tuple(each.path for each in scan.unparsed))


def select(
    sites: Iterable[StaticSite], environment: Mapping[str, str]
) -> tuple[tuple[StaticSite, ...], tuple[StaticSite, ...]]:
    """Return the sites that an environment leaves, and those that it rules out.

    A selector whose variable is set to its value is resolved; set to another one, its site is ruled out. The site of
    the default has no value: it is ruled out where the variable has the value of another one. Else a selector without
    a value stays open, and so does one whose variable is not set.
    """
    matches = [(site, _ENVIRONMENT.fullmatch(site.selector or "")) for site in sites]
    values: dict[str, set[str]] = {}
    for _, match in matches:
        if match is not None and match["value"] is not None:
            values.setdefault(match["name"], set()).add(match["value"].lower())
    kept, ruled_out = [], []
    for site, match in matches:
        given = None if match is None else environment.get(match["name"])
        if match is None or given is None:
            kept.append(site)
        elif match["value"] is not None and given.lower() == match["value"].lower():
            kept.append(msgspec.structs.replace(site, selector=None, default=False, alternatives=()))
        elif match["value"] is not None or (site.default and given.lower() in values.get(match["name"], ())):
            ruled_out.append(site)
        else:
            kept.append(site)
    return tuple(kept), tuple(ruled_out)


def agent_of(site: StaticSite, known: Mapping[str, str], graph: Graph | None = None) -> Named:
    """Return the agent of a site, by its place in the code.

    `known` are agents of traces and of the journal, by `plain` name: a function, class or file of that name is the
    agent's. Else it is the graph node whose function the site is in (`graph`), if its name is not
    that of a ready-made agent's step. Else the innermost function, class or file with the word "agent" in its name.
    Else the module stands for the agent, which the code does not tell.
    """
    path = PurePosixPath(site.path.partition(":")[0])
    parts = [*reversed(site.function.split(".")), path.stem, *reversed(path.parts[:-1])]
    for part in parts:
        if plain(part) in known:
            return Named(known[plain(part)], "name")
    for part in site.function.split("."):  # the outermost: helpers inside a node are the node's
        node = graph.get((site.path, part)) or graph.get((ELSEWHERE, part)) if graph else None
        if node and node not in STEPS:
            return Named(known.get(plain(node), node), "graph")
    for part in parts[: -len(path.parts[:-1]) or None]:
        words = [word.lower() for word in _WORD.findall(part)]
        if _AGENT_WORD in words and plain(part) not in _GENERIC:
            return Named(part, "code")
    return Named(str(path.with_suffix("")), "module")


def plain(name: str) -> str:
    """Return a name without case, separators and a trailing "agent" or "node", to compare names of code and traces."""
    words = [word.lower() for word in _WORD.findall(name)]
    while len(words) > 1 and words[-1] in {"agent", "node"}:
        words.pop()
    return "".join(words)
