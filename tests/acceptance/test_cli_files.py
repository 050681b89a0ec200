"""Files that commands write: whole or not at all; and names of files that are not UTF-8."""

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kedge.cli.files import write_file
from kedge.errors import InvalidValue
from tests.acceptance.cli import Run, runner

APP = "import redis\nredis.Redis().set('a', 1)\n"
WRITERS = (
    ("scan", "--sarif"), ("scan", "--cyclonedx"), ("scan", "--write-baseline"), ("map", "--html"),
    ("readiness", "--html"),
)  # fmt: skip


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "a.py").write_text(APP)
    return runner(capsys, None)


@contextmanager
def full_disk() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize(("command", "option"), WRITERS)
def test_a_full_disk_leaves_the_file_that_was_there(run: Run, tmp_path: Path, command: str, option: str) -> None:
    place = tmp_path / "out" / "file"
    place.parent.mkdir()
    place.write_text("before")
    with full_disk():
        result = run(command, "app", option, str(place))
    assert (result.code, "cannot write" in result.err) == (2, True)
    assert [path.name for path in place.parent.iterdir()] == ["file"]
    assert place.read_text() == "before"
    assert run(command, "app", option, str(place.parent)).code == 2
    assert run(command, "app", option, str(tmp_path / "missing" / "file")).code == 2
    assert run(command, "app", option, str(place)).code == 0
    assert place.read_text() != "before"


def test_a_link_stays_one_and_a_mode_is_kept(tmp_path: Path) -> None:
    place, link = tmp_path / "file", tmp_path / "link"
    place.write_text("before")
    place.chmod(0o640)
    link.symlink_to(place)
    write_file(link, "after\udcff")
    assert (link.is_symlink(), place.read_text()) == (True, "after\\udcff")
    assert place.stat().st_mode & 0o777 == 0o640
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_file(tmp_path / "pipe", "through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    with pytest.raises(InvalidValue, match="No space"):
        write_file(Path("/dev/full"), "x")


def test_a_folder_whose_name_is_not_utf_8(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xffapp")
    folder.mkdir()
    (folder / "a.py").write_text(APP)
    assert run("readiness", str(folder), "--json").document["root"].endswith("\\udcffapp")
    assert run("readiness", str(folder), "--html", "page.html").code == 0
    assert "\\udcffapp" in (tmp_path / "page.html").read_text()
    assert "\\udcffnone" in run("scan", os.fsdecode(b"\xffnone"), "--json").document["error"]["message"]
    assert json.loads((run("map", str(folder), "--json")).out)["coverage"]["sites"] == 2
