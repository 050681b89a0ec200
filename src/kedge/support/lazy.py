"""Modules that are imported when they are first used, since importing them takes long."""

from importlib import import_module
from typing import Any


class LazyModule:
    """Stands for a module, and imports it at the first use of one of its attributes."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        """Return an attribute of the module; the next use does not come here."""
        value = getattr(import_module(self._name), attribute)
        self.__dict__[attribute] = value
        return value
