"""Capability table: what each store can take back, how fast, and what else is lost.

The table is data (`capabilities.toml`, which explains its fields). Users add and replace entries in the
`[[discovery.capability]]` tables of a `kedge.toml`.
"""

from __future__ import annotations

import datetime as dt
import functools
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from kedge.discovery.configuration import discovery_tables
from kedge.discovery.sites import StateKind
from kedge.errors import InvalidValue
from kedge.support.display import brief

Ability: TypeAlias = Literal["none", "copy", "backup", "snapshot", "pitr", "fork", "history"]
RestoreClass: TypeAlias = Literal["instant", "seconds", "minutes", "hours", "none"]

VALID_DAYS = 365
"""An entry that was checked longer ago than this may be wrong by now."""


def is_stale(checked: dt.date, today: dt.date) -> bool:
    """Whether what was checked on a day may be wrong by another day."""
    return (today - checked).days > VALID_DAYS


class Capability(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one store can take back.

    `stores`: families, with `*` for any text. `kinds`: empty for any. `capability`: see `capabilities.toml`.
    `unit`: what goes back together. `lost`: what else a restore loses. `needs`: what must be on beforehand.
    `conditions`: when the entry holds. `gone`: since when the service does not exist any more.
    `restore_…`, `provision_seconds`: documented rates, for a prediction; `restore_seconds_least`: what a small restore
    takes. `point_lag_seconds`: the newest point is that old. `cache_seconds`: clients serve an old value that long.
    """

    id: str
    title: str
    stores: tuple[str, ...]
    capability: Ability
    unit: str
    granularity: str
    restore_class: RestoreClass
    lost: str
    conditions: tuple[str, ...]
    source: str
    checked: dt.date
    needs: tuple[str, ...] = ()
    kinds: tuple[StateKind, ...] = ()
    verified: bool = True
    by_deployment: bool = False
    since: str = ""
    until: str = ""
    gone: dt.date | None = None
    restore_bytes_per_second: float | None = None
    restore_rows_per_second: float | None = None
    restore_seconds_least: float | None = None
    provision_seconds: float | None = None
    point_lag_seconds: float | None = None
    cache_seconds: float | None = None

    def rank(self, store: str, kind: StateKind) -> int:
        """Return how closely this entry is about a store: 0 not at all, 1 by its kind only, more for a longer name."""
        if self.kinds and kind not in self.kinds:
            return 0
        matching = [pattern for pattern in self.stores if fnmatchcase(store, pattern)]
        return max((1 + len(pattern.rstrip("*")) + (pattern == store) for pattern in matching), default=0)


class Capabilities(msgspec.Struct, frozen=True):
    """The entries, the user's before the shipped ones."""

    entries: tuple[Capability, ...]

    @classmethod
    def load(cls, *files: Path) -> Capabilities:
        """Return the shipped table, with what `kedge.toml` files add to it, or replace by `id`."""
        own = tuple(entry for file in files for entry in _entries(str(file), discovery_tables(file)))
        replaced = {entry.id for entry in own}
        return cls(own + tuple(entry for entry in _shipped() if entry.id not in replaced))

    def of(self, store: str, kind: StateKind) -> tuple[Capability, ...]:
        """Return the entries of a store, of which the first is assumed; empty where nothing is known.

        Only those about it most closely: an entry of its family hides one of its kind.
        """
        ranks = [entry.rank(store, kind) for entry in self.entries]
        best = max(ranks, default=0)
        return tuple(entry for entry, rank in zip(self.entries, ranks, strict=True) if rank == best > 0)


_WORDS = {"capability": get_args(Ability), "restore_class": get_args(RestoreClass)}


@functools.cache
def _shipped() -> tuple[Capability, ...]:
    text = resources.files("kedge.discovery").joinpath("capabilities.toml").read_text(encoding="utf-8")
    return _entries("capabilities.toml", tomllib.loads(text))


def _entries(where: str, document: Mapping[str, Any]) -> tuple[Capability, ...]:
    tables = document.get("capability", [])
    if not isinstance(tables, list):
        raise InvalidValue(f"{where}: capability must be tables, not {tables!r}; write [[discovery.capability]]")
    entries = tuple(_entry(f"{where}: capability {number}", table) for number, table in enumerate(tables, 1))
    ids = [entry.id for entry in entries]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise InvalidValue(f"{where}: the capability {twice[0]!r} is there twice; give each its own id")
    return entries


def _entry(where: str, table: object) -> Capability:
    given: dict[str, Any] = table if isinstance(table, dict) else {}
    name = given.get("id")
    if isinstance(name, str):
        where = f"{where} ({name!r})"
    for key, legal in _WORDS.items():
        if key in given and given[key] not in legal:
            raise InvalidValue(f"{where}: invalid {key} {brief(given[key])}: must be {', '.join(legal)}")
    try:
        entry = msgspec.convert(table, Capability)
    except msgspec.ValidationError as error:
        raise InvalidValue(f"{where} is not valid: {error}; correct it, see docs/scan.md") from None
    texts = {"id": entry.id, "title": entry.title, "source": entry.source, "unit": entry.unit, "lost": entry.lost}
    if empty := [key for key, text in texts.items() if not text.strip()]:
        raise InvalidValue(f"{where} has an empty {empty[0]}; say it, or leave the entry out")
    if not entry.stores or not all(entry.stores):
        raise InvalidValue(f'{where} is about no store; name one, such as stores = ["qdrant"]')
    return entry
