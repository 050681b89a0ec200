"""JSON document of a scan."""

from collections.abc import Sequence
from typing import Any

import msgspec

from kedge.discovery.fingerprints import numbered
from kedge.discovery.scanning import Scan
from kedge.discovery.sites import Site

VERSION = 1


def document(scan: Scan, new: Sequence[bool] | None = None) -> dict[str, Any]:
    """Return the document: sites, stores, files that were not read. `new`: which sites a baseline does not have.

    It holds nothing of the time, the machine or the folder's place, so that equal files give equal bytes.
    """
    marks = numbered(scan.sites)
    return {
        "version": VERSION,
        "digest": scan.digest,
        "files": scan.files,
        "lines": scan.lines,
        "own": scan.own,
        "sites": [
            _site(site, mark) | ({} if new is None else {"new": new[place]})
            for place, (site, mark) in enumerate(zip(scan.sites, marks, strict=True))
        ],
        "stores": msgspec.to_builtins(scan.stores),
        "unparsed": msgspec.to_builtins(scan.unparsed),
    }


def _site(site: Site, mark: str) -> dict[str, Any]:
    selector = site.selector
    return {
        "path": site.path,
        "line": site.line,
        "class": site.site_class,
        "store": site.store,
        "kind": site.kind,
        "function": site.function,
        "selector": None if selector is None else str(selector),
        "default": selector is not None and selector.default,
        "alternatives": [] if selector is None else list(selector.alternatives),
        "target": site.target,
        "evidence": [msgspec.to_builtins(each) for each in site.evidence],
        "confidence": site.confidence,
        "fingerprint": mark,
    }
