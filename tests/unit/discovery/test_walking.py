"""A scan reads what is there, in a fixed order, follows no link, and names what it leaves out."""

import os
from pathlib import Path

import pytest

from kedge.discovery.scan import walking
from kedge.discovery.scan.languages import WANTED
from kedge.discovery.scan.walking import is_test, walk
from kedge.errors import InvalidValue


def _tree(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_files_come_in_the_order_of_their_paths_however_they_were_made(tmp_path: Path) -> None:
    _tree(tmp_path / "one", b_py="", a__z_py="", a__b_py="", **{"a-b_py": ""})
    _tree(tmp_path / "two", **{"a-b_py": ""}, a__b_py="", a__z_py="", b_py="")
    orders = [[file.path for file in walk(tmp_path / name, wanted=WANTED).files] for name in ("one", "two")]
    assert orders[0] == orders[1] == ["a-b.py", "a/b.py", "a/z.py", "b.py"]


def test_links_are_named_and_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    _tree(outside, secret_py="x = 1")
    root = tmp_path / "root"
    _tree(root, app_py="")
    (root / "loop").symlink_to(root)
    (root / "folder").symlink_to(outside)
    (root / "file.py").symlink_to(outside / "secret.py")
    found = walk(root, wanted=WANTED)
    assert [file.path for file in found.files] == ["app.py"]
    assert [(each.path, each.reason) for each in found.skipped] == [
        (path, "skipped: a symbolic link") for path in ("file.py", "folder", "loop")
    ]


def test_what_is_too_large_binary_or_special_is_named(tmp_path: Path) -> None:
    (tmp_path / "large.py").write_bytes(b"#" * 2_000_001)
    (tmp_path / "fits.py").write_bytes(b"#" * 2_000_000)
    (tmp_path / "binary.py").write_bytes(b"a\0b")
    (tmp_path / "lib.min.js").write_bytes(b"x")
    (tmp_path / os.fsdecode(b"caf\xe9.py")).write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.py")
    found = walk(tmp_path, wanted=WANTED)
    assert [file.path for file in found.files] == ["fits.py"]
    assert {each.path: each.reason for each in found.skipped} == {
        "binary.py": "skipped: binary",
        "caf\\xe9.py": "skipped: its name is not UTF-8",
        "large.py": "skipped: larger than 2 MB",
        "lib.min.js": "skipped: minified",
        "pipe.py": "skipped: not a regular file",
    }


def test_packages_environments_and_build_output_are_left_out(tmp_path: Path) -> None:
    _tree(tmp_path, src__app_py="", node_modules__x_py="", dist__x_py="", mine__lib__x_py="", **{".git__x_py": ""})
    (tmp_path / "out" / "_next").mkdir(parents=True)
    (tmp_path / "mine" / "pyvenv.cfg").write_text("")
    found = walk(tmp_path, wanted=WANTED)
    assert [file.path for file in found.files] == ["src/app.py"]
    assert {each.path: each.reason for each in found.skipped} == {
        "dist": "skipped: build output",
        "mine": "skipped: a virtual environment",
        "node_modules": "skipped: installed packages",
        "out/_next": "skipped: build output",
    }


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("tests/a.py", True), ("src/test_a.py", True), ("src/a_test.py", True), ("app/a.test.ts", True),
        ("app/a.spec.tsx", True), ("app/__tests__/a.ts", True), ("src/contest.py", False), ("src/latest_a.py", False),
        ("src/testing.py", False),
    ],
)  # fmt: skip
def test_test_files_are_known_by_their_names(tmp_path: Path, path: str, expected: bool) -> None:
    assert is_test(path) is expected
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text("")
    assert [file.path for file in walk(tmp_path, wanted=WANTED).files] == ([] if expected else [path])
    assert [file.path for file in walk(tmp_path, wanted=WANTED, tests=True).files] == [path]


def test_deep_folders_are_walked_without_recursion(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(300):
        deep /= "d"
    deep.mkdir(parents=True)
    (deep / "a.py").write_text("")
    assert len(walk(tmp_path, wanted=WANTED).files) == 1


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="not a folder"):
        walk(tmp_path / "missing", wanted=WANTED)


def test_all_files_together_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.py", "b.py", "c.py"):
        (tmp_path / name).write_text("x" * 400)
    monkeypatch.setattr(walking, "MOST_TOTAL_BYTES", 1_000)
    found = walking.walk(tmp_path, wanted=lambda path: path.endswith(".py"))
    assert [file.path for file in found.files] == ["a.py", "b.py"]
    assert [(each.path, each.reason[:32]) for each in found.skipped] == [("c.py", "skipped: the files before it hol")]
