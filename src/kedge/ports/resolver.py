"""Resolvers: whether what an artifact's URI names can still be had."""

from typing import Protocol

from kedge.model.artifacts import Artifact


class Resolver(Protocol):
    """Looks an artifact up where it is stored: an image, weights, an embedder, a URL.

    Laws: it changes nothing, and may be called at any time from any thread. `uris` is the pattern of the URIs that it
    knows, such as "models:/*".
    """

    uris: str

    def resolve(self, key: str, pin: Artifact, timeout: float) -> bool:
        """Return whether the artifact is there; raise where that is unknown. It takes at most `timeout` seconds."""
