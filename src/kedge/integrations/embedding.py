"""Embedding model of an adapter, matched with the embedder that a turn's view pins."""

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import kedge

# Attributes that decide what a model's vectors are, under the names that LangChain's packages give them. Timeouts,
# keys, addresses and batch sizes decide nothing.
_IDENTITY = (
    "model", "model_name", "model_id", "model_revision", "revision", "repo_id", "deployment", "dimensions",
    "dims", "size", "output_dimensionality", "normalize", "truncate", "task_type", "query_instruction",
    "embed_instruction",
)  # fmt: skip
_PROBE = "dimension"


@runtime_checkable
class Embeddings(Protocol):
    """What LangChain calls an embedding model; its `aembed_…` twins are used where it has them."""

    def embed_documents(self, texts: list[str]) -> Any:
        """Return one vector a text."""

    def embed_query(self, text: str) -> Any:
        """Return the vector of a query."""


Choice = Embeddings | Callable[[kedge.Artifact], Embeddings]


def embedder_artifact(
    embeddings: Embeddings | Callable[[list[str]], Any], *, dim: int | None = None, name: str | None = None
) -> kedge.Artifact:
    """Return the artifact to deploy for an embedding model, or function of texts: its digest is its embedding space.

    It names the class and what decides its vectors (model, revision, dimensions …); `name` replaces that where it does
    not tell two models apart. `dim` is asked from the model where it is not given.
    """
    if dim is None:
        probe = embeddings.embed_query(_PROBE) if isinstance(embeddings, Embeddings) else embeddings([_PROBE])[0]
        dim = len(probe)
    return kedge.Artifact(value={"embedder": name or identity_of(embeddings), "dim": dim}, kind="embedder")


def identity_of(embeddings: object) -> str:
    """Return what tells an embedding model, or function, from others."""
    if inspect.isroutine(embeddings):
        return f"{embeddings.__module__}.{embeddings.__qualname__}"
    kind = type(embeddings)
    known = {name: getattr(embeddings, name, None) for name in _IDENTITY}
    told = ", ".join(f"{name}={value!r}" for name, value in known.items() if isinstance(value, str | int | float))
    return f"{kind.__module__}.{kind.__qualname__}({told})"


class PinnedEmbedder:
    """The embedding model that a turn's view pins: the one given, or the one that a function chooses."""

    def __init__(self, choice: Choice, key: str, name: str | None = None) -> None:
        """Take the model, or a function of the pinned artifact; `key` is where it is pinned; `name` as deployed."""
        self._choice = choice
        self._key = key
        self._name = name

    @property
    def given(self) -> Embeddings | None:
        """The model, where it is not chosen by the view."""
        return self._choice if isinstance(self._choice, Embeddings) else None

    def of(self, turn: kedge.Turn) -> tuple[Embeddings, str]:
        """Return the model that this turn's view pins, and its digest; it counts as read.

        Raises `UnknownName` where the view pins none, and `InvalidVector` where it pins another than the given one:
        vectors of two models cannot be compared.
        """
        artifact = turn.artifacts.get(self._key)
        if artifact is None:
            raise kedge.UnknownName(
                f"this view pins no embedder at {self._key!r}: deploy one, such as "
                f"{{{self._key!r}: embedder_artifact(embeddings)}}"
            )
        if not isinstance(self._choice, Embeddings):
            return self._choice(artifact), artifact.digest
        pinned = artifact.value.get("embedder") if isinstance(artifact.value, dict) else None
        name = self._name or identity_of(self._choice)
        if pinned is None and self._name is None:
            return self._choice, artifact.digest  # an artifact of another form: the deployer knows what it stands for
        if name not in (pinned, artifact.digest):
            raise kedge.InvalidVector(
                f"this process embeds with {name}, but this view pins {pinned or artifact.digest} at {self._key!r}: "
                "give a function that chooses the model by the artifact"
            )
        return self._choice, artifact.digest


async def embed_many(embeddings: Embeddings, texts: Sequence[str]) -> Any:
    """Embed texts without blocking the event loop."""
    twin = getattr(embeddings, "aembed_documents", None)
    return await (twin(list(texts)) if twin else asyncio.to_thread(embeddings.embed_documents, list(texts)))


async def embed_one(embeddings: Embeddings, text: str) -> Any:
    """Embed a query without blocking the event loop."""
    twin = getattr(embeddings, "aembed_query", None)
    return await (twin(text) if twin else asyncio.to_thread(embeddings.embed_query, text))
