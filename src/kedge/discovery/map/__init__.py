"""Context boundary map: agents, stores, systems and deployments, by what code, traces and Kedge's journal say."""

from kedge.discovery.map.build import context_map
from kedge.discovery.map.model import Blast, Boundary, Choice, ContextMap, Coverage, Edge, Node, Reached, Step

__all__ = ["Blast", "Boundary", "Choice", "ContextMap", "Coverage", "Edge", "Node", "Reached", "Step", "context_map"]
