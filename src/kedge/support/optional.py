"""Packages that Kedge works with where they are installed."""

import importlib
from typing import Any

from kedge.errors import Misuse


def require(module: str, extra: str) -> Any:
    """Return an optional module, or raise `Misuse` that says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Misuse(
            f"this needs the Python package {module.partition('.')[0]}, which cannot be imported ({error}); "
            f'install it with: pip install "kedge[{extra}]"'
        ) from error
