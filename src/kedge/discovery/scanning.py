"""Scan of a repository: files in, sites where state persists out. Nothing of the repository is imported or run."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from kedge.discovery.capabilities import Capabilities
from kedge.discovery.configuration import discovery_tables, own_file
from kedge.discovery.ir import Module
from kedge.discovery.scan.caching import ScanCache, key_of
from kedge.discovery.scan.examples import check_examples
from kedge.discovery.scan.infra import infrastructure
from kedge.discovery.scan.infra.env import environment
from kedge.discovery.scan.javascript import lower_javascript, reason_to_skip
from kedge.discovery.scan.javascript_modules import CONFIGURATION
from kedge.discovery.scan.languages import JAVASCRIPT, NOTEBOOK, PYTHON, WANTED
from kedge.discovery.scan.local import local_sites
from kedge.discovery.scan.notebooks import lower_notebook
from kedge.discovery.scan.platform import injected
from kedge.discovery.scan.program import Program
from kedge.discovery.scan.python import lower_python
from kedge.discovery.scan.rules import load_rules
from kedge.discovery.scan.schemas import with_schemas
from kedge.discovery.scan.walking import File, Walk, suffix, walk
from kedge.discovery.selecting import resolved, with_settings
from kedge.discovery.sites import Site, Unparsed
from kedge.discovery.stores import Store, stores_of
from kedge.errors import InvalidValue
from kedge.model.secrets import HIDDEN, redact
from kedge.support.toml_files import read_bounded

_LONGEST_SHOWN = 2_000  # characters of a target or of evidence
_SQL = frozenset({"sql", "postgres", "pgvector", "sqlite", "mysql", "mssql", "duckdb", "cockroachdb"})


class Scan(msgspec.Struct, frozen=True):
    """What a scan found.

    `digest`: SHA-256 over the paths and contents of the files that were read, which `files` counts. `own`: number of
    rules and capabilities that the user's files and the `kedge.toml` of the root add or replace.
    """

    root: str
    sites: tuple[Site, ...]
    stores: tuple[Store, ...]
    unparsed: tuple[Unparsed, ...]
    digest: str
    files: int
    lines: int
    own: int = 0


class Found(msgspec.Struct, frozen=True):
    """What depends on the files and the rules alone, as the cache keeps it."""

    sites: tuple[Site, ...]
    unparsed: tuple[Unparsed, ...]


def scan(
    root: str | os.PathLike[str],
    *,
    env: Sequence[str | os.PathLike[str]] = (),
    rules: Sequence[str | os.PathLike[str]] = (),
    tests: bool = False,
    cache: str | os.PathLike[str] | None = None,
) -> Scan:
    """Find the sites of a repository where state persists.

    `env`: `.env` or Compose files whose variables decide between alternatives. `rules`: files with `[discovery]`
    tables, beside the `kedge.toml` of the root. `tests`: read test files too. `cache`: folder of earlier results;
    not used if it is part of the root.
    """
    folder = Path(root)
    files = walk(folder, wanted=WANTED, tests=tests)
    extra = _rule_files(folder, rules)
    variables = environment([(os.fspath(path), _text(Path(path))) for path in env])
    mark = digest(files.files)
    kept = None if cache is None else ScanCache(Path(cache))
    if kept is not None and kept.is_inside(folder):
        kept = None
    key = key_of(mark, files.skipped, [read_bounded(path) for path in extra], variables)
    found = None if kept is None else kept.get(key, Found)
    if found is None:
        found = _find(files, extra, variables)
        if kept is not None:
            kept.put(key, found)
    return Scan(
        root=os.fspath(root),
        sites=found.sites,
        stores=stores_of(found.sites, Capabilities.load(*extra)),
        unparsed=found.unparsed,
        digest=mark,
        files=len(files.files),
        lines=sum(file.source.count(b"\n") for file in files.files),
        own=sum(len(tables) for path in extra for tables in discovery_tables(path).values()),
    )


def _rule_files(root: Path, rules: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the files of rules: those given, then that of the root, if it is there and no symbolic link."""
    own, given = own_file(root), [Path(path) for path in rules]
    is_new = own is not None and not any(path.exists() and path.samefile(own) for path in given)
    return [*given, own] if own is not None and is_new else given


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidValue(f"cannot read the environment of {path} ({why}): give a .env or Compose file") from None


def _find(files: Walk, extra: Sequence[Path], variables: Mapping[str, str]) -> Found:
    modules, unparsed = lower(files.files)
    declared = infrastructure(files.files, variables)
    configuration = {file.path: file.source for file in files.files if CONFIGURATION.search(file.path)}
    sites = merge(with_schemas(injected((*declared.sites, *_code_sites(modules, extra, variables, configuration)))))
    sites = resolved(sites, variables)
    return Found(
        tuple(_safe(site) for site in with_settings(sites, declared.settings)),
        tuple(sorted({*files.skipped, *unparsed, *declared.unparsed})),
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
        if isinstance(lowered, Unparsed):
            unparsed.append(lowered)
            continue
        modules += lowered
        unparsed += (
            Unparsed(module.path, "syntax errors", tuple(sorted(set(module.errors))))
            for module in lowered
            if module.errors
        )
    return modules, unparsed


def _lower(file: File) -> list[Module] | Unparsed:
    end = suffix(file.path)
    if end in PYTHON:
        return [lower_python(file.path, file.source)]
    if end in JAVASCRIPT:
        reason = reason_to_skip(file.path, file.source)
        if reason:
            return Unparsed(file.path, f"skipped: {reason}")
        return [lower_javascript(file.path, file.source, JAVASCRIPT[end])]
    if end == NOTEBOOK:
        return list(lower_notebook(file.path, file.source))
    return []


def merge(sites: Iterable[Site]) -> tuple[Site, ...]:
    """Sort sites, and keep one of each path, line, class and store: that which says most.

    A site of a vague store, as `sql` or `lg-saver:*`, is dropped where one of its members is.
    """
    kept: dict[tuple[str, int, str, str], Site] = {}
    for site in sorted(sites):
        key = (site.path, site.line, site.site_class, site.store)
        if key not in kept or _weight(site) > _weight(kept[key]):
            kept[key] = site
    found = {(path, line, site_class, _family(store)) for path, line, site_class, store in kept if not _vague(store)}
    told = (site for key, site in kept.items() if not (_vague(site.store) and (*key[:3], _family(site.store)) in found))
    return tuple(sorted(told, key=lambda site: (site.path, site.line, site.site_class, site.store)))


def _vague(store: str) -> bool:
    """Whether a store is a family of which others are members: `sql`, `lg-saver:*`."""
    return store == "sql" or store.endswith(":*")


def _family(store: str) -> str:
    return "sql" if store in _SQL else store.partition(":")[0]


def _weight(site: Site) -> tuple[bool, bool, int]:
    return (site.selector is not None, site.kind != "config", len(site.evidence))


def _safe(site: Site) -> Site:
    """Redact secrets in what is shown of a site."""
    evidence = tuple(msgspec.structs.replace(each, text=_shown(each.text)) for each in site.evidence)
    selector = site.selector
    if selector is not None:
        selector = msgspec.structs.replace(
            selector,
            value=None if selector.value is None else _shown(selector.value),
            alternatives=tuple(map(_shown, selector.alternatives)),
        )
    return msgspec.structs.replace(site, target=_shown(site.target), evidence=evidence, selector=selector)


def _shown(text: str) -> str:
    """A text without secrets; one that is too long to be searched for them is hidden."""
    return redact(text) if len(text) <= _LONGEST_SHOWN else HIDDEN


def digest(files: Iterable[File]) -> str:
    """Return the SHA-256 over paths and contents."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{len(file.path)} {file.path} {len(file.source)} ".encode())
        whole.update(file.source)
    return whole.hexdigest()


def _code_sites(
    modules: Sequence[Module],
    extra: Sequence[Path],
    variables: Mapping[str, str],
    configuration: Mapping[str, bytes],
) -> list[Site]:
    rules = load_rules(extra)
    check_examples(extra, rules)
    program = Program(modules, rules, variables, configuration)
    return [*program.sites(), *local_sites(program)]
