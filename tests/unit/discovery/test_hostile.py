"""A hostile repository: the scan ends, names what it left out, and runs nothing."""

import json
import zipfile
from pathlib import Path

import pytest

from kedge.discovery.scanning import scan

RUNS = "import pathlib\npathlib.Path({!r}).touch()\n"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    root = tmp_path / "hostile"
    (root / "src").mkdir(parents=True)
    (root / "src" / "fine.py").write_text("from qdrant_client import QdrantClient\nQdrantClient()\n")
    (root / "loop").symlink_to(root)
    (root / "src" / "outside.py").symlink_to("/etc/passwd")
    with (root / "huge.py").open("wb") as file:
        file.truncate(100_000_000)
    (root / "binary.py").write_bytes(b"\x00\x01" * 100)
    (root / "latin.py").write_bytes(b"name = 'caf\xe9'\n")
    (root / "parentheses.py").write_text("x = " + "(" * 3_000 + "1" + ")" * 3_000 + "\n")
    (root / "chain.py").write_text("x = a" + ".b()" * 3_000 + "\n")
    (root / "blocks.py").write_text("".join(f"{' ' * depth}if x:\n" for depth in range(900)) + " " * 900 + "y\n")
    (root / "sum.py").write_text("x = " + " + ".join(["'a'"] * 5_000) + "\n")
    (root / "arrays.js").write_text("const x = " + "[" * 3_000 + "]" * 3_000 + "\n")
    (root / "types.ts").write_text("type T = " + "Array<" * 2_000 + "string" + ">" * 2_000 + "\n")
    (root / "notebook.ipynb").write_text('{"cells": ' + "[" * 5_000)
    (root / "compose.yml").write_text("services: " + "{a: " * 2_000)
    (root / "langgraph.json").write_text("[" * 5_000)
    (root / "tsconfig.json").write_text('{"extends": "./tsconfig.json", "compilerOptions": {"paths": {"*": ["*"]}}}')
    (root / "package.json").write_text("[" * 5_000)
    with zipfile.ZipFile(root / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.py", b"\0" * 1_000_000)
    for name in ("setup.py", "conftest.py", "sitecustomize.py", "src/__init__.py"):
        (root / name).write_text(RUNS.format(str(tmp_path / "ran")))
    return root


def test_it_ends_and_names_what_it_left_out(hostile: Path, tmp_path: Path) -> None:
    found = scan(hostile)
    assert ("src/fine.py", "qdrant") in {(site.path, site.store) for site in found.sites}
    reasons = {each.path: each.reason for each in found.unparsed}
    assert reasons["loop"] == reasons["src/outside.py"] == "skipped: a symbolic link"
    assert reasons["huge.py"] == "skipped: larger than 2 MB"
    assert reasons["binary.py"] == "skipped: binary"
    for path in ("compose.yml", "langgraph.json", "notebook.ipynb"):
        assert path in reasons, reasons
    assert "latin.py" not in reasons
    assert "sum.py" not in reasons
    assert not (tmp_path / "ran").exists()
    json.dumps([site.path for site in found.sites])


def test_a_repository_of_circles_ends(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "from b import *\nfrom c import make as make\nclass A(B): pass\ndef f(x): return g(f(x))\nx = y\ny = x\n"
    )
    (tmp_path / "b.py").write_text("from a import *\nclass B(A): pass\ndef g(x): return f(g(x))\n")
    (tmp_path / "c.py").write_text("from a import make as make\n")
    (tmp_path / "d.ts").write_text('export * from "./e"\nexport const x = y\n')
    (tmp_path / "e.ts").write_text('export * from "./d"\nimport {x} from "./d"\nexport const y = x\n')
    assert scan(tmp_path).unparsed == ()
