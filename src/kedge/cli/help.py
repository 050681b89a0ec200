"""Help texts without the names of Python types, and shell completion of deployment names."""

import sys
from contextlib import suppress
from inspect import cleandoc
from io import StringIO
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from kedge.errors import KedgeError


class PlainCommand(TyperCommand):
    """A command whose help names no types: a flag has none, and an argument is named already."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Let the terminal break the lines of the help, not the source code."""
        super().__init__(*arguments, **options)
        self.help = "\n\n".join(" ".join(each.split()) for each in cleandoc(self.help or "").split("\n\n"))

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters, the help option included."""
        return _plain(super().get_params(ctx), ctx)


class PlainGroup(TyperGroup):
    """The group of all commands, with the same help."""

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters, the help option included."""
        return _plain(super().get_params(ctx), ctx)


def _plain(parameters: list[Any], ctx: Any) -> list[Any]:
    for parameter in parameters:
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: None  # noqa: ARG005 - how typer calls it
        elif parameter.metavar is None:
            parameter.metavar = "" if parameter.is_flag else "N" if _is_number(parameter, ctx) else "TEXT"
    return parameters


def _is_number(parameter: Any, ctx: Any) -> bool:
    shown = parameter.display_type(ctx) if hasattr(parameter, "display_type") else parameter.type.name  # older typer
    return any(word in str(shown).lower() for word in ("int", "float"))


def complete_deployment(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of deployments that begin with what is typed; nothing where the database cannot be read."""
    from kedge.cli import database  # noqa: PLC0415 - a stop must not need what opens a database

    before, sys.stderr = sys.stderr, StringIO()  # a message would end up in the command line
    try:
        with suppress(KedgeError, OSError), database.for_reading(context.params.get("db")) as k:
            return [deployed.name for deployed in k.deployments() if deployed.name.startswith(incomplete)]
        return []
    finally:
        sys.stderr = before
