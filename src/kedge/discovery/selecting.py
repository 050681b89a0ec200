"""Selectors of sites against variables: which alternatives remain, and which files set what selects."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from kedge.discovery.scan.infra.env import Setting
from kedge.discovery.sites import Evidence, Selector, Site

_FALSE = {"", "0", "false", "no", "off", "none", "null"}
_FLAGS = _FALSE | {"1", "true", "yes", "on"}


def resolved(sites: Iterable[Site], variables: Mapping[str, str]) -> tuple[Site, ...]:
    """Drop the sites that the variables rule out; what remains has no alternatives where a variable decides.

    A site whose selector no variable sets stays with its alternatives.
    """
    sites = tuple(sites)
    values: dict[str, set[str]] = {}
    for site in sites:
        if site.selector is not None and site.selector.value is not None:
            values.setdefault(site.selector.name, set()).add(site.selector.value.lower())
    kept = [left for site in sites if (left := _decided(site, variables, values)) is not None]
    return tuple(_of_one(site, kept) if _is_set(site, variables) else site for site in kept)


def _is_set(site: Site, variables: Mapping[str, str]) -> bool:
    return site.selector is not None and site.selector.source == "env" and site.selector.name in variables


def _of_one(site: Site, kept: Iterable[Site]) -> Site:
    """Return a site of several alternatives as one of the only alternative that is left."""
    selector = site.selector
    if selector is None or not several(site, selector):
        return site
    left = {
        (each.kind, each.selector)
        for each in kept
        if each.site_class == "bind" and each.store == site.store and each.selector is not None
        if (each.selector.source, each.selector.name) == (selector.source, selector.name)
        if {each.store, f"{each.store} {each.kind}", f"{each.store} at {each.path}:{each.line}"}
        & set(selector.alternatives)
    }
    if len(left) != 1:
        return site
    ((kind, chosen),) = left
    return msgspec.structs.replace(site, kind=kind, selector=chosen)


def _decided(site: Site, variables: Mapping[str, str], values: Mapping[str, set[str]]) -> Site | None:
    selector = site.selector
    if selector is None or selector.source != "env" or selector.name not in variables:
        return site
    if several(site, selector):
        return site
    if not _selects(selector, variables[selector.name].lower(), values.get(selector.name, set())):
        return None
    return msgspec.structs.replace(site, selector=msgspec.structs.replace(selector, alternatives=()))


def several(site: Site, selector: Selector) -> bool:
    """Whether a site is of several alternatives at once: what is written or given here is opened elsewhere."""
    own = sum(name.split()[0] == site.store for name in selector.alternatives)
    return site.site_class != "bind" and own > 1


def _selects(selector: Selector, value: str, values: set[str]) -> bool:
    """Whether a value of the variable selects a site, among the values that select any site."""
    if selector.value is not None:
        chosen = selector.value.lower()
        return chosen == value or (chosen in _FLAGS and value in _FLAGS and (chosen in _FALSE) == (value in _FALSE))
    if values:
        return value not in values if selector.default else True
    return (value in _FALSE) == selector.default


def with_settings(sites: Iterable[Site], settings: Iterable[Setting]) -> Iterator[Site]:
    """Say of each site that a variable selects where files of the repository set this variable.

    A value is shown only if it is a flag or selects a site: others may be secrets.
    """
    sites = tuple(sites)
    shown = {site.selector.value.lower() for site in sites if site.selector and site.selector.value} | _FLAGS
    by_name: dict[str, list[Setting]] = {}
    for setting in sorted(settings):
        by_name.setdefault(setting.name, []).append(setting)
    for site in sites:
        selector = site.selector
        found = by_name.get(selector.name, []) if selector is not None and selector.source == "env" else []
        notes = [
            Evidence(_says(each, each.value if each.value.lower() in shown else ""), each.path, each.line)
            for each in found
        ]
        yield msgspec.structs.replace(site, evidence=(*site.evidence, *notes)) if notes else site


def _says(setting: Setting, value: str) -> str:
    return f"{setting.path} sets {setting.name}" + (f" to {value}" if value else "")
