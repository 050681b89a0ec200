"""Scan of a repository: files in, sites where state persists out. Nothing of the repository is imported or run."""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from kedge.discovery.ir import Module
from kedge.discovery.scan.infra import infrastructure
from kedge.discovery.scan.languages import JAVASCRIPT, NOTEBOOK, PYTHON, WANTED
from kedge.discovery.scan.walking import File, suffix, walk
from kedge.discovery.sites import Site, Unparsed


class Scan(msgspec.Struct, frozen=True):
    """What a scan found. `digest`: SHA-256 over the paths and contents of the files that were read."""

    root: str
    sites: tuple[Site, ...]
    stores: tuple[str, ...]
    unparsed: tuple[Unparsed, ...]
    digest: str


def scan(
    root: str | os.PathLike[str],
    *,
    tests: bool = False,
) -> Scan:
    """Find the sites of a repository where state persists.

    `tests`: read test files too.
    """
    found = walk(Path(root), wanted=WANTED, tests=tests)
    modules, unparsed = lower(found.files)
    declared = infrastructure(found.files)
    sites = merge((*declared.sites, *_sites(modules)))
    return Scan(
        root=os.fspath(root),
        sites=sites,
        stores=tuple(sorted({site.store for site in sites})),
        unparsed=tuple(sorted({*found.skipped, *unparsed, *declared.unparsed})),
        digest=digest(found.files),
    )


def lower(files: Iterable[File]) -> tuple[list[Module], list[Unparsed]]:
    """Lower the files of code to modules; name those that cannot be read, wholly or in part."""
    modules: list[Module] = []
    unparsed: list[Unparsed] = []
    for file in files:
        try:
            lowered = _lower(file)
        except RecursionError:
            unparsed.append(Unparsed(file.path, "nested too deeply"))
            continue
        modules += lowered
        unparsed += (
            Unparsed(module.path, "syntax errors", tuple(sorted(set(module.errors))))
            for module in lowered
            if module.errors
        )
    return modules, unparsed


def merge(sites: Iterable[Site]) -> tuple[Site, ...]:
    """Sort sites, and keep one of each path, line, class and store: that with the most evidence."""
    kept: dict[tuple[str, int, str, str], Site] = {}
    for site in sorted(sites):
        key = (site.path, site.line, site.site_class, site.store)
        if key not in kept or _weight(site) > _weight(kept[key]):
            kept[key] = site
    return tuple(sorted(kept.values()))


def _weight(site: Site) -> tuple[bool, bool, int]:
    return (site.selector is not None, site.kind != "config", len(site.evidence))


def digest(files: Iterable[File]) -> str:
    """Return the SHA-256 over paths and contents."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{len(file.path)} {file.path} {len(file.source)} ".encode())
        whole.update(file.source)
    return whole.hexdigest()


def _lower(file: File) -> list[Module]:
    end = suffix(file.path)
    if end in PYTHON and (python := _part("python", "lower_python")):
        return [python(file.path, file.source)]
    if end in JAVASCRIPT and (javascript := _part("javascript", "lower_javascript")):
        return [javascript(file.path, file.source, JAVASCRIPT[end])]
    if end == NOTEBOOK and (notebook := _part("notebooks", "lower_notebook")):
        return list(notebook(file.path, file.source))
    return []


def _sites(modules: Sequence[Module]) -> list[Site]:
    sites: list[Site] = []
    if program_of := _part("program", "Program"):
        rules = _part("rules", "load_rules")
        program = program_of(modules, rules() if rules else ())
        sites += program.sites()
        if local := _part("local", "local_sites"):
            sites += local(program)
    return sites


def _part(module: str, name: str) -> Callable[..., Any] | None:
    """Return a function of a part of the scan that may not be there yet."""
    try:
        found: Callable[..., Any] = getattr(import_module(f"kedge.discovery.scan.{module}"), name)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("kedge."):
            return None
        raise
    return found
