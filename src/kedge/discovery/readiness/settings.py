"""Settings of readiness: what the user knows of the stores, from `[readiness]` of a `kedge.toml`."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from kedge.errors import InvalidValue, nearest
from kedge.model.durations import check_duration
from kedge.model.readiness import Span
from kedge.support.display import Value, brief
from kedge.support.toml_files import read_toml

_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", re.IGNORECASE)
_FACTORS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_KEYS = ("slo", "detect", "restart", "agree", "point_interval", "stores")
_STORE_KEYS = ("bytes", "rows", "tested", "rebuilt_from", "isolated", "rows_per_second", "bytes_per_second", "holds")


class StoreFacts(Value, frozen=True):
    """What the user knows of one store.

    `tested`: when its way back was last tried, in seconds since 1970. `isolated`: whether each deployment writes apart.
    `holds`: whether the conditions of its way back are known to hold.
    """

    bytes: float | None = None
    rows: float | None = None
    tested: float | None = None
    rebuilt_from: str = ""
    isolated: bool | None = None
    rows_per_second: float | None = None
    bytes_per_second: float | None = None
    holds: bool = False


class ReadinessSettings(Value, frozen=True):
    """The times around a restoration, in seconds, and what is known of stores by family. None: not known."""

    slo: float = 300.0
    detect: Span | None = None
    restart: Span | None = None
    agree: Span | None = None
    point_interval: float | None = None
    stores: dict[str, StoreFacts] = msgspec.field(default_factory=dict)


def read_settings(path: Path | None) -> ReadinessSettings:
    """Return the settings of a TOML file with a table `[readiness]`; the defaults without a file or a table."""
    if path is None:
        return ReadinessSettings()
    table = read_toml(path).get("readiness", {})
    try:
        return parse_settings(table)
    except InvalidValue as error:
        raise InvalidValue(f"{path}: {error}") from None


def parse_settings(table: object) -> ReadinessSettings:
    """Return the settings of a table `[readiness]`, or raise `InvalidValue`."""
    found = _table("readiness", table, _KEYS)
    stores = found.get("stores", {})
    if not isinstance(stores, Mapping):
        raise InvalidValue(f"invalid readiness.stores {brief(stores)}: write tables such as [readiness.stores.qdrant]")
    return ReadinessSettings(
        slo=check_duration("slo of readiness", found.get("slo", 300.0)),
        detect=_span("detect", found),
        restart=_span("restart", found),
        agree=_span("agree", found),
        point_interval=check_duration("point_interval", found["point_interval"]) if "point_interval" in found else None,
        stores={name: _facts(f"readiness.stores.{name}", facts) for name, facts in stores.items()},
    )


def _table(where: str, given: object, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InvalidValue(f"invalid {where} {brief(given)}: must be a table [{where}]")
    for key in given:
        if key not in known:
            raise InvalidValue(
                f"unknown key {brief(key)} in [{where}]{nearest(str(key), known)}; keys: {', '.join(known)}"
            )
    return dict(given)


def _span(name: str, table: Mapping[str, Any]) -> Span | None:
    """Return a duration, or three of them: fast, likely, worst."""
    if name not in table:
        return None
    given = table[name] if isinstance(table[name], list) else [table[name]] * 3
    if len(given) != len(("fast", "likely", "worst")):
        raise InvalidValue(f'invalid {name} {brief(table[name])}: write one duration, or ["fast", "likely", "worst"]')
    fast, likely, worst = (check_duration(f"{name} of readiness", each) for each in given)
    if not fast <= likely <= worst:
        raise InvalidValue(f"invalid {name} {brief(table[name])}: must rise from fast to worst")
    return Span(fast, likely, worst)


def _facts(where: str, given: object) -> StoreFacts:
    table = _table(where, given, _STORE_KEYS)
    for key in ("isolated", "holds"):
        if not isinstance(table.get(key, True), bool):
            raise InvalidValue(f"invalid {key} {brief(table[key])} in [{where}]: must be true or false")
    if not isinstance(table.get("rebuilt_from", ""), str):
        raise InvalidValue(f"invalid rebuilt_from {brief(table['rebuilt_from'])} in [{where}]: must be text")
    return StoreFacts(
        bytes=_amount(where, "bytes", table),
        rows=_amount(where, "rows", table),
        tested=_date(where, table.get("tested")),
        rebuilt_from=table.get("rebuilt_from", ""),
        isolated=table.get("isolated"),
        rows_per_second=_amount(where, "rows_per_second", table),
        bytes_per_second=_amount(where, "bytes_per_second", table),
        holds=table.get("holds", False),
    )


def _amount(where: str, key: str, table: Mapping[str, Any]) -> float | None:
    """Return a number that is not negative, or bytes such as "40 GB"."""
    given = table.get(key)
    if given is None:
        return None
    if isinstance(given, str) and key.startswith("bytes") and (found := _BYTES.fullmatch(given.strip())):
        return float(found[1]) * _FACTORS[found[2].upper()]
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < float("inf"):
        like = ' or text such as "40 GB"' if key.startswith("bytes") else ""
        raise InvalidValue(f"invalid {key} {brief(given)} in [{where}]: must be a number{like}")
    return float(given)


def _date(where: str, given: object) -> float | None:
    if given is None:
        return None
    if isinstance(given, dt.datetime):
        return given.astimezone(dt.UTC).timestamp() if given.tzinfo else given.replace(tzinfo=dt.UTC).timestamp()
    if isinstance(given, dt.date):
        return dt.datetime(given.year, given.month, given.day, tzinfo=dt.UTC).timestamp()
    raise InvalidValue(f"invalid tested {brief(given)} in [{where}]: write a date such as 2026-11-30, without quotes")


__all__ = ["ReadinessSettings", "StoreFacts", "parse_settings", "read_settings"]
