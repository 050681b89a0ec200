"""Rates of restorations: what a capability documents, what the user knows, and what is assumed for the rest."""

from __future__ import annotations

from kedge.discovery.capabilities import Capability
from kedge.discovery.readiness.settings import StoreFacts
from kedge.model.readiness import NOTHING, Rates, Span, restore_span

BYTES_ASSUMED = 10e9
ROWS_ASSUMED = 1e6
_INSTANT = {"instant": Span(0.1, 1.0, 10.0), "seconds": Span(1.0, 10.0, 60.0)}
_PROVISION = {"minutes": Span(10.0, 60.0, 600.0), "hours": Span(300.0, 900.0, 3600.0)}
_BYTES_A_SECOND = Span(200e6, 50e6, 10e6)  # of a copy over a network
_ROWS_A_SECOND = Span(10_000.0, 2_000.0, 500.0)  # of a graph index: docs/peers.md has 2,000 of 384 dimensions
_REPOINT = Span(30.0, 120.0, 600.0)  # a change of configuration, and its deployment
_INDEXED = (
    "chroma", "pinecone", "qdrant", "weaviate", "milvus", "zilliz", "pgvector", "faiss", "atlas-vector",
    "elasticsearch", "opensearch", "azure-ai-search", "vespa", "supabase",
)  # fmt: skip
"""Families whose restoration builds an index of vectors again, unless they restore it."""


def restoration(store: str, capability: Capability, facts: StoreFacts) -> tuple[Span, tuple[str, ...]]:
    """Return how long a restoration takes, in seconds, and which inputs of the formula were assumed."""
    if capability.restore_class in _INSTANT:
        return _INSTANT[capability.restore_class], (f"{capability.restore_class}, whatever the size",)
    assumed: list[str] = []
    size, rows = facts.bytes, facts.rows
    if size is None and capability.restore_rows_per_second is None:
        assumed.append(f"size {BYTES_ASSUMED / 1e9:g} GB")
    if rows is None and (_is_indexed(store) or capability.restore_rows_per_second):
        assumed.append(f"{ROWS_ASSUMED:,.0f} rows")
    rates = Rates(
        provision=_provision(capability, assumed),
        bytes_per_second=_bytes_rate(capability, facts, assumed),
        rows_per_second=_rows_rate(store, capability, facts, assumed),
        repoint=_REPOINT if capability.capability in {"backup", "snapshot", "pitr"} else NOTHING,
    )
    return restore_span(rates, BYTES_ASSUMED if size is None else size, ROWS_ASSUMED if rows is None else rows), tuple(
        assumed
    )


def _provision(capability: Capability, assumed: list[str]) -> Span:
    least = capability.restore_seconds_least or capability.provision_seconds
    if least is not None:
        return Span(least, least, 2 * least)
    assumed.append("time to provision")
    return _PROVISION.get(capability.restore_class, NOTHING)


def _bytes_rate(capability: Capability, facts: StoreFacts, assumed: list[str]) -> Span:
    known = facts.bytes_per_second or capability.restore_bytes_per_second
    if known is not None:
        return Span(known, known, known / 2)
    if capability.restore_rows_per_second is None:
        assumed.append("rate of the copy")
        return _BYTES_A_SECOND
    return Span(float("inf"), float("inf"), float("inf"))  # its documented rate is by rows, and covers the bytes


def _rows_rate(store: str, capability: Capability, facts: StoreFacts, assumed: list[str]) -> Span | None:
    known = facts.rows_per_second or capability.restore_rows_per_second
    if known is not None:
        return Span(known, known, known / 2)
    if not _is_indexed(store):
        return None
    assumed.append("rate of the index")
    return _ROWS_A_SECOND


def _is_indexed(store: str) -> bool:
    return store.partition(":")[0] in _INDEXED


__all__ = ["BYTES_ASSUMED", "ROWS_ASSUMED", "restoration"]
