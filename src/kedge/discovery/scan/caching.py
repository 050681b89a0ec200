"""Results of earlier scans, by the digest of all that they depend on."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TypeVar

import msgspec

from kedge.discovery.sites import Unparsed

MOST_RESULTS = 50
Result = TypeVar("Result")


def default_folder() -> Path | None:
    """Return the folder of results: `kedge/scan` in the user's cache folder; null for a user without a home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not base.startswith("/"):
        base = os.path.expanduser("~/.cache")  # noqa: PTH111 - Path.home() raises where there is none
    return Path(base) / "kedge" / "scan" if base.startswith("/") else None


def key_of(digest: str, skipped: Sequence[Unparsed], rules: Iterable[bytes], environment: Mapping[str, str]) -> str:
    """Return the key of a result: files, rules, environment, and the code of the scan."""
    parts = (digest, msgspec.to_builtins(skipped), list(rules), sorted(environment.items()), code_digest())
    return hashlib.sha256(msgspec.msgpack.encode(parts)).hexdigest()


@cache
def code_digest() -> str:
    """Return the SHA-256 over the code and the data of `kedge.discovery`: another release finds other sites."""
    whole = hashlib.sha256()
    folders = [resources.files("kedge.discovery")]
    while folders:
        for entry in sorted(folders.pop().iterdir(), key=lambda entry: entry.name):
            if entry.is_dir():
                folders.append(entry)
            elif entry.name.endswith((".py", ".toml")):
                whole.update(entry.name.encode() + b"\0" + entry.read_bytes())
    return whole.hexdigest()


class ScanCache:
    """A folder of results. What cannot be read or written is as if it were not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str, kind: type[Result]) -> Result | None:
        """Return a result, or None."""
        with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return msgspec.msgpack.decode((self._folder / f"{key}.msgpack").read_bytes(), type=kind)
        return None

    def put(self, key: str, result: object) -> None:
        """Keep a result, and remove the oldest ones."""
        draft = self._folder / f".{key}.{os.getpid()}.{os.urandom(4).hex()}"
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                draft.write_bytes(msgspec.msgpack.encode(result))
                draft.replace(self._folder / f"{key}.msgpack")
            finally:
                draft.unlink(missing_ok=True)
            results = sorted(self._folder.glob("*.msgpack"), key=lambda path: path.stat().st_mtime_ns)
            for old in results[:-MOST_RESULTS]:
                old.unlink(missing_ok=True)

    def is_inside(self, root: Path) -> bool:
        """Whether the folder is part of another: a scan writes nothing into what it reads."""
        return Path(os.path.realpath(self._folder)).is_relative_to(os.path.realpath(root))
