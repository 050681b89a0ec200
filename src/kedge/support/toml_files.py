"""TOML files of users: read whole, with one error for each way to fail."""

import tomllib
from pathlib import Path
from typing import Any

from kedge.errors import InvalidValue

MOST_BYTES = 1_000_000


def read_bounded(path: Path, named: str = "") -> bytes:
    """Return the bytes of a TOML file; one larger than 1 MB is refused: parsing it would take seconds."""
    named = named or str(path)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InvalidValue(f"{named} cannot be read ({error.strerror}); check the path") from error
    if len(content) > MOST_BYTES:
        raise InvalidValue(f"{named} is larger than {MOST_BYTES // 1_000_000} MB; split it")
    return content


def read_toml(path: Path, what: str = "") -> dict[str, Any]:
    """Return the document of a TOML file, or raise `InvalidValue`; `what` names the file, as "the release file"."""
    named = f"{what} {path}" if what else str(path)
    try:
        text = read_bounded(path, named).decode()
    except UnicodeDecodeError as error:
        raise InvalidValue(f"{named} is not valid TOML: it is not UTF-8: {error}; save it as UTF-8") from None
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidValue(f"{named} is not valid TOML: {error}; correct the file") from None


__all__ = ["read_bounded", "read_toml"]
