"""Artifacts: the pinned inputs of an agent."""

import hashlib
from base64 import b64decode, b64encode
from typing import Any

import msgspec

from kedge.errors import InvalidValue
from kedge.model.secrets import public_address, secrets_of_address
from kedge.model.writes import VALUE_BYTES_MAX, decode, encode
from kedge.support.display import Value

_SHOWN_CHARACTERS = 60
_PACKED_BYTES_MAX = 2 * VALUE_BYTES_MAX  # base64 is a third longer; the value is checked before
VERSION_BYTES_MAX = 512  # it is part of an index entry, with a key of up to 2,048 bytes; PostgreSQL's end at 2,704
KINDS = ("model", "prompt", "code", "embedder", "training-data", "schema", "configuration")
_KIND_BY_LAST_PART = {
    "config": "configuration", "data": "training-data", "training_data": "training-data", "speaks": "schema",
}  # fmt: skip


class Artifact(Value, frozen=True, kw_only=True):
    """One pinned input: a value stored in the journal, or the `uri` and `digest` of one stored elsewhere."""

    value: Any = None
    uri: str | None = None
    digest: str = ""
    kind: str = ""
    version: str | None = None


def as_artifact(key: str, given: object) -> Artifact:
    """Return the complete artifact of a manifest entry; raise `InvalidValue` for one without content."""
    artifact = given if isinstance(given, Artifact) else Artifact(value=given)
    _check_texts(key, artifact)
    kind = artifact.kind or guess_kind(key)
    if kind not in KINDS:
        raise InvalidValue(f"artifact {key!r} has the unknown kind {kind!r}; use one of {', '.join(KINDS)}")
    if artifact.uri is not None and secrets_of_address(artifact.uri):
        raise InvalidValue(
            f"artifact {key!r} has the uri {public_address(artifact.uri)!r} with a password or a token, which would be "
            "stored forever; leave it out, and give it to the process that reads the uri"
        )
    if artifact.uri is not None and not artifact.digest:
        raise InvalidValue(f"artifact {key!r} points to {artifact.uri!r} without a digest; add digest='sha256:…'")
    if artifact.uri is None and artifact.value is None and not artifact.digest:
        raise InvalidValue(f"artifact {key!r} has neither a value nor a digest; give it one of them")
    found = artifact.digest
    if artifact.value is not None:
        actual = "sha256:" + hashlib.sha256(encode(artifact.value, f"artifact {key!r}")).hexdigest()
        if found and found != actual and artifact.uri is None:
            raise InvalidValue(f"artifact {key!r} claims the digest {found!r}, but its value's is {actual!r}")
        found = found or actual
    return msgspec.structs.replace(artifact, kind=kind, digest=found)


def _check_texts(key: str, artifact: Artifact) -> None:
    """Raise `InvalidValue` for a field that is not text: the recorded manifest would be unreadable."""
    for what in ("uri", "digest", "kind", "version"):
        text = getattr(artifact, what)
        if text is None and what in {"uri", "version"}:
            continue
        if not isinstance(text, str) or (not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)):
            raise InvalidValue(f"artifact {key!r} has the {what} {text!r:.80}, which is not text; write it as a string")
    if artifact.version is not None and len(artifact.version.encode()) > VERSION_BYTES_MAX:
        raise InvalidValue(
            f"artifact {key!r} has the version {artifact.version!r:.80} of {len(artifact.version.encode()):,} bytes, "
            f"more than {VERSION_BYTES_MAX}; use a shorter label, and keep the text in the note"
        )


def guess_kind(key: str) -> str:
    """Return the kind that the last part of a key names, or configuration."""
    last = key.rsplit("/", 1)[-1]
    last = _KIND_BY_LAST_PART.get(last, last)
    return last if last in KINDS else "configuration"


def dimension_of(embedder: Artifact, default: int) -> int:
    """Return the dimension of an embedder's vectors: the `dim` of its value, or None."""
    named = embedder.value.get("dim") if isinstance(embedder.value, dict) else None
    return named if isinstance(named, int) else default


def pack(artifact: Artifact) -> bytes:
    """Return the payload of an artifact write."""
    value = artifact.value
    value = {"bytes": b64encode(value).decode()} if isinstance(value, bytes) else {"json": value}
    return encode(
        {
            "value": value,
            "uri": artifact.uri,
            "digest": artifact.digest,
            "kind": artifact.kind,
            "version": artifact.version,
        },
        "the artifact",
        wrapped=2,
        most=_PACKED_BYTES_MAX,
    )


def unpack(payload: bytes | None) -> Artifact:
    """Return the artifact in an artifact write's payload."""
    return from_fields(decode(payload))


def from_fields(fields: dict[str, Any]) -> Artifact:
    """Return the artifact in an artifact write's value."""
    value = fields["value"]
    held = b64decode(value["bytes"]) if "bytes" in value else value["json"]
    return Artifact(**{**fields, "value": held})


def manifest_digest(artifacts: dict[str, Artifact]) -> str:
    """Return the digest of a whole manifest: SHA-256 over sorted (key, digest) pairs."""
    body = encode(sorted((key, artifact.digest) for key, artifact in artifacts.items()))
    return "sha256:" + hashlib.sha256(body).hexdigest()


def manifest_warnings(artifacts: dict[str, Artifact]) -> tuple[str, ...]:
    """Return warnings about a manifest."""
    owners_of_data = {key.rpartition("/")[0] for key, a in artifacts.items() if a.kind == "training-data"}
    return tuple(
        f"{key} changes a model without naming its training-data snapshot"
        for key, artifact in sorted(artifacts.items())
        if artifact.kind == "model" and key.rpartition("/")[0] not in owners_of_data
    )


def plain(key: str, artifact: Artifact) -> dict[str, Any]:
    """Return an artifact and its key as a JSON object: bytes as base64."""
    value = artifact.value
    return {
        "key": key,
        **msgspec.to_builtins(artifact),
        "value": b64encode(value).decode() if isinstance(value, bytes) else value,
    }


def names_of(pin: Artifact) -> frozenset[str]:
    """Return the names of a pin: its digest, uri, version, and a value that is text."""
    named = {pin.digest, pin.uri, pin.version, pin.value if isinstance(pin.value, str) else None}
    return frozenset(name for name in named if name)


def label(pin: Artifact) -> str:
    """Return the most readable name of a pin."""
    text = pin.value if isinstance(pin.value, str) and len(pin.value) <= _SHOWN_CHARACTERS else None
    return pin.uri or pin.version or text or pin.digest
