"""The `[discovery]` tables of a `kedge.toml`: rules and capabilities of a user's own stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedge.errors import InvalidValue
from kedge.support.toml_files import read_toml


def discovery_tables(path: Path) -> dict[str, Any]:
    """Return what stands under `discovery` in a TOML file, empty where there is nothing."""
    own = read_toml(path).get("discovery", {})
    if not isinstance(own, dict):
        raise InvalidValue(f"{path}: discovery is {own!r}; write tables such as [[discovery.bind]]")
    return own
