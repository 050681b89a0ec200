"""CycloneDX 1.6 document of a scan: stores as services and data components, with the places as evidence."""

import hashlib
from typing import Any

import msgspec

from kedge.discovery.scanning import Scan
from kedge.discovery.sites import Site
from kedge.discovery.stores import Store, sentence

_OUTSIDE = {"remote", "provider", "config"}


def cyclonedx(scan: Scan, *, version: str) -> dict[str, Any]:
    """Return the document. Its serial number is of the content, so that equal scans give equal bytes.

    `version`: that of Kedge.
    """
    stores = sorted(scan.stores, key=lambda store: store.key)
    content: dict[str, Any] = {
        "metadata": {"tools": {"components": [{"type": "application", "name": "kedge", "version": version}]}},
        "components": [
            _component(store, [site for site in scan.sites if site.store == store.name]) for store in stores
        ],
        "services": [_service(store) for store in stores if _OUTSIDE & set(store.kinds)],
    }
    head = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{_uuid(msgspec.json.encode(content))}",
        "version": 1,
    }
    return head | content


def _sites(scan: Scan, store: Store) -> list[Site]:
    return [site for site in scan.sites if site.store == store.name and site.kind in store.kinds]


def _uuid(content: bytes) -> str:
    """Return a UUID of version 8 (custom) that is of the content only."""
    digits = hashlib.sha256(content).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"


def _component(store: Store, sites: list[Site]) -> dict[str, Any]:
    return {
        "type": "data",
        "bom-ref": f"data:{store.key}",
        "name": store.name,
        "description": f"{store.title}: {sentence(store)}",
        "evidence": {"occurrences": [_occurrence(site) for site in sites]},
        "properties": _properties(store),
    }


def _service(store: Store) -> dict[str, Any]:
    flow = "bi-directional" if "write" in store.sites else "unknown"
    return {
        "bom-ref": f"service:{store.key}",
        "name": store.name,
        "description": f"{store.title}: {sentence(store)}",
        "data": [{"flow": flow, "classification": "state"}],
        "properties": _properties(store),
    }


def _occurrence(site: Site) -> dict[str, Any]:
    selector = "" if site.selector is None else f"; selected by {site.selector}"
    found: dict[str, Any] = {"location": site.path, "line": site.line}
    if site.function:
        found["symbol"] = site.function
    return found | {"additionalContext": f"{site.site_class}, {site.kind}, confidence {site.confidence}{selector}"}


def _properties(store: Store) -> list[dict[str, str]]:
    pairs = [
        ("kedge:capability", store.capability),
        ("kedge:unit", store.unit),
        *(("kedge:kind", kind) for kind in store.kinds),
        *(("kedge:condition", condition) for condition in store.conditions),
        *(("kedge:needs", need) for need in store.needs),
        *((f"kedge:sites:{name}", str(number)) for name, number in store.sites.items()),
    ]
    return [{"name": name, "value": value} for name, value in pairs if value]
