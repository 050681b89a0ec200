"""What a fold keeps of a span: a small record, whatever the span's size."""

from __future__ import annotations

import functools
import re

import msgspec

from kedge.discovery.traces import agents, stores
from kedge.discovery.traces.agents import Named
from kedge.discovery.traces.model import Access, StoreName
from kedge.discovery.traces.spans import Link, Span
from kedge.discovery.traces.words import words
from kedge.model.secrets import HIDDEN, redact

_STATEMENT_CHARACTERS = 200
_LONGEST_NAME = 2_000  # characters of a part of a store's name
_MODEL_OPERATIONS = words("chat text_completion completion embeddings embedding generate_content rerank")


class Touch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One store that a span reads or writes."""

    store: StoreName
    access: Access


class Facts(msgspec.Struct, frozen=True, array_like=True, gc=False, omit_defaults=True):
    """What the fold needs of one span.

    `touches` is null where the span is of no store, empty where it neither reads nor writes. `weak` are the touches of
    a retriever, which count only where no span of a store lies below. `statement` tells a driver's span from its ORM's.
    """

    start: int
    end: int
    error: bool
    scope: str
    service: str
    named: Named | None = None
    session: str = ""
    deployment: str = ""
    of_resource: str = ""
    touches: tuple[Touch, ...] | None = None
    weak: tuple[Touch, ...] = ()
    statement: str = ""
    external: tuple[str, str] | None = None
    links: tuple[Link, ...] = ()
    messaging: bool = False


def facts_of(span: Span) -> Facts:
    """Return what the fold needs of a span."""
    touches = stores.touched(span)
    weak = stores.retrieved(span) if touches is None else None
    return Facts(
        start=span.start,
        end=max(span.start, span.end),
        error=span.error or bool(span.attributes.get("error.type")),
        scope=span.scope,
        service=agents.service_of(span.resource),
        named=agents.agent_of(span),
        session=agents.session_of(span),
        deployment=agents.deployment_of(span),
        of_resource=agents.resource_deployment(span.resource),
        touches=None if touches is None else _touches(touches),
        weak=_touches(weak or ()),
        statement=stores.statement_of(span)[:_STATEMENT_CHARACTERS] if touches else "",
        external=None if touches is not None else _external(span),
        links=span.links,
        messaging="messaging.system" in span.attributes,
    )


def _touches(found: stores.Touched) -> tuple[Touch, ...]:
    return tuple(Touch(_public(store), access) for store, access in found)


@functools.lru_cache(maxsize=10_000)
def _public(store: StoreName) -> StoreName:
    """Return the name of a store without secrets: some instrumentations give a whole URL as a name."""
    shown = (text if len(text) <= _LONGEST_NAME else HIDDEN for text in msgspec.structs.astuple(store))
    return StoreName(*map(redact, shown))


def _external(span: Span) -> tuple[str, str] | None:
    """Return the kind and name of a system that a span calls and that is no store."""
    attributes = span.attributes
    model = (
        attributes.get("gen_ai.request.model")
        or attributes.get("llm.model_name")
        or attributes.get("embedding.model_name")
    )
    kind = str(attributes.get("openinference.span.kind", "")).upper()
    if str(attributes.get("gen_ai.operation.name")) in _MODEL_OPERATIONS or kind in {"LLM", "EMBEDDING", "RERANKER"}:
        provider = (
            attributes.get("gen_ai.provider.name") or attributes.get("gen_ai.system") or attributes.get("llm.provider")
        )
        named = [str(each) for each in (provider, model) if each and each != "unknown"]
        return "model", "/".join(named) or "unknown"
    if span.client and (attributes.get("http.request.method") or attributes.get("http.method")):
        host = attributes.get("server.address") or attributes.get("net.peer.name") or _host(attributes)
        return ("http", str(host)) if host else None
    return None


def _host(attributes: dict[str, object]) -> str:
    url = str(attributes.get("url.full") or attributes.get("http.url") or "")
    return re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0].rpartition("@")[2]
