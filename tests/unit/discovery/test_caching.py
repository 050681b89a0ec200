"""Results of earlier scans: what cannot be read or written is as if it were not there."""

import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kedge.discovery.scan.caching import ScanCache, default_folder
from kedge.discovery.scanning import scan

KEY = "0" * 64


def test_a_result_comes_back(tmp_path: Path) -> None:
    cache = ScanCache(tmp_path / "new" / "folder")
    assert cache.get(KEY, list[int]) is None
    cache.put(KEY, [1, 2])
    assert cache.get(KEY, list[int]) == [1, 2]
    assert (tmp_path / "new" / "folder").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"", b"\x92\x01", b"\xc1", b"no msgpack at all", b"\xa3abc"])
def test_a_damaged_or_foreign_file_is_no_result(tmp_path: Path, content: bytes) -> None:
    cache = ScanCache(tmp_path)
    (tmp_path / f"{KEY}.msgpack").write_bytes(content)
    assert cache.get(KEY, list[int]) is None
    cache.put(KEY, [1, 2])
    assert cache.get(KEY, list[int]) == [1, 2]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text(""),
        lambda path: path.symlink_to("/dev/null/none"),
        lambda path: path.symlink_to(path),
    ],
)
def test_a_folder_that_cannot_be_used(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    spoil(tmp_path / "cache")
    cache = ScanCache(tmp_path / "cache")
    cache.put(KEY, [1, 2])
    assert cache.get(KEY, list[int]) is None
    assert not cache.is_inside(tmp_path / "other")


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # as a container does for a user it does not know
    assert default_folder() is None


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        write(path, content[:1])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    cache = ScanCache(tmp_path)
    cache.put(KEY, [1, 2])
    assert cache.get(KEY, list[int]) is None
    assert list(tmp_path.iterdir()) == []


def test_writers_at_once_leave_a_whole_result(tmp_path: Path) -> None:
    caches = [ScanCache(tmp_path) for _ in range(4)]
    result = list(range(2_000))

    def work(cache: ScanCache) -> list[object]:
        seen: list[object] = []
        for _ in range(25):
            cache.put(KEY, result)
            seen.append(cache.get(KEY, list[int]))
        return seen

    with ThreadPoolExecutor(4) as pool:
        seen = [each for found in pool.map(work, caches) for each in found]
    assert seen == [result] * 100
    assert [path.name for path in tmp_path.iterdir()] == [f"{KEY}.msgpack"]


def test_a_cache_in_the_scanned_folder_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import redis\nredis.Redis()\n")
    assert scan(tmp_path, cache=tmp_path / ".cache" / "kedge").sites == scan(tmp_path).sites
    assert [path.name for path in tmp_path.iterdir()] == ["a.py"]
