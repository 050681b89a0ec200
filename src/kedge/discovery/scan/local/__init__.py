"""State that an application keeps without a library for it: names, attributes, caches, actors, files."""

from __future__ import annotations

import msgspec

from kedge.discovery.ir import Module
from kedge.discovery.scan.local.caches import cache_sites
from kedge.discovery.scan.local.facts import collect
from kedge.discovery.scan.local.files import file_sites
from kedge.discovery.scan.local.process import attached, process_sites
from kedge.discovery.scan.local.runtimes import runtime_sites
from kedge.discovery.scan.program import Program
from kedge.discovery.sites import Evidence, Site


def local_sites(program: Program) -> list[Site]:
    """Return the sites of state without a library, in order. Lines of notebooks are those of their cells."""
    modules = [(index.module, collect(index.module)) for index in program.indexes.values()]
    found = list(process_sites(modules))
    found += attached(program, found)
    found += cache_sites(modules)
    found += runtime_sites(modules)
    found += file_sites(program)
    notebooks = {module.path: module for module, _ in modules if module.cells}
    return sorted({_in_cell(site, notebooks) for site in found})


def _in_cell(site: Site, notebooks: dict[str, Module]) -> Site:
    path, line = _place(site.path, site.line, notebooks)
    evidence = tuple(Evidence(each.text, *_place(each.path, each.line, notebooks)) for each in site.evidence)
    return msgspec.structs.replace(site, path=path, line=line, evidence=evidence)


def _place(path: str, line: int, notebooks: dict[str, Module]) -> tuple[str, int]:
    return notebooks[path].place(line) if path in notebooks else (path, line)
