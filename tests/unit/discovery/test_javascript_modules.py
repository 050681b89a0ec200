"""Which file of a repository an import of JavaScript names."""

from __future__ import annotations

import json

import pytest

from kedge.discovery.scan.javascript_modules import CONFIGURATION, ScriptModules

PATHS = (
    "web/src/lib/db.ts",
    "web/src/lib/index.tsx",
    "web/src/app/page.tsx",
    "web/util.js",
    "web/esm.mts",
    "packages/db/src/index.ts",
    "packages/db/src/client.ts",
    "packages/db/src/deep/a.ts",
    "packages/ui/package/button.tsx",
    "tools/redis/index.js",
)


CLIENT = "packages/db/src/client.ts"


def modules(**texts: object) -> ScriptModules:
    written = {
        path.replace("__", "/"): text if isinstance(text, bytes) else json.dumps(text).encode()
        for path, text in texts.items()
    }
    assert all(CONFIGURATION.search(path) for path in written)
    return ScriptModules(PATHS, written)


@pytest.mark.parametrize(
    ("specifier", "expected"),
    [
        ("../lib/db", "web/src/lib/db.ts"),
        ("../lib/db.js", "web/src/lib/db.ts"),
        ("../lib", "web/src/lib/index.tsx"),
        ("../../util", "web/util.js"),
        ("../../esm.mjs", "web/esm.mts"),
        ("../lib/nothing", None),
        ("../../../../../outside", None),
    ],
)
def test_a_relative_import_finds_endings_indexes_and_sources(specifier: str, expected: str | None) -> None:
    assert modules().resolve(specifier, "web/src/app/page.tsx") == expected


def test_paths_are_relative_to_the_file_that_has_them() -> None:
    base = {"compilerOptions": {"baseUrl": "src", "paths": {"@lib/*": ["lib/*"], "db": ["./lib/db"]}}}
    found = modules(**{"web__tsconfig.base.json": base, "web__tsconfig.json": {"extends": "./tsconfig.base"}})
    assert found.resolve("@lib/db", "web/src/app/page.tsx") == "web/src/lib/db.ts"
    assert found.resolve("db", "web/src/app/page.tsx") == "web/src/lib/db.ts"
    assert found.resolve("lib/db", "web/src/app/page.tsx") == "web/src/lib/db.ts"
    assert found.resolve("db", "packages/db/src/index.ts") is None


def test_the_longest_pattern_decides() -> None:
    paths = {"@/*": ["./util"], "@/lib/*": ["./src/lib/*"]}
    found = modules(**{"web__jsconfig.json": {"compilerOptions": {"paths": paths}}})
    assert found.resolve("@/lib/db", "web/src/app/page.tsx") == "web/src/lib/db.ts"


def test_configuration_may_have_comments_and_commas() -> None:
    text = b'{ // "paths": no\n "compilerOptions": { /* a */ "paths": { "~//*": ["./src/*",], }, }, }'
    found = modules(**{"web__tsconfig.json": text})
    assert found.resolve("~//lib/db", "web/src/app/page.tsx") == "web/src/lib/db.ts"


def test_broken_and_circular_configuration_is_ignored() -> None:
    found = modules(
        **{
            "web__tsconfig.json": {"extends": "./tsconfig.json", "compilerOptions": {"paths": {"a": None}}},
            "web__package.json": b'{"a":' * 100_000,
            "packages__db__package.json": [1],
        }
    )
    assert found.resolve("@/lib/db", "web/src/app/page.tsx") == "web/src/lib/db.ts"


def test_without_configuration_the_nearest_folder_with_the_path_is_taken() -> None:
    for specifier in ("@/lib/db", "~/lib/db", "src/lib/db", "$lib/db"):
        assert modules().resolve(specifier, "web/src/app/page.tsx") == "web/src/lib/db.ts"
    assert modules().resolve("@/lib/db", "tools/redis/index.js") is None


@pytest.mark.parametrize(
    ("specifier", "package", "expected"),
    [
        ("@a/db", {"main": "dist/index.js"}, "packages/db/src/index.ts"),
        ("@a/db", {"exports": {"import": "./dist/client.js"}}, "packages/db/src/client.ts"),
        ("@a/db/client", {"exports": {"./client": {"types": "./x.d.ts", "default": "./dist/client.js"}}}, CLIENT),
        ("@a/db/deep/a", {"exports": {"./*": "./src/*.ts"}}, "packages/db/src/deep/a.ts"),
        ("@a/db/src/client", {}, "packages/db/src/client.ts"),
        ("@a/db/client", {}, "packages/db/src/client.ts"),
        ("@a/other", {}, None),
    ],
)
def test_a_package_of_the_workspace_is_found(specifier: str, package: object, expected: str | None) -> None:
    assert isinstance(package, dict)
    found = modules(
        **{"package.json": {"workspaces": ["packages/*"]}, "packages__db__package.json": {"name": "@a/db", **package}}
    )
    assert found.resolve(specifier, "web/src/app/page.tsx") == expected


def test_a_folder_that_has_the_name_of_a_library_is_not_imported_for_it() -> None:
    named = {"tools__redis__package.json": {"name": "redis"}}
    assert modules(**named).resolve("redis", "web/src/app/page.tsx") is None
    linked = {**named, "web__package.json": {"dependencies": {"redis": "file:../tools/redis"}}}
    assert modules(**linked).resolve("redis", "web/src/app/page.tsx") == "tools/redis/index.js"
    spaces = {**named, "pnpm-workspace.yaml": b"packages:\n  - 'tools/*'\n"}
    assert modules(**spaces).resolve("redis", "web/src/app/page.tsx") == "tools/redis/index.js"


def test_private_imports_of_a_package_are_followed() -> None:
    found = modules(**{"web__package.json": {"imports": {"#lib/*": "./dist/lib/*.js"}}})
    assert found.resolve("#lib/db", "web/src/app/page.tsx") == "web/src/lib/db.ts"
