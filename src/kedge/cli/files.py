"""Output files of commands: written whole, or not at all."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from kedge.errors import InvalidValue


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file; where that fails, a file that was there keeps its content.

    Text is UTF-8. A symbolic link stays one. A device, a pipe, or a file in a folder that cannot be written is written
    in place.
    """
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
    target = Path(os.path.realpath(path))
    try:
        if target.is_file():
            target.open("r+b").close()  # raises where the file is read-only
        if target.exists() and not (target.is_file() and os.access(target.parent, os.W_OK)):
            target.write_bytes(raw)
        else:
            _replace(target, raw)
    except OSError as error:
        raise InvalidValue(f"cannot write {path} ({error.strerror}): choose another file") from None


def _replace(target: Path, raw: bytes) -> None:
    draft = target.with_name(f".kedge-{os.urandom(8).hex()}")
    try:
        with draft.open("xb") as file:
            file.write(raw)
        with suppress(FileNotFoundError):
            draft.chmod(stat.S_IMODE(target.stat().st_mode))
        draft.replace(target)
    except OSError as error:
        if error.errno != errno.EBUSY:  # a file that is mounted cannot be replaced
            raise
        target.write_bytes(raw)
    finally:
        draft.unlink(missing_ok=True)
