"""The `[discovery]` tables of a `kedge.toml`: rules and capabilities of a user's own stores."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from kedge.errors import InvalidValue


def discovery_tables(path: Path) -> dict[str, Any]:
    """Return what stands under `discovery` in a TOML file, empty where there is nothing."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidValue(f"{path} cannot be read ({error.strerror}); check the path") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidValue(f"{path} is not valid TOML: {error}") from None
    own = document.get("discovery", {})
    if not isinstance(own, dict):
        raise InvalidValue(f"{path}: discovery is {own!r}; write tables such as [[discovery.bind]]")
    return own
