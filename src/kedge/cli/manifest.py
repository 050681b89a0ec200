"""Manifest of a deployment, from a TOML file and from --artifact flags."""

import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from kedge.errors import InvalidValue, nearest
from kedge.model.artifacts import Artifact

_FIELDS = ("name", "canary", "independent", "base", "note", "attribution", "artifacts")
_POINTERS = {"file", "uri", "digest", "value"}
_ARTIFACT_FIELDS = ("file", "uri", "digest", "kind", "version", "value")


class Manifest(msgspec.Struct, frozen=True):
    """What to deploy."""

    name: str
    artifacts: dict[str, Any]
    canary: float | None = None
    independent: bool = False
    base: str | None = None
    note: str = ""
    attribution: str = "reads"


def read_manifest(path: Path) -> Manifest:
    """Read a TOML manifest; paths in it are relative to its folder."""
    try:
        table = tomllib.loads(_read(path, f"the manifest {path}").decode())
    except UnicodeDecodeError as error:
        raise InvalidValue(f"the manifest {path} is not valid TOML: {error}; correct the file") from None
    except RecursionError:
        raise InvalidValue(f"the manifest {path} is nested too deeply; flatten its values") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidValue(
            f'the manifest {path} is not valid TOML: {error}; quote keys that contain a slash: "agent/prompt" = "…"'
        ) from None
    for field in table:
        if field not in _FIELDS:
            raise InvalidValue(
                f"unknown field {field!r} in the manifest {path}{nearest(field, _FIELDS)}; allowed: "
                f"{', '.join(_FIELDS)}"
            )
    artifacts = table.get("artifacts")
    if not isinstance(artifacts, dict):
        raise InvalidValue(
            f'the manifest {path} has no table [artifacts]; add one, with lines such as "agent/prompt" = "…"'
        )
    try:
        found = msgspec.convert({"artifacts": {}, **{k: v for k, v in table.items() if k != "artifacts"}}, Manifest)
    except msgspec.ValidationError as error:
        raise InvalidValue(f"invalid manifest {path}: {error}") from None
    filled = {key: _artifact(path.parent, key, given) for key, given in artifacts.items()}
    return msgspec.structs.replace(found, artifacts=filled)


def _artifact(folder: Path, key: str, given: object) -> object:
    """Return the artifact of a manifest entry: a plain value, a file's content, or a URI with its digest."""
    if not isinstance(given, dict) or _POINTERS.isdisjoint(given):
        return given
    for field, value in given.items():
        if field not in _ARTIFACT_FIELDS:
            raise InvalidValue(
                f"unknown field {field!r} in artifact {key!r}{nearest(field, _ARTIFACT_FIELDS)}; allowed: "
                f"{', '.join(_ARTIFACT_FIELDS)}"
            )
        if field != "value" and not isinstance(value, str):
            raise InvalidValue(f"invalid {field} {value!r} in artifact {key!r}: must be a string")
    if len({"file", "uri", "value"} & given.keys()) > 1:
        raise InvalidValue(f"artifact {key!r} has more than one of file, uri and value; keep only one of them")
    value = read_value(folder / given["file"], key) if "file" in given else given.get("value")
    others = {field: given[field] for field in ("uri", "digest", "kind", "version") if field in given}
    return Artifact(value=value, **others)


def read_value(path: Path, key: str) -> str | bytes:
    """Return a file's content: text if it is valid UTF-8, else bytes."""
    content = _read(path, f"{path} for artifact {key!r}")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidValue(f"cannot read {what} ({error.strerror}); check the path") from error


def artifact_of_flag(flag: str) -> tuple[str, object]:
    """Return the key and the value of KEY=TEXT, KEY=@FILE or KEY:=JSON."""
    key, separator, text = flag.partition("=")
    if not separator or not key.rstrip(":"):
        raise InvalidValue(f"invalid --artifact {flag!r}: must be KEY=TEXT, KEY=@FILE or KEY:=JSON")
    if key.endswith(":"):
        try:
            return key[:-1], json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidValue(f"invalid --artifact {flag!r:.80}: the text after := is not JSON ({error})") from None
    if text.startswith("@"):
        return key, read_value(Path(text[1:]), key)
    return key, text


def from_flags(target: str, flags: list[str]) -> Manifest:
    """Combine a name or a .toml file with --artifact flags; a flag overrides the file."""
    given = dict(artifact_of_flag(flag) for flag in flags)
    manifest = read_manifest(Path(target)) if target.endswith(".toml") else Manifest(target, {})
    artifacts = {**manifest.artifacts, **given}
    if not artifacts:
        raise InvalidValue(
            f"no artifacts for {target!r}; give them with --artifact KEY=TEXT, or name a manifest such as release.toml"
        )
    return msgspec.structs.replace(manifest, artifacts=artifacts)
