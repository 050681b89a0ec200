"""SARIF 2.1.0 document of a scan, for code hosts that show findings beside the code."""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from kedge.discovery.fingerprints import numbered
from kedge.discovery.scanning import Scan
from kedge.discovery.sites import Site
from kedge.discovery.stores import Store, sentence

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_CELL = re.compile(r":cell(\d+)$")
_LEVELS = {"none": "error", "unknown": "warning", "copy": "warning", "history": "warning", "backup": "warning"}


def sarif(scan: Scan, new: Sequence[bool] | None = None, *, version: str) -> dict[str, Any]:
    """Return the document: one rule a store, one result a site. `new`: which sites a baseline does not have.

    `version`: that of Kedge.
    """
    stores = sorted(scan.stores, key=lambda store: store.key)
    places = {(store.name, kind): place for place, store in enumerate(stores) for kind in store.kinds}
    results = [
        _result(site, stores[places[site.store, site.kind]], places[site.store, site.kind], mark)
        | ({} if new is None else {"baselineState": "new" if new[number] else "unchanged"})
        for number, (site, mark) in enumerate(zip(scan.sites, numbered(scan.sites), strict=True))
    ]
    driver = {
        "name": "kedge scan",
        "version": version,
        "informationUri": "https://pypi.org/project/kedge/",
        "rules": [_rule(store) for store in stores],
    }
    notes = [
        {
            "level": "warning",
            "message": {"text": each.reason},
            "locations": [{"physicalLocation": {"artifactLocation": _artifact(each.path)}}],
        }
        for each in scan.unparsed
    ]
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"SRCROOT": {"description": {"text": "The folder that was scanned."}}},
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notes}],
        "results": results,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(store: Store) -> dict[str, Any]:
    return {
        "id": f"state/{store.key}",
        "shortDescription": {"text": f"{store.title}: state of the application"},
        "fullDescription": {"text": f"{store.title}: {sentence(store)}."},
        "help": {"text": f"{store.title}: {sentence(store)}. Needed: {'; '.join(store.needs) or 'nothing more'}."},
        "defaultConfiguration": {"level": _level(store)},
        "properties": {"kedge:capability": store.capability, "tags": ["state", "rollback"]},
    }


def _level(store: Store) -> str:
    return "error" if store.gone else _LEVELS.get(store.capability, "note")


def _result(site: Site, store: Store, place: int, mark: str) -> dict[str, Any]:
    selector = "" if site.selector is None else f" if {site.selector}, one of {', '.join(site.selector.alternatives)}"
    where = f" in {site.function}" if site.function else ""
    cell = _CELL.search(site.path)
    text = f"{store.title} ({site.site_class}){where}{selector}: {sentence(store)}."
    location: dict[str, Any] = {"artifactLocation": _artifact(site.path)}
    if cell:
        text = f"{text} Cell {cell[1]}, line {site.line}."
    else:
        location["region"] = {"startLine": site.line}
    logical = [{"fullyQualifiedName": site.function, "kind": "function"}] if site.function else []
    return {
        "ruleId": f"state/{store.key}",
        "ruleIndex": place,
        "level": _level(store),
        "message": {"text": text},
        "locations": [{"physicalLocation": location} | ({"logicalLocations": logical} if logical else {})],
        "partialFingerprints": {"kedgeStoreFunction/v1": mark},
        "properties": {"kedge:class": site.site_class, "kedge:kind": site.kind, "kedge:confidence": site.confidence},
    }


def _artifact(path: str) -> dict[str, str]:
    return {"uri": quote(_CELL.sub("", path)), "uriBaseId": "SRCROOT"}
