"""Stores of a scan: each with its sites, and with what of it can be taken back."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from kedge.discovery.capabilities import Ability, Capabilities, Capability
from kedge.discovery.sites import Site, SiteClass, StateKind

Reach: TypeAlias = Ability | Literal["unknown"]
"""What can be taken back, "unknown" for a store that the capability table does not have."""

WORST_FIRST: tuple[Reach, ...] = ("none", "unknown", "copy", "history", "backup", "snapshot", "pitr", "fork")
SINKS = frozenset({"file:log", "file:export", "file:tmp", "file:upload", "file:config", "ui-session"})
"""Families that no agent reads back: not state that a rollback must take back."""

CLASSES: tuple[SiteClass, ...] = ("bind", "write", "attach", "decl", "pin")


class Store(msgspec.Struct, frozen=True):
    """Stores of one family of which the same can be taken back.

    `capability`: what can be taken back if the `conditions` hold, which no scan can check. `unit`: what goes back
    together. `lost`: what a restore loses. `entries`: those of the capability table that may hold, the assumed one
    first. `sites`: number of sites by class. `checked`: when the source of the assumed one was read.
    """

    name: str
    title: str
    kinds: tuple[StateKind, ...]
    capability: Reach
    unit: str
    lost: str
    needs: tuple[str, ...]
    conditions: tuple[str, ...]
    verified: bool
    gone: str
    entries: tuple[str, ...]
    sites: dict[str, int]
    checked: dt.date | None = None

    @property
    def key(self) -> str:
        """Name that is unique among the stores of a scan, and does not depend on the others."""
        return f"{self.name}/{self.entries[0] if self.entries else 'unknown'}"

    @property
    def rank(self) -> int:
        """Place among the abilities, the worst first."""
        return WORST_FIRST.index(self.capability)


def stores_of(sites: Iterable[Site], capabilities: Capabilities) -> tuple[Store, ...]:
    """Return the stores of sites: what cannot be taken back first, of it what agents read, then by name.

    A family is several stores if its kinds can be taken back in several ways, as a server and a local file. A site
    whose kind is decided at run time belongs to the worst of them.
    """
    kinds: dict[str, set[StateKind]] = {}
    for site in sites:
        kinds.setdefault(site.store, set()).add(site.kind)
    stores = [store for name in kinds for store in _of_family(name, kinds[name], sites, capabilities)]
    return tuple(
        sorted(stores, key=lambda store: (not store.gone, store.rank, store.name in SINKS, store.name, store.kinds))
    )


def store_of(site: Site, stores: Iterable[Store]) -> Store:
    """Return the store of a site."""
    return next(store for store in stores if store.name == site.store and site.kind in store.kinds)


def _of_family(name: str, kinds: set[StateKind], sites: Iterable[Site], capabilities: Capabilities) -> Iterable[Store]:
    known = {kind: capabilities.of(name, kind) for kind in sorted(kinds - {"config"} or kinds)}
    groups: dict[str, list[StateKind]] = {}
    for kind, entries in known.items():
        groups.setdefault(entries[0].id if entries else "", []).append(kind)
    worst = min(groups, key=lambda key: (_rank(known[groups[key][0]]), key))
    if "config" in kinds and "config" not in groups[worst]:
        groups[worst].append("config")
    return [_store(name, tuple(sorted(group)), known[group[0]], sites) for group in groups.values()]


def _rank(entries: Sequence[Capability]) -> int:
    return WORST_FIRST.index(entries[0].capability if entries else "unknown")


def _store(name: str, kinds: tuple[StateKind, ...], entries: Sequence[Capability], sites: Iterable[Site]) -> Store:
    first = entries[0] if entries else None
    found = [site.site_class for site in sites if site.store == name and site.kind in kinds]
    return Store(
        name=name,
        title=first.title if first else name,
        kinds=kinds,
        capability=first.capability if first else "unknown",
        unit=first.unit if first else "",
        lost=first.lost if first else "",
        needs=first.needs if first else (),
        conditions=first.conditions if first else (),
        verified=first is None or first.verified,
        gone=first.gone.isoformat() if first is not None and first.gone else "",
        entries=tuple(entry.id for entry in entries),
        sites={each: found.count(each) for each in CLASSES if each in found},
        checked=first.checked if first else None,
    )


_SENTENCES: Mapping[Reach, str] = {
    "none": "cannot be taken back",
    "unknown": "not known whether it can be taken back: the capability table has no entry",
    "copy": "can be taken back only to a copy of the {unit} that was made beforehand",
    "history": "old values are kept for each {unit}, but no call puts them back",
    "backup": "can be taken back to a backup of the {unit}",
    "snapshot": "can be taken back to a snapshot of the {unit}",
    "pitr": "can be taken back to a moment, the whole {unit} at once",
    "fork": "can be taken back by a fork or version of the {unit}",
}


def sentence(store: Store) -> str:
    """Return what can be taken back, in one sentence without a full stop."""
    if store.gone:
        return f"this service ended on {store.gone}: its state cannot be reached"
    text = _SENTENCES[store.capability].format(unit=store.unit)
    if store.conditions:
        text += f" ({'; '.join(store.conditions)})"
    if store.lost and store.capability != "unknown":
        text += f"; lost: {store.lost}"
    return text if store.verified else f"{text} (unverified)"
