"""Stores that a platform gives to the code which it deploys: LangGraph Platform's long-term memory."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

import msgspec

from kedge.discovery.sites import Evidence, Site

_DECLARES = "langgraph.json"


def injected(sites: Iterable[Site]) -> list[Site]:
    """Return the sites; a LangGraph store that no code opens is the platform's where `langgraph.json` deploys it."""
    found = list(sites)
    declared = {posixpath.dirname(site.path): site for site in found if posixpath.basename(site.path) == _DECLARES}
    if any(site.store.startswith("lg-store:") and site.site_class == "bind" for site in found):
        return found
    return [_given(site, declared) for site in found]


def _given(site: Site, declared: dict[str, Site]) -> Site:
    if site.store != "lg-store:*" or site.kind != "config":
        return site
    folder = site.path
    while folder:
        folder = posixpath.dirname(folder)
        if folder in declared:
            place = declared[folder]
            why = Evidence("LangGraph Platform gives the store: no code opens one", place.path, place.line)
            return msgspec.structs.replace(site, kind="provider", evidence=(*site.evidence, why))
    return site
