"""Agent, session and deployment that a span names, by the attributes that frameworks and instrumentations emit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from kedge.discovery.traces.model import AgentBy
from kedge.discovery.traces.spans import Span
from kedge.discovery.traces.words import words

_ASSOCIATED = "traceloop.association.properties."
_AGENT_NAMES = ("gen_ai.agent.name", "agent.name", "graph.node.id")
_SESSIONS = (
    "kedge.session", "gen_ai.conversation.id", "session.id", "traceloop.association.properties.session_id",
    "traceloop.association.properties.conversation_id", "traceloop.association.properties.thread_id",
)  # fmt: skip
_DEPLOYMENTS = ("kedge.deployment", "gen_ai.agent.version", "deployment.name", "deployment.id")
_OF_RESOURCE = ("kedge.deployment", "deployment.name", "deployment.id", "service.version")
STEPS = words(
    "agent tools model call_model pre_model_hook post_model_hook generate_structured_response __start__ __end__"
)
"""Names that LangGraph's and LangChain's ready-made agents give to their own steps: no agent is called by them."""
_CLASSES = frozenset({"LangGraph", "AgentExecutor", "CompiledStateGraph", "StateGraph", "unknown"})
_UNKNOWN_SERVICE = "unknown_service"


class Named(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The agent that a span is of, and what says so."""

    name: str
    by: AgentBy


def agent_of(span: Span) -> Named | None:
    """Return the agent that a span itself names; null where only a parent can tell."""
    attributes = span.attributes
    node = _node(span)
    kind = str(attributes.get("traceloop.span.kind", "")).lower()
    name = next((str(attributes[key]) for key in _AGENT_NAMES if attributes.get(key)), "")
    if kind == "workflow":
        workflow = name or str(attributes.get("traceloop.entity.name", ""))
        return Named(node, "node") if node else Named(workflow, "workflow") if _proper(workflow) else None
    if not name and kind == "agent":
        name = str(attributes.get("traceloop.entity.name", ""))
    if not name and str(attributes.get("openinference.span.kind", "")).upper() == "AGENT":
        name = span.name
    if not name and attributes.get("gen_ai.operation.name") == "invoke_agent":
        name = span.name.removeprefix("invoke_agent").strip() or str(attributes.get("gen_ai.agent.id", ""))
    if name and _proper(name):
        return Named(name, "agent")
    return Named(node, "node") if node else None


def _node(span: Span) -> str:
    """Return the innermost graph node that is not a ready-made agent's step, from LangGraph's metadata."""
    found = metadata_of(span)
    inside = str(found.get("langgraph_checkpoint_ns") or found.get("checkpoint_ns") or "")
    nodes = [part.partition(":")[0] for part in inside.split("|") if part]
    if not nodes and found.get("langgraph_node"):
        nodes = [str(found["langgraph_node"])]
    if found.get("lc_agent_name") and (not nodes or nodes[-1] in STEPS):
        return str(found["lc_agent_name"])
    return next((name for name in reversed(nodes) if name not in STEPS), "")


def metadata_of(span: Span) -> Mapping[str, Any]:
    """Return a run's metadata: of OpenInference one JSON text, of OpenLLMetry one attribute a key."""
    text = span.attributes.get("metadata")
    if isinstance(text, str):
        try:
            found = msgspec.json.decode(text)
        except msgspec.DecodeError:
            return {}
        return found if isinstance(found, dict) else {}
    start = len(_ASSOCIATED)
    return {key[start:]: value for key, value in span.attributes.items() if key.startswith(_ASSOCIATED)}


def session_of(span: Span) -> str:
    """Return the conversation or job that a span names, or nothing."""
    return _first(span.attributes, _SESSIONS)


def deployment_of(span: Span) -> str:
    """Return the deployment or version of an agent that a span names, or nothing."""
    return _first(span.attributes, _DEPLOYMENTS)


def resource_deployment(resource: Mapping[str, Any]) -> str:
    """Return the deployment or version of the process that sent a span, or nothing."""
    return _first(resource, _OF_RESOURCE)


def service_of(resource: Mapping[str, Any]) -> str:
    """Return the name of the service that sent a span, or nothing where the SDK invented it."""
    name = str(resource.get("service.name", ""))
    return "" if name.startswith(_UNKNOWN_SERVICE) else name


def _proper(name: str) -> bool:
    """Whether a name is given by a person, not a class of a framework."""
    return bool(name) and name not in _CLASSES and not name.startswith("Runnable")


def _first(attributes: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((str(attributes[name]) for name in names if attributes.get(name)), "")
