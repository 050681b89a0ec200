"""Arguments of a call, by keyword, position or field of an object literal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from kedge.discovery import ir
from kedge.discovery.scan.rules import Argument

Follow: TypeAlias = Callable[[ir.Expression], ir.Expression]
"""Gives the expression that a name stands for, or the name itself."""


def argument_of(call: ir.Call, argument: Argument, follow: Follow) -> ir.Expression | None:
    """Return an argument of a call, None if it is not given or cannot be seen."""
    for key in argument if isinstance(argument, tuple) else (argument,):
        found = positional(call, key, follow) if isinstance(key, int) else keyword(call, key, follow)
        if found is not None:
            return found
    return None


def positional(call: ir.Call, position: int, follow: Follow) -> ir.Expression | None:
    """Return the argument at a position; those behind `*values` are looked for in a literal."""
    arguments: list[ir.Expression] = []
    for node in call.arguments:
        if isinstance(node, ir.Spread):
            inner = follow(node.value)
            if not isinstance(inner, ir.Sequence):
                break
            arguments += inner.items
        else:
            arguments.append(node)
    return arguments[position] if position < len(arguments) else None


def keyword(call: ir.Call, name: str, follow: Follow) -> ir.Expression | None:
    """Return a keyword argument, also of `**literal`, or the property of an object literal among the arguments."""
    for node in call.keywords:
        if node.name == name:
            return node.value
        if not node.name and (found := property_of(follow(node.value), name, follow)) is not None:
            return found
    if call.keywords:
        return None
    for argument in call.arguments:
        literal = follow(argument)
        if isinstance(literal, ir.Mapping) and (found := property_of(literal, name, follow)) is not None:
            return found
    return None


def property_of(node: ir.Expression, name: str, follow: Follow) -> ir.Expression | None:
    """Return the value of a key of a literal, of `dict(…)` and of literals that it spreads; or a call's keyword."""
    if isinstance(node, ir.Call):
        return next((word.value for word in node.keywords if word.name == name), None)
    if not isinstance(node, ir.Mapping):
        return None
    for key, value in reversed(node.items):
        if isinstance(key, ir.Text) and key.value == name:
            return value
        if key is None and (found := property_of(follow(value), name, follow)) is not None:
            return found
    return None


def parameter_argument(call: ir.Call, parameters: tuple[ir.Parameter, ...], position: int) -> ir.Expression | None:
    """Return the argument that a call gives to the parameter at a position (without `self`)."""
    parameter = parameters[position]
    for word in call.keywords:
        if word.name == parameter.name:
            return word.value
    plain = []
    for argument in call.arguments:
        if isinstance(argument, ir.Spread):
            break
        plain.append(argument)
    return plain[position] if parameter.kind == "normal" and position < len(plain) else None
