"""Files `kedge.toml`: that of a scanned folder, and what stands in one for discovery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedge.errors import InvalidValue
from kedge.support.toml_files import read_toml

NAME = "kedge.toml"


def own_file(root: Path) -> Path | None:
    """Return the `kedge.toml` of a folder, null if there is none; a symbolic link is not followed."""
    path = root / NAME
    return path if path.is_file() and not path.is_symlink() else None


def discovery_tables(path: Path) -> dict[str, Any]:
    """Return what stands under `discovery` in a TOML file, empty where there is nothing."""
    own = read_toml(path).get("discovery", {})
    if not isinstance(own, dict):
        raise InvalidValue(f"{path}: discovery is {own!r}; write tables such as [[discovery.bind]]")
    return own
