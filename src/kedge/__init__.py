"""Kedge: causal rollback for multi-agent AI systems.

The public names are those of `kedge.public`, which is imported when one of them is first used: `import kedge` by itself
costs next to nothing.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kedge.public import *  # noqa: F403
    from kedge.public import __all__ as __all__

__version__ = "0.1.0"


class _Package(ModuleType):
    """This package. Its public names appear at the first use of any of them."""

    def __getattr__(self, name: str) -> Any:
        """Return a module of the package, or a public name."""
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module 'kedge' has no attribute {name!r}")
        if name != "open" and find_spec(f"kedge.{name}") is not None:
            return import_module(f"kedge.{name}")
        public = import_module("kedge.public")
        vars(self).update({"__all__": public.__all__} | {each: getattr(public, each) for each in public.__all__})
        try:
            return vars(self)[name]
        except KeyError:
            raise AttributeError(f"module 'kedge' has no attribute {name!r}") from None

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute; but importing the module `kedge.open` does not hide the function of that name."""
        if name != "open" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        """Return the public names, and what is imported."""
        return sorted({*vars(self), *self.__all__})


sys.modules[__name__].__class__ = _Package
