"""Stores of a scan: each with its sites, and with what of it can be taken back."""

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

import msgspec

from kedge.discovery.capabilities import Ability, Capabilities, Capability
from kedge.discovery.sites import Site, SiteClass, StateKind

Reach: TypeAlias = Ability | Literal["unknown"]
"""What can be taken back, "unknown" for a store that the capability table does not have."""

WORST_FIRST: tuple[Reach, ...] = ("none", "unknown", "copy", "history", "backup", "snapshot", "pitr", "fork")
CLASSES: tuple[SiteClass, ...] = ("bind", "write", "attach", "decl", "pin")


class Store(msgspec.Struct, frozen=True):
    """One family of stores.

    `capability`: what can be taken back in the worst of its kinds, without conditions that no scan can check.
    `unit`: what goes back together. `lost`: what a restore loses. `conditions`: when this holds. `entries`: those of
    the capability table that may hold, the assumed one first. `sites`: number of sites by class.
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

    @property
    def rank(self) -> int:
        """Place among the abilities, the worst first."""
        return WORST_FIRST.index(self.capability)


def stores_of(sites: Iterable[Site], capabilities: Capabilities) -> tuple[Store, ...]:
    """Return the stores of sites: what cannot be taken back first, then by name."""
    by_store: dict[str, list[Site]] = {}
    for site in sites:
        by_store.setdefault(site.store, []).append(site)
    stores = (_store(name, found, capabilities) for name, found in by_store.items())
    return tuple(sorted(stores, key=lambda store: (not store.gone, store.rank, store.name)))


def _store(name: str, sites: Iterable[Site], capabilities: Capabilities) -> Store:
    sites = list(sites)
    kinds = tuple(sorted({site.kind for site in sites}))
    known = tuple(kind for kind in kinds if kind != "config") or kinds
    entries = [entry for kind in known for entry in capabilities.of(name, kind)]
    assumed = [found[0] for kind in known if (found := capabilities.of(name, kind))]
    worst = min(assumed, key=lambda entry: WORST_FIRST.index(entry.capability), default=None)
    return Store(
        name=name,
        title=worst.title if worst else name,
        kinds=kinds,
        capability=worst.capability if worst else "unknown",
        unit=worst.unit if worst else "",
        lost=worst.lost if worst else "",
        needs=worst.needs if worst else (),
        conditions=worst.conditions if worst else (),
        verified=worst is None or worst.verified,
        gone=worst.gone.isoformat() if worst is not None and worst.gone else "",
        entries=_ids(worst, entries),
        sites={each: number for each in CLASSES if (number := sum(site.site_class == each for site in sites))},
    )


def _ids(first: Capability | None, entries: Iterable[Capability]) -> tuple[str, ...]:
    ids = dict.fromkeys([first.id] if first else [])
    return tuple(ids | dict.fromkeys(entry.id for entry in entries))


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
