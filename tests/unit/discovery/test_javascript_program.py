"""Handles and writes in JavaScript and TypeScript programs of several files."""

from pathlib import Path

import pytest

from kedge.discovery.scan.javascript import lower_javascript
from kedge.discovery.scan.program import Program
from kedge.discovery.scanning import scan
from tests.unit.discovery.programs import RULES, found, rules

DB = "import { Client } from 'boxdb'\nexport const db = new Client('u')\n"


def writes(files: dict[str, str]) -> list[str]:
    """Return the writes as "path:line function"."""
    return [f"{each.split()[0]} {each.split()[-1]}" for each in found(files) if " write " in each]


@pytest.mark.parametrize(
    ("parameters", "body", "counts"),
    [
        ("{ id }: { id: string }", "return db.put(id)", True),
        ("id: string", "return db.table('t').where(1).put(1).values({ id })", True),
        ("id: string", "const key = `a-${id}`; return db.put(key)", True),
        ("ids: string[]", "for (const id of ids.filter(Boolean)) { db.put(id) }", True),
        ("id: string", "const key = 'a'; return db.put(key)", False),
        ("id: string", "log(id); return db.put(1)", False),
    ],
)
def test_a_function_that_hands_on_what_it_is_given_is_a_writer(parameters: str, body: str, counts: bool) -> None:
    files = {
        "db.ts": f"{DB}export async function save({parameters}) {{ {body} }}\n",
        "route.ts": "import { save } from './db'\nexport const POST = async () => { await save(1) }\n",
    }
    assert writes(files) == ["db.ts:3 save", "route.ts:2 POST"][: 1 + counts]


def test_a_parameter_of_an_interface_is_what_callers_give() -> None:
    files = {
        "use.ts": "type Store = { put: (x: number) => void }\nfunction save(s: Store) { s.put(1) }\n"
        "import { db } from './db'\nsave(db)\n",
        "db.ts": DB,
    }
    assert writes(files) == ["use.ts:2 save"]


def test_a_class_that_a_framework_makes_opens_the_store_of_its_base() -> None:
    source = (
        "import { Client } from 'boxdb'\nimport { Injectable } from '@nestjs/common'\n\n@Injectable()\n"
        "export class Box extends Client {}\n\n@Injectable()\nexport class Notes {\n"
        "  constructor(private box: Box) {}\n  add() { this.box.put(1) }\n}\n"
    )
    assert found({"a.ts": source}) == ["a.ts:5 bind box remote Box", "a.ts:10 write box config Notes.add"]
    assert found({"a.ts": source.replace("Injectable", "Other")}) == ["a.ts:10 write box config Notes.add"]


def test_an_attribute_that_is_assigned_by_the_name_of_the_class_is_its_own() -> None:
    source = (
        "import { Client } from 'boxdb'\nexport class Box {\n  static #it\n"
        "  get() {\n    if (!Box.#it) Box.#it = new Client('u')\n    return { client: Box.#it }\n  }\n"
        "  save(x) {\n    const { client } = this.get()\n    client.put(x)\n  }\n}\n"
    )
    assert found({"a.ts": source}) == ["a.ts:5 bind box remote Box.get", "a.ts:10 write box remote Box.save"]


def test_a_method_that_overrides_another_is_given_what_that_is() -> None:
    source = (
        "import { Client } from 'boxdb'\nclass Base {\n  run(x) { this.add(new Client('u'), x) }\n"
        "  add(c, x) { log(x) }\n}\n"
        "class Sub extends Base {\n  add(c, x) { c.put(x) }\n}\nclass Other {\n  add(c, x) { c.put(x) }\n}\n"
    )
    assert writes({"a.ts": source}) == ["a.ts:7 Sub.add"]


OTHER = """
[[bind]]
store = "other"
kind = "remote"
gives = "shelf.client"
calls = ["other:Client"]
"""


@pytest.mark.parametrize(
    ("parameters", "argument"), [("store, x", "c, x"), ("{ store, x }", "{ store: c, x }"), ("a", "{ store: c, x }")]
)
def test_a_call_writes_to_the_store_that_it_gives(parameters: str, argument: str) -> None:
    body = "{ const { store, x } = a; return store.put(x) }" if parameters == "a" else "store.put(x)"
    files = {"save.ts": f"export const save = ({parameters}) => {body}\n"}
    packages = {f"{number:02}.ts": "boxdb" if number % 2 else "shelf" for number in range(14)} | {"last.ts": "other"}
    for path, package in packages.items():
        files[path] = (
            f"import {{ Client }} from '{package}'\nimport {{ save }} from './save'\n"
            f"const c = new Client('u')\nexport const f = (x) => save({argument})\n"
        )
    files["unknown.ts"] = "import { save } from './save'\nexport const f = (c, x) => save({ store: c, x })\n"
    modules = [lower_javascript(path, text.encode(), "typescript") for path, text in files.items()]
    sites = [each for each in Program(modules, rules(RULES + OTHER)).sites() if each.site_class == "write"]
    stores = {"boxdb": "box", "shelf": "shelf", "other": "other"}
    given = {each.path: each.store for each in sites if each.path != "save.ts"}
    assert given == {path: stores[package] for path, package in packages.items()}


ROUTE = "export const POST = (req, ctx) => ctx.db.put(1)\n"


def test_an_attribute_of_a_context_is_the_one_export_of_its_name() -> None:
    assert writes({"db.ts": DB, "a.ts": ROUTE}) == ["a.ts:1 POST"]
    assert writes({"db.ts": DB, "a.ts": ROUTE.replace("ctx", "other")}) == []
    assert writes({"db.ts": DB, "a.ts": ROUTE, "other.ts": "export const db = 1\n"}) == []
    assert writes({"db.ts": "const db = 1\n", "a.ts": ROUTE}) == []


def test_the_nearest_schema_names_the_database(tmp_path: Path) -> None:
    source = "import { PrismaClient } from '@prisma/client'\nconst prisma = new PrismaClient()\nprisma.a.create({})\n"
    for folder, provider in (("web", "mysql"), ("jobs", "sqlite")):
        (tmp_path / folder / "prisma").mkdir(parents=True)
        (tmp_path / folder / "prisma" / "schema.prisma").write_text(
            f'datasource db {{\n  provider = "{provider}"\n  url = env("DATABASE_URL")\n}}\n'
        )
        (tmp_path / folder / "db.ts").write_text(source)
    (tmp_path / "db.ts").write_text(source)
    sites = [(site.path, site.store, site.kind) for site in scan(tmp_path).sites if site.path.endswith(".ts")]
    assert sites == [
        ("db.ts", "sql", "config"),
        ("db.ts", "sql", "config"),
        ("jobs/db.ts", "sqlite", "embedded"),
        ("jobs/db.ts", "sqlite", "embedded"),
        ("web/db.ts", "mysql", "remote"),
        ("web/db.ts", "mysql", "remote"),
    ]


@pytest.mark.parametrize(
    ("declared", "counts"),
    [("export let db: Client", True), ("export let db = null", True), ("export const db = other()", False)],
)
def test_a_name_without_a_value_gets_it_from_a_function(declared: str, counts: bool) -> None:
    files = {
        "db.ts": (
            f"import {{ Client }} from 'boxdb'\nimport {{ other }} from './other'\n{declared}\n"
            "void (async () => { const made = new Client('u'); db = made })()\n"
        ),
        "use.ts": "import { db } from './db'\nexport const POST = async () => { await db.put(1) }\n",
    }
    assert writes(files) == ["use.ts:2 POST"] * counts
