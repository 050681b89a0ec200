"""Stored form of a turn's session: its name, or for a long one an alias, so that the name is stored once."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

import msgspec

from kedge.model.names import ESCAPE

LONG_CHARACTERS = 64  # longer names have an alias; the backfill's SQL says the same
ALIAS = f"{ESCAPE}#"  # no name begins so: four hexadecimal digits follow an escape character


class OfSession(Protocol):
    """A value that belongs to a session."""

    @property
    def session(self) -> str | None:
        """The session, as stored or by its name."""


T = TypeVar("T", bound=OfSession)


def is_long(session: str | None) -> bool:
    """Return whether turns store an alias of a session."""
    return session is not None and len(session) > LONG_CHARACTERS


def alias_of(ident: int) -> str:
    """Return the alias of the session name with this id."""
    return f"{ALIAS}{ident}"


def ids_in(values: Iterable[OfSession]) -> set[int]:
    """Return the ids of the session names whose aliases these values hold."""
    return {int(v.session[len(ALIAS) :]) for v in values if v.session is not None and v.session.startswith(ALIAS)}


def with_names(values: Iterable[T], names: dict[int, str]) -> list[T]:
    """Return these values with names in place of aliases."""
    by_alias = {alias_of(ident): name for ident, name in names.items()}
    return [
        msgspec.structs.replace(value, session=by_alias[value.session]) if value.session in by_alias else value  # type: ignore[type-var]
        for value in values
    ]
