"""TOML files of users: read whole, with one error for each way to fail."""

import tomllib
from pathlib import Path
from typing import Any

from kedge.errors import InvalidValue


def read_toml(path: Path, what: str = "") -> dict[str, Any]:
    """Return the document of a TOML file, or raise `InvalidValue`; `what` names the file, as "the release file"."""
    named = f"{what} {path}" if what else str(path)
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise InvalidValue(f"{named} cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise InvalidValue(f"{named} is not valid TOML: it is not UTF-8: {error}; save it as UTF-8") from None
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidValue(f"{named} is not valid TOML: {error}; correct the file") from None


__all__ = ["read_toml"]
