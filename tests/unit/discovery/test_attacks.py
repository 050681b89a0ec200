"""Content that is made to stop a scan: it ends in time; and a scan runs nothing, as an audit hook sees it."""

import json
import os
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest

from kedge.discovery.scanning import scan

pytestmark = pytest.mark.timeout(60)

STORE = "import redis\nredis.Redis().set('a', 1)\n"
EVIL = """
import os, pathlib
pathlib.Path(__file__).with_name("ran").touch()
os.system("touch " + __file__ + ".ran")
"""
HOOK = """
import json, sys
root, seen = sys.argv[1], []
from kedge.discovery.scanning import scan
def hook(event, arguments):
    named = str(arguments[0]) if arguments else ""
    if event.startswith(("subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "socket.")):
        seen.append(event)
    elif event == "open" and root in named and len(arguments) > 2 and arguments[2] & 0o3103:
        seen.append(event + " " + named)
    elif event in ("import", "compile", "exec") and root in str(arguments):
        seen.append(event)
sys.addaudithook(hook)
print(json.dumps([len(scan(root).sites), seen]))
"""


def write(root: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def test_special_files(tmp_path: Path) -> None:
    write(tmp_path, {"a/store.py": STORE})
    (tmp_path / "a/self").symlink_to(tmp_path / "a/self")
    (tmp_path / "everything").symlink_to("/")
    os.mkfifo(tmp_path / "pipe.py")
    for name in ("large.ipynb", "large.yaml"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(100_000_000)  # sparse
    with zipfile.ZipFile(tmp_path / "archive.py", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.py", b"\0" * 10_000_000)
    found = scan(tmp_path)
    assert {site.path for site in found.sites} == {"a/store.py"}
    named = {each.path for each in found.unparsed}
    assert named == {"a/self", "everything", "large.ipynb", "large.yaml", "archive.py", "pipe.py"}


def test_names_of_files(tmp_path: Path) -> None:
    for name in (b"new\nline.py", b"tab\t\x1b[31m.py", b"\xff\xfe.py", "é ☃.py".encode()):
        (tmp_path / os.fsdecode(name)).write_text(STORE)
    found = scan(tmp_path)
    assert {site.path for site in found.sites} == {"new\nline.py", "tab\t\x1b[31m.py", "é ☃.py"}
    assert [each.path for each in found.unparsed] == ["\\xff\\xfe.py"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads each file")
def test_files_that_may_not_be_read(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": STORE, "b/c.py": STORE})
    (tmp_path / "a.py").chmod(0)
    (tmp_path / "b").chmod(0)
    try:
        assert [each.path for each in scan(tmp_path).unparsed] == ["a.py", "b"]
    finally:
        (tmp_path / "b").chmod(0o700)


CONTENTS: dict[str, dict[str, str | bytes]] = {
    "names that refer to names": {"a.py": "x0 = f()\n" + "".join(f"x{n + 1} = x{n}\n" for n in range(2_000))},
    "functions that return calls": {
        "a.py": "".join(f"def f{n}(): return f{n + 1}()\n" for n in range(1_000)) + "f0().set(1)"
    },
    "a long line of classes": {"a.py": "".join(f"class C{n + 1}(C{n}): pass\n" for n in range(900)) + "C9().put(1)"},
    "texts that double": {
        "a.py": "s0 = 'ab'\n" + "".join(f"s{n + 1} = s{n} + f'{{s{n}}}/'\n" for n in range(60)) + "open(s60, 'w')\n"
    },
    "one method, many times": {"a.py": "class A:\n" + " def set(self, k):\n  self.set(k)\n" * 300},
    "many branches": {"a.py": "def f():\n" + "  if a:\n    return R()\n" * 500 + "f().set(1)\n"},
    "many caches": {
        "a.py": "".join(f"cache_{n} = {{}}\ndef f{n}(k, v):\n  cache_{n}[k] = cache_{n}.get(v)\n" for n in range(500))
    },
    "many files": {
        "a.py": "".join(f"def f{n}(k):\n  open(f'd/{{k}}{n}', 'w')\n  open(f'd/{{k}}{n}b')\n" for n in range(200))
    },
    "spaces": {
        "a.ipynb": json.dumps({"cells": [{"cell_type": "code", "source": " " * 500_000 + "x"}], "nbformat": 4}),
        ".env": "A=" + " " * 500_000 + "x",
        "main.tf": "a = " + " " * 500_000 + '"x',
        "Dockerfile": "\n" * 500_000 + "FROM" + " " * 500_000,
        "compose.yaml": (" " * 1_000 + "a:\n") * 500,
    },
    "addresses": {"a.py": f"import redis\nredis.Redis.from_url('redis://{'sk-' * 100_000}')\n"},
    "aliases of YAML": {
        "compose.yaml": "services:\n  a: &a {image: redis}\n"
        + "".join(f"  {b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in pairwise("abcdefghi"))
    },
}  # fmt: skip


@pytest.mark.parametrize("files", CONTENTS.values(), ids=CONTENTS)
def test_contents(tmp_path: Path, files: dict[str, str | bytes]) -> None:
    write(tmp_path, {**files, "store.py": STORE})
    assert "store.py" in {site.path for site in scan(tmp_path).sites}


def test_nothing_of_the_folder_is_run(tmp_path: Path) -> None:
    evil = dict.fromkeys(
        ("setup.py", "sitecustomize.py", "usercustomize.py", "conftest.py", "yaml.py", "kedge.py", "a/__init__.py"),
        EVIL,
    )
    package = json.dumps({"scripts": {"preinstall": "touch ran", "prepare": "touch ran"}})
    write(
        tmp_path, {**evil, "package.json": package, ".git/config": "[core]\n\tfsmonitor = touch ran\n", "a/b.py": STORE}
    )
    before = sorted(path.name for path in tmp_path.rglob("*"))
    run = subprocess.run(
        [sys.executable, "-P", "-c", HOOK, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    sites, seen = json.loads(run.stdout)
    assert seen == []
    assert sites > 0
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
