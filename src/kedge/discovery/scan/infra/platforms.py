"""Configuration of platforms: LangGraph Platform, Cloudflare, Fly, Render, Supabase, Prisma, Drizzle, Convex."""

import re
from collections.abc import Iterator

from kedge.discovery.scan.infra.images import store_image
from kedge.discovery.scan.infra.values import Value
from kedge.discovery.sites import Evidence, Site, StateKind


def langgraph_sites(path: str, document: Value) -> Iterator[Site]:
    """Yield what LangGraph Platform adds to the graphs of a `langgraph.json`: no line of code shows it."""
    graphs = document.at("graphs").entries
    if graphs:
        names = ", ".join(entry.key for entry in graphs)
        note = f"LangGraph Platform keeps the threads of {names}: deployed there, they have a checkpointer"
        yield _site(path, graphs[0].line, "lg-platform:threads", "provider", note, site_class="attach", target=names)
    store = document.entry("store")
    if store is not None and store.value.entries:
        index = store.value.at("index")
        embedder = index.string("embed")
        note = "LangGraph Platform keeps a store for the graphs"
        note += f", indexed by {embedder}" if embedder else ""
        yield _site(path, store.line, "lg-platform:store", "provider", note, target=embedder)


def render_sites(path: str, document: Value) -> Iterator[Site]:
    """Yield the databases and disks of a `render.yaml`."""
    for database in document.at("databases").items:
        yield _site(path, database.line, "postgres", "remote", "Render runs this database", target=_name(database))
    for service in document.at("services").items:
        kind = service.at("type")
        if kind.text in {"redis", "keyvalue"}:
            yield _site(path, kind.line, "redis", "remote", "Render runs this Key Value store", target=_name(service))
        image = service.at("image", "url")
        if (known := store_image(image.text or "")) is not None:
            yield _site(path, image.line, known.store, "remote", f"the service runs the image {image.text}")
        elif disk := service.entry("disk"):
            place = disk.value.string("mountPath")
            note = f"service {_name(service)} keeps files of {place} on a disk"
            yield _site(path, disk.line, "file:volume", "embedded", note, target=place)


def _name(value: Value) -> str:
    return value.string("name")


# ---------------------------------------------------------------- TOML: its parser gives no lines

_SECTION = re.compile(r"^[ \t]*\[{1,2}\s*([\w.\"'-]+)\s*\]{1,2}")
_CLOUDFLARE = {
    "kv_namespaces": "cloudflare-kv", "d1_databases": "cloudflare-d1", "r2_buckets": "cloudflare-r2",
    "vectorize": "cloudflare-vectorize", "durable_objects": "cloudflare-durable-object",
    "queues": "cloudflare-queue",
}  # fmt: skip


def wrangler_sites(path: str, text: str) -> Iterator[Site]:
    """Yield the stores that a `wrangler.toml` binds."""
    for number, line in enumerate(text.splitlines(), 1):
        section = _SECTION.match(line)
        words = section[1].split(".") if section else [line.partition("=")[0].strip()]
        if words[0] == "env" and len(words) > 2:  # noqa: PLR2004
            words = words[2:]
        store = _CLOUDFLARE.get(words[0])
        if store and (section or "=" in line) and "migrations" not in words:
            yield _site(path, number, store, "remote", f"the Worker has a binding of {words[0]}")


def wrangler_json_sites(path: str, document: Value) -> Iterator[Site]:
    """Yield the stores that a `wrangler.jsonc` binds."""
    for part in (document, *(entry.value for entry in document.at("env").entries)):
        for entry in part.entries:
            if entry.key in _CLOUDFLARE:
                note = f"the Worker has a binding of {entry.key}"
                yield _site(path, entry.line, _CLOUDFLARE[entry.key], "remote", note)


def fly_sites(path: str, text: str) -> Iterator[Site]:
    """Yield the volumes of a `fly.toml`."""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        section = _SECTION.match(line)
        if section and section[1] in {"mounts", "mount"}:
            inside = "\n".join(lines[number : number + 8]).split("\n[")[0]
            place = re.search(r"^[ \t]*destination\s*=\s*[\"']([^\"']+)", inside, re.MULTILINE)
            target = place[1] if place else ""
            note = f"Fly keeps the files of {target or 'a folder'} in a volume of one machine"
            yield _site(path, number, "file:volume", "embedded", note, target=target)


def supabase_sites(path: str, text: str) -> Iterator[Site]:
    """Yield the project of a `supabase/config.toml`."""
    for number, line in enumerate(text.splitlines(), 1):
        section = _SECTION.match(line)
        if section and section[1] == "db":
            yield _site(path, number, "supabase", "remote", "a Supabase project with a database")
            return


# ---------------------------------------------------------------- schemas

_SOURCE = re.compile(r"^[ \t]*datasource\s+\w+\s*\{", re.MULTILINE)
_PROVIDER = re.compile(r"^[ \t]*provider\s*=\s*\"(\w+)\"", re.MULTILINE)
_DIALECT = re.compile(r"^[ \t]*(?:dialect|driver)\s*:\s*[\"'`]([\w-]+)[\"'`]", re.MULTILINE)
_CONVEX = re.compile(r"^[ \t]*export\s+default\s+defineSchema\s*\(", re.MULTILINE)
_SQL: dict[str, tuple[str, StateKind]] = {
    "postgresql": ("postgres", "remote"), "postgres": ("postgres", "remote"), "pg": ("postgres", "remote"),
    "mysql": ("mysql", "remote"), "mysql2": ("mysql", "remote"), "singlestore": ("mysql", "remote"),
    "sqlserver": ("mssql", "remote"), "cockroachdb": ("cockroachdb", "remote"), "mongodb": ("mongodb", "remote"),
    "sqlite": ("sqlite", "embedded"), "better-sqlite": ("sqlite", "embedded"), "turso": ("sqlite", "remote"),
    "libsql": ("sqlite", "remote"), "d1-http": ("cloudflare-d1", "remote"), "d1": ("cloudflare-d1", "remote"),
}  # fmt: skip


def prisma_sites(path: str, text: str) -> Iterator[Site]:
    """Yield the data source of a Prisma schema."""
    for found in _SOURCE.finditer(text):
        provider = _PROVIDER.search(text, found.end())
        store, kind = _SQL.get(provider[1] if provider else "", ("sql", "remote"))
        yield _site(path, _line(text, found), store, kind, "Prisma's data source")


def drizzle_sites(path: str, text: str) -> Iterator[Site]:
    """Yield the database of a Drizzle configuration."""
    found = _DIALECT.search(text)
    if found is not None and found[1] in _SQL:
        store, kind = _SQL[found[1]]
        yield _site(path, _line(text, found), store, kind, "Drizzle's database")


def convex_sites(path: str, text: str) -> Iterator[Site]:
    """Yield the schema of a Convex database."""
    found = _CONVEX.search(text)
    if found is not None:
        yield _site(path, _line(text, found), "convex", "remote", "the schema of a Convex database")


def _line(text: str, found: re.Match[str]) -> int:
    return text.count("\n", 0, found.end()) + 1


def _site(
    path: str, line: int, store: str, kind: StateKind, note: str, *, site_class: str = "decl", target: str = ""
) -> Site:
    evidence = (Evidence(note, path, line),)
    return Site(
        path, line, "attach" if site_class == "attach" else "decl", store, kind, "", evidence=evidence, target=target
    )
