"""Small repositories, one a tricky kind: a scan finds exactly their sites, also after the code was changed."""

import ast
import functools
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kedge.discovery.scanning import scan
from kedge.discovery.sites import Site
from tests.unit.discovery.mutations import MUTATIONS

FOLDER = Path(__file__).parent / "repositories"


@functools.cache
def repositories() -> tuple[dict[str, Any], ...]:
    found: list[dict[str, Any]] = []
    for path in sorted(FOLDER.glob("*.toml")):
        found += tomllib.loads(path.read_text(encoding="utf-8"))["repository"]
    return tuple(found)


REPOSITORIES = [pytest.param(each, id=f"{each['number']:02}") for each in repositories()]


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def shown(site: Site) -> str:
    text = f"{site.path}:{site.line} {site.site_class} {site.store} {site.kind} {site.function}".rstrip()
    return text if site.selector is None else f"{text} | {site.selector}"


def test_there_is_one_repository_of_each_kind() -> None:
    assert [each["number"] for each in repositories()] == list(range(1, 33))


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_a_scan_finds_exactly_the_sites(repository: dict[str, Any], tmp_path: Path) -> None:
    found = scan(write(tmp_path, repository["files"])).sites
    assert sorted(map(shown, found)) == sorted(repository["sites"])


def found_in(files: dict[str, str], folder: Path) -> set[tuple[str, str, str, str]]:
    sites = scan(write(folder, files)).sites
    return {(site.path, site.site_class, site.store, site.kind) for site in sites}


def changed(repository: dict[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each change of the code that changes something."""
    files = repository["files"]
    plain = {path: ast.unparse(ast.parse(text)) for path, text in files.items() if path.endswith(".py")}
    for name, change in MUTATIONS.items():
        other = change(files)
        if any(other[path] != text for path, text in plain.items()):
            yield name, other


CHANGED = [
    pytest.param(each, other, id=f"{each['number']:02}-{name}")
    for each in repositories()
    if each.get("mutable", True)
    for name, other in changed(each)
]


@pytest.mark.parametrize(("repository", "other"), CHANGED)
def test_the_sites_survive_a_change_of_the_code(
    repository: dict[str, Any], other: dict[str, str], tmp_path: Path
) -> None:
    assert found_in(other, tmp_path / "after") == found_in(repository["files"], tmp_path / "before")
