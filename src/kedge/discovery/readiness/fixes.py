"""Smallest changes that make a store ready: by what it lacks, with the place in the code."""

from __future__ import annotations

from collections.abc import Sequence

from kedge.discovery.capabilities import Capability
from kedge.discovery.sites import Site, StateKind
from kedge.model.readiness import POINTS, VERSIONED, Fix, Scored, WayBack
from kedge.support.display import Value

FAULT_POINTS = 100  # first of all: the state is lost at the next restart, or is lost already
_MOVES = {  # by the beginning of a family: what takes its place in Kedge
    "lg-saver": "kedge.integrations.langgraph.KedgeSaver",
    "lg-store": "kedge.integrations.langgraph.KedgeStore",
    "proc-cache": "turn.cache.get_or_compute",
    "proc-global": "turn.context",
    "file:cache": "turn.cache.get_or_compute",
    "file:memory": "turn.memory or turn.documents",
    "file:run": "turn.documents",
}
_VECTORS = (
    "chroma", "pinecone", "qdrant", "weaviate", "milvus", "zilliz", "pgvector", "faiss", "atlas-vector", "lancedb",
)  # fmt: skip
_PIN = {
    "hf-model": "pass revision= with the 40-digit commit",
    "hf-dataset": "pass revision= with the 40-digit commit",
    "model-alias": "name a dated version of the model",
    "ollama": "name the model by its digest",
}


class Assessed(Value, frozen=True):
    """A store as it was assessed. `holds`: whether the conditions of its way back are known to hold."""

    store: str
    kind: StateKind
    way: WayBack
    entry: Capability | None
    scored: Scored
    holds: bool


def fixes_of(found: Assessed, sites: Sequence[Site]) -> tuple[Fix, ...]:
    """Return what to change, each with the points that it gains."""
    store, way, entry, scored = found.store, found.way, found.entry, found.scored
    if way is WayBack.DEPLOYMENT:
        return ()
    where = _where(sites)
    fixes = [
        Fix(f"{store}: {each.text}", f"{each.path}:{each.line}", FAULT_POINTS)
        for each in dict.fromkeys(each for site in sites for each in site.evidence if each.is_fault)
    ]
    if entry is not None and entry.gone is not None:
        fixes.append(Fix(f"{store}: the service ended on {entry.gone}; move its state elsewhere", where, FAULT_POINTS))
    if entry is None:
        what = f"say what {store} can take back, in a [[discovery.capability]] table of kedge.toml"
        fixes.append(Fix(what, where, POINTS[WayBack.COPY]))
    if entry is not None and entry.needs and not found.holds and entry.capability != "none":
        able = WayBack(entry.capability)
        gained = POINTS[able] - scored.way + (20 if able in VERSIONED else 0)
        fixes.append(Fix(f"{store}: make sure of {'; '.join(entry.needs)}", where, gained))
    if (move := _move(store)) and scored.way < POINTS[WayBack.DEPLOYMENT]:
        gained = POINTS[WayBack.DEPLOYMENT] - scored.way + (20 - scored.versioned) + (15 - scored.isolated)
        fixes.append(Fix(f"{store}: put it behind {move}, which is taken back by deployment", where, gained))
    if not scored.isolated and found.kind in {"embedded", "remote", "config"}:
        what = f"{store}: let each deployment write apart: its name in that of the collection, table, bucket or prefix"
        fixes.append(Fix(what, where, 15))
    if way not in {WayBack.NONE, WayBack.UNKNOWN, WayBack.REBUILD} and not scored.tested:
        fixes.append(Fix(f"{store}: try the way back ({way}), and note the date in kedge.toml", where, 10))
    return tuple(fixes)


def reference_fix(pin: Site) -> Fix:
    """Return how to pin a mutable reference."""
    how = _PIN.get(pin.store, "pull it by its commit or version number, not by a label")
    return Fix(f"{pin.store}: {how}", f"{pin.path}:{pin.line}", 2)


def _move(store: str) -> str | None:
    family = store.partition(":")[0]
    if family in _VECTORS:
        return "turn.vectors or kedge.integrations.langchain.KedgeVectorStore"
    return _MOVES.get(store) or _MOVES.get(family)


def _where(sites: Sequence[Site]) -> str:
    """Return the place of the first handle, else of the first site; empty for a store that only traces show."""
    if not sites:
        return ""
    order = {"bind": 0, "decl": 1, "attach": 2, "write": 3}
    first = min(sites, key=lambda site: (order.get(site.site_class, 4), site.path, site.line))
    return f"{first.path}:{first.line}"


__all__ = ["fixes_of", "reference_fix"]
