"""Builder of the context boundary map: reads what is given, then joins it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from kedge.discovery.map.graphs import Graph, graph_nodes
from kedge.discovery.map.join import join
from kedge.discovery.map.journal import read_journal
from kedge.discovery.map.model import ContextMap
from kedge.discovery.map.static import StaticScan, StaticSite, scan_document, static_scan
from kedge.discovery.scan.infra.env import environment
from kedge.discovery.scanning import Scan
from kedge.discovery.scanning import scan as scan_folder
from kedge.discovery.traces import TraceReport, read_traces
from kedge.errors import InvalidValue
from kedge.turns.kernel import Kernel

Paths = Sequence[str | os.PathLike[str]]


class OpenDatabase(Protocol):
    """An open `kedge.Kedge`, which lies above discovery."""

    _kernel: Kernel


def context_map(
    *,
    scans: Sequence[Scan | str | os.PathLike[str]] = (),
    traces: TraceReport | Paths = (),
    k: OpenDatabase | None = None,
    env: Paths = (),
    deployment: str | None = None,
) -> ContextMap:
    """Join scans, traces and the journal of an open database (`k`, a `Kedge`) into one map; each may be left out.

    `scans`: results of `scan`, folders to scan, or files that `kedge scan --json` wrote; paths of several begin with
    their names. `env`: `.env` or Compose files
    whose variables decide between alternatives. With `deployment`, its blast radius is in the map.
    """
    variables = environment([(os.fspath(path), _text(path)) for path in env])
    report = traces if isinstance(traces, TraceReport) else read_traces(*map(Path, traces)) if traces else None
    if not scans and report is None and k is None:
        raise InvalidValue("nothing to map: give a folder (`.` for this one), traces or a database")
    labels = _labels(scans)
    return join(
        _merged([_below(label, _scanned(each)) for label, each in zip(labels, scans, strict=True)]),
        report,
        None if k is None else read_journal(k._kernel),  # noqa: SLF001 -- the map is a report, beside status and diff
        environment=variables,
        graph=_graph(scans, labels),
        deployment=deployment,
    )


def _labels(scans: Sequence[Scan | str | os.PathLike[str]]) -> list[str]:
    """Return what the paths of each scan begin with: nothing for one scan, else its folder."""
    roots = [os.fspath(each.root if isinstance(each, Scan) else each) for each in scans]
    if len(set(roots)) < 2:  # noqa: PLR2004 - the same folder twice is one
        return [""] * len(roots)
    names = [f"{Path(root).resolve().name}/" for root in roots]
    return names if len(set(names)) == len(names) else [f"{root.rstrip('/')}/" for root in roots]


def _below(label: str, found: StaticScan) -> StaticScan:
    if not label:
        return found
    sites = tuple(msgspec.structs.replace(site, path=label + site.path) for site in found.sites)
    return msgspec.structs.replace(found, sites=sites, unparsed=tuple(label + path for path in found.unparsed))


def _graph(scans: Sequence[Scan | str | os.PathLike[str]], labels: Sequence[str]) -> Graph:
    """Return which function is which node, in all folders; one that two folders name differently is left out."""
    found: dict[tuple[str, str], set[str]] = {}
    for label, each in zip(labels, scans, strict=True):
        root = Path(each.root if isinstance(each, Scan) else each)
        for (path, function), node in graph_nodes([root]).items() if root.is_dir() else ():
            found.setdefault((label + path if path else path, function), set()).add(node)
    return {place: next(iter(nodes)) for place, nodes in found.items() if len(nodes) == 1}


def _scanned(given: Scan | str | os.PathLike[str]) -> StaticScan:
    if isinstance(given, Scan):
        return static_scan(given)
    path = Path(given)
    return static_scan(scan_folder(path)) if path.is_dir() else scan_document(_content(path), os.fspath(path))


def _merged(scans: Sequence[StaticScan]) -> StaticScan | None:
    if not scans:
        return None
    sites = tuple(sorted({site for each in scans for site in each.sites}, key=_order))
    return StaticScan(sites, tuple(sorted({path for each in scans for path in each.unparsed})))


def _order(site: StaticSite) -> tuple[str, int, str, str, str]:
    return site.path, site.line, site.site_class, site.store, site.selector or ""


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidValue(
            f"cannot read the scan {path} ({error.strerror}): give a folder, or a file that `kedge scan --json` wrote"
        ) from None


def _text(path: str | os.PathLike[str]) -> str:
    try:
        return Path(path).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidValue(f"cannot read the environment of {path} ({why}): give a .env or Compose file") from None
