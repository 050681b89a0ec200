"""Imports of optional packages."""

import importlib
from typing import Any

from kedge.errors import Misuse


def require(module: str, extra: str) -> Any:
    """Return an optional module, or raise `Misuse` that says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Misuse(
            f"the Python package {module.partition('.')[0]} cannot be imported ({error}); "
            f'install it with: pip install "kedge[{extra}]"'
        ) from error
