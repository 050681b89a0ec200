"""Small programs for the tests of the scan's engine, under a few rules of their own."""

from collections.abc import Mapping
from textwrap import dedent

from kedge.discovery.ir import Module
from kedge.discovery.scan.javascript import lower_javascript
from kedge.discovery.scan.local import local_sites
from kedge.discovery.scan.program import Program
from kedge.discovery.scan.python import lower_python
from kedge.discovery.scan.rules import Rules, read_rules
from kedge.discovery.sites import Site

RULES = """
[[bind]]
store = "box"
kind = "remote"
gives = "box.client"
calls = ["boxdb.{Client,aio.Client}", "boxdb:Client", "boxdb:default"]
target = ["url", 0]
when = [
    { argument = "path", present = true, kind = "embedded" },
    { argument = ["url", 0], matches = "^local", kind = "embedded" },
    { argument = ["settings", 1], field = "mode", equals = "memory", kind = "volatile" },
]

[[bind]]
store = "shelf"
kind = "remote"
gives = "shelf.client"
calls = ["shelf.**.Client{,.of}", "shelf:Client"]

[[member]]
on = ["box.client", "shelf.client"]
member = ["[]", "table", "pipeline", "with"]
gives = "box.table"

[[member]]
on = "box.table"
member = "where"
gives = "self"

[[write]]
on = ["box.client", "box.table", "shelf.client"]
methods = ["put", "delete", "beta.items.create"]

[[write]]
on = "box.client"
methods = ["commit"]
assigned = true

[[type]]
gives = "box.base"
store = "box:*"
kind = "config"
calls = ["boxdb.Base", "boxdb.Runtime().store"]

[[write]]
on = "box.base"
methods = ["put"]

[[bind]]
store = "postgres"
kind = "remote"
gives = "sql.connection"
calls = ["psycopg.connect"]

[[member]]
on = "sql.connection"
member = ["cursor", "with"]
gives = "sql.connection"

[[write]]
on = "sql.connection"
methods = ["execute"]
sql = ["query", 0]

[[callback]]
calls = ["graphs.Graph().add_node"]
gives = "box.base"
store = "box:*"
kind = "config"
parameters = ["store"]

[[attach]]
calls = ["graphs.Graph().compile"]
argument = "checkpointer"
store = "box:*"

[[attach]]
attribute = "checkpointer"
types = ["box.client"]
store = "box:*"

[[pin]]
store = "model"
kind = "provider"
calls = ["models.load"]
unless = [{ argument = "revision", matches = "^[0-9a-f]{40}$" }]
target = 0
"""


def rules(text: str = RULES) -> Rules:
    """Return the rules of a text."""
    return Rules([read_rules(text, "rules.toml")])


def program(files: Mapping[str, str], environment: Mapping[str, str] | None = None) -> Program:
    """Return the program of some sources by path."""
    modules: list[Module] = []
    for path, text in files.items():
        if path.endswith(".py"):
            modules.append(lower_python(path, text.encode()))
        else:
            modules.append(lower_javascript(path, text.encode(), "typescript"))
    return Program(modules, rules(), environment)


def sites(files: Mapping[str, str] | str) -> list[Site]:
    """Return the sites of some sources, or of one file main.py."""
    return program({"main.py": files} if isinstance(files, str) else files).sites()


def found(files: Mapping[str, str] | str) -> list[str]:
    """Return the sites as "path:line class store kind function"."""
    return [
        f"{site.path}:{site.line} {site.site_class} {site.store} {site.kind} {site.function}" for site in sites(files)
    ]


def local_found(files: Mapping[str, str] | str) -> list[str]:
    """The sites as "path:line class store function"; of one file without its path."""
    one = isinstance(files, str)
    given = {"main.py": files} if isinstance(files, str) else files
    sites = local_sites(program({path: dedent(text) for path, text in given.items()}))
    return [
        f"{'' if one else site.path + ':'}{site.line} {site.site_class} {site.store} {site.function}" for site in sites
    ]
