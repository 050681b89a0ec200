"""Artifacts, as a view pins them: read-only."""

from collections.abc import Iterable, Iterator

from kedge.errors import UnknownName, nearest
from kedge.model.artifact_reads import ABSENT
from kedge.model.artifacts import Artifact, unpack
from kedge.model.checks import check_names
from kedge.model.ranges import span_of
from kedge.model.retention import content_of
from kedge.model.writes import Head
from kedge.stores.keyed import KeyedView
from kedge.stores.scope import Scope


class Artifacts(KeyedView):
    """Artifacts by key. Only `k.deploy` writes them."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope, "artifacts", "")

    def _head(self, name: str) -> Head | None:
        head = super()._head(name)
        self._scope.record_pin(name, ABSENT if head is None else head.seq)
        return head

    def _range(
        self,
        prefix: str = "",
        after: str | None = None,
        limit: int | None = None,
        *,
        reverse: bool = False,
        payloads: bool = True,
    ) -> list[Head]:
        heads = super()._range(prefix, payloads=payloads)  # cached results rest on whole prefixes
        self._scope.record_pins(prefix, [head.seq for head in heads])
        return span_of(prefix, after, limit, reverse=reverse).chosen(heads)

    def __getitem__(self, key: str) -> Artifact:
        """Return the artifact that the view pins at a key, or raise `UnknownName`."""
        head = self._head(key)
        if head is None or head.deleted:
            raise UnknownName(
                f"no artifact {key!r} is visible in this view{nearest(key, list(self))}; "
                "deploy it, and promote that deployment or make it a canary"
            )
        return _artifact(head)

    def __contains__(self, key: str) -> bool:
        """Return whether the view pins an artifact at a key."""
        head = self._head(key)
        return head is not None and not head.deleted

    def __iter__(self) -> Iterator[str]:
        """Iterate over the pinned keys, in order."""
        return iter([head.key.name for head in self._range("")])

    def get(self, name: str, default: Artifact | None = None) -> Artifact | None:
        """Return the artifact at a key, or `default`."""
        head = self._head(name)
        return default if head is None or head.deleted else _artifact(head)

    def items(
        self, prefix: str = "", *, after: str | None = None, limit: int | None = None, reverse: bool = False
    ) -> dict[str, Artifact]:
        """Return the artifacts of a range by key."""
        return {head.key.name: _artifact(head) for head in self._range(prefix, after, limit, reverse=reverse)}

    def get_many(self, names: Iterable[str]) -> dict[str, Artifact]:
        """Return the artifacts at these keys, without those that are absent."""
        return {name: artifact for name in check_names("names", names) if (artifact := self.get(name)) is not None}


def _artifact(head: Head) -> Artifact:
    return unpack(content_of(head.payload, head.key.name, head.seq))
