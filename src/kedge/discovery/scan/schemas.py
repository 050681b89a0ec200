"""Which database a mapper of JavaScript uses: that which the schema of its project declares."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

import msgspec

from kedge.discovery.sites import Evidence, Site

_SCRIPTS = (".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs")


def with_schemas(sites: Iterable[Site]) -> tuple[Site, ...]:
    """Return sites; those of a SQL database that the code does not name have the one of the nearest Prisma schema."""
    found = tuple(sites)
    schemas = [site for site in found if site.site_class == "decl" and site.path.endswith(".prisma")]
    if not schemas:
        return found
    return tuple(_declared(site, schemas) if _is_open(site) else site for site in found)


def _is_open(site: Site) -> bool:
    return site.store == "sql" and site.kind == "config" and site.path.endswith(_SCRIPTS)


def _declared(site: Site, schemas: list[Site]) -> Site:
    """Return a site with the database of the schemas that share most folders with it, if they agree."""
    shared = {schema: _shared(site.path, schema.path) for schema in schemas}
    nearest = [schema for schema in schemas if shared[schema] == max(shared.values())]
    if len({(schema.store, schema.kind) for schema in nearest}) != 1:
        return site
    schema = nearest[0]
    evidence = (*site.evidence, Evidence(f"the schema declares {schema.store}", schema.path, schema.line))
    return msgspec.structs.replace(site, store=schema.store, kind=schema.kind, evidence=evidence)


def _shared(path: str, other: str) -> int:
    """Return how many folders two paths have in common."""
    pairs = zip(posixpath.dirname(path).split("/"), posixpath.dirname(other).split("/"), strict=False)
    count = 0
    for one, two in pairs:
        if one != two:
            break
        count += 1
    return count
