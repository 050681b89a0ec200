"""CycloneDX 1.6 document of a scan: stores as services and data components, with the places as evidence."""

import uuid
from typing import Any

import msgspec

from kedge import __version__
from kedge.discovery.scanning import Scan
from kedge.discovery.sites import Site
from kedge.discovery.stores import Store, sentence

_NAMESPACE = uuid.UUID("5d3a3c5e-6a5c-5a57-9d8b-6b65646765ff")
_OUTSIDE = {"remote", "provider", "config"}


def cyclonedx(scan: Scan) -> dict[str, Any]:
    """Return the document. Its serial number is of the content, so that equal scans give equal bytes."""
    stores = sorted(scan.stores, key=lambda store: store.name)
    content: dict[str, Any] = {
        "metadata": {"tools": {"components": [{"type": "application", "name": "kedge", "version": __version__}]}},
        "components": [
            _component(store, [site for site in scan.sites if site.store == store.name]) for store in stores
        ],
        "services": [_service(store) for store in stores if _OUTSIDE & set(store.kinds)],
    }
    serial = uuid.uuid5(_NAMESPACE, msgspec.json.encode(content).decode())
    head = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
    }
    return head | content


def _component(store: Store, sites: list[Site]) -> dict[str, Any]:
    return {
        "type": "data",
        "bom-ref": f"data:{store.name}",
        "name": store.name,
        "description": f"{store.title}: {sentence(store)}",
        "evidence": {"occurrences": [_occurrence(site) for site in sites]},
        "properties": _properties(store),
    }


def _service(store: Store) -> dict[str, Any]:
    flow = "bi-directional" if "write" in store.sites else "unknown"
    return {
        "bom-ref": f"service:{store.name}",
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
