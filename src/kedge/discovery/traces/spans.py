"""Span of a trace, as all trace formats are decoded to it."""

from __future__ import annotations

from typing import Any

import msgspec


class Link(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The ids of a span that this one is linked to."""

    trace: bytes
    id: bytes


MOMENT_MAX = 2**63 - 1


def nanoseconds(moment: int) -> int:
    """Return a time since 1970; raise `ValueError` for one that no clock shows."""
    if not 0 <= moment <= MOMENT_MAX:
        raise ValueError(f"invalid time {str(moment)[:30]}: must be nanoseconds since 1970")
    return moment


class Span(msgspec.Struct, frozen=True):
    """One span. Ids are bytes; `parent` is empty at a root. Times are nanoseconds since 1970."""

    trace: bytes
    id: bytes
    parent: bytes
    name: str
    client: bool
    start: int
    end: int
    error: bool
    scope: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    links: tuple[Link, ...] = ()
