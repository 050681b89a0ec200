"""Calls between agents that were not received, or whose answers were not absorbed, among the newest."""

from kedge.model.calls import unanswered
from kedge.model.metrics import Tally
from kedge.turns.kernel import Kernel

EDGES_LOOKED_AT = 10_000
TURNS_LOOKED_AT = 20_000
GRACE_SECONDS = 300.0  # how long headers are valid by default: until then a call may be under way


def unanswered_calls(kernel: Kernel) -> list[Tally]:
    """Return the calls among the newest 10,000 that led to nothing, by caller and callee, without those under way."""
    provenance = kernel.backend.provenance
    edges = provenance.newest_edges(EDGES_LOOKED_AT)
    if not edges:
        return []
    turns = {turn.uid: turn for turn in provenance.newest_turns(TURNS_LOOKED_AT)}
    missing = {edge.turn for edge in edges} - turns.keys()
    turns |= {turn.uid: turn for turn in provenance.turns(missing)} if missing else {}
    return unanswered(edges, turns.values(), kernel.backend.clock.now() - GRACE_SECONDS)


__all__ = ["EDGES_LOOKED_AT", "unanswered_calls"]
