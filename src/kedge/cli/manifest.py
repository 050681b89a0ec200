"""Manifest of a deployment, from a TOML file and from --artifact flags."""

import difflib
import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from kedge.cli.parsing import weight_of
from kedge.cli.terminal import listing, weight
from kedge.deployments.derivation import label_of
from kedge.deployments.lifecycle import Deployment
from kedge.errors import DuplicateName, InvalidValue, nearest
from kedge.face import Kedge
from kedge.model.artifacts import Artifact, as_artifact
from kedge.model.control import Status
from kedge.model.durations import span_of
from kedge.model.transitions import legal_now
from kedge.turns.view import ReadView

_FIELDS = (
    "name", "canary", "allow", "deny", "independent", "base", "derived_from", "note", "attribution",
    "settle_after", "artifacts",
)  # fmt: skip
_POINTERS = {"file", "uri", "digest", "value"}
_RESEMBLANCE = 0.75  # of a mistyped field to a known one
_TYPES: dict[str, tuple[type, str]] = {
    "name": (str, "a string"),
    "canary": (float, 'a number or a percentage, such as 0.1 or "10%"'),
    "independent": (bool, "true or false"),
    "base": (str, "a string"),
    "derived_from": (str, 'a view, such as "now", "before-friday" or "deployment:support-v1"'),
    "allow": (list, "a list of strings"),
    "deny": (list, "a list of strings"),
    "note": (str, "a string"),
    "attribution": (str, '"reads" or "view"'),
    "settle_after": (str, 'a duration, such as "30d"'),
}
_WORDS: dict[object, str] = {None: "none", "": "none", False: "false", True: "true"}
_ARTIFACT_FIELDS = ("file", "uri", "digest", "kind", "version", "value")


class Manifest(msgspec.Struct, frozen=True):
    """What to deploy."""

    name: str
    artifacts: dict[str, Any]
    canary: float | None = None
    independent: bool = False
    base: str | None = None
    derived_from: str | None = None  # a view, as `kedge diff` names it
    note: str = ""
    attribution: str = "reads"
    settle_after: str | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


def read_manifest(path: Path) -> Manifest:
    """Read a TOML manifest; paths in it are relative to its folder."""
    try:
        table = tomllib.loads(_read(path, f"the manifest {path}").decode())
    except UnicodeDecodeError as error:
        raise InvalidValue(f"the manifest {path} is not valid TOML: {error}; correct the file") from None
    except RecursionError:
        raise InvalidValue(f"the manifest {path} is nested too deeply; flatten its values") from None
    except tomllib.TOMLDecodeError as error:
        hint = (
            "a key is given twice; keep one of them"
            if "overwrite" in str(error) or "twice" in str(error)
            else 'quote keys that contain a slash: "agent/prompt" = "…"'
        )
        raise InvalidValue(f"the manifest {path} is not valid TOML: {error}; {hint}") from None
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
    fields = {field: _checked(path, field, value) for field, value in table.items() if field != "artifacts"}
    if "name" not in fields:
        raise InvalidValue(f'the manifest {path} has no name; add a line such as name = "support-v2"')
    filled = {key: _artifact(path.parent, key, given) for key, given in artifacts.items()}
    return Manifest(artifacts=filled, **fields)


def _checked(path: Path, field: str, value: Any) -> Any:
    """Return the value of a field of a manifest; raise `InvalidValue` for one of a wrong type."""
    if field == "canary" and isinstance(value, str):
        return weight_of(value)
    if field == "canary" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    kind, words = _TYPES[field]
    if not isinstance(value, kind) or field == "canary":
        raise InvalidValue(f"invalid {field} {value!r:.80} in the manifest {path}: must be {words}")
    return tuple(value) if isinstance(value, list) else value


def _artifact(folder: Path, key: str, given: object) -> object:
    """Return the artifact of a manifest entry: a plain value, a file's content, or a URI with its digest."""
    if not isinstance(given, dict):
        return given
    if "/" not in key and _POINTERS.isdisjoint(given):
        inner = next(iter(given), "prompt")
        raise InvalidValue(
            f"artifact {key!r} is a table of {listing(given)}: a key with a dot must be quoted; write "
            f'"{key}/{inner}" = "…" or "{key}.{inner}" = "…", or {{value = {{…}}}} to store the table as JSON'
        )
    slip = next((field for field in given if field not in _ARTIFACT_FIELDS and _resembles(field)), None)
    if _POINTERS.isdisjoint(given) and slip is not None:
        raise InvalidValue(
            f"unknown field {slip!r} in artifact {key!r}{nearest(slip, _POINTERS)}; to store the table as JSON, write "
            "{value = {…}}"
        )
    if _POINTERS.isdisjoint(given):
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


def _resembles(field: str) -> bool:
    return bool(difflib.get_close_matches(field, _POINTERS, n=1, cutoff=_RESEMBLANCE))


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
            return key[:-1], json.loads(text, object_pairs_hook=_without_duplicates)
        except (ValueError, RecursionError) as error:
            raise InvalidValue(f"invalid --artifact {flag!r:.80}: the text after := is not JSON ({error})") from None
    if text.startswith("@"):
        return key, read_value(Path(text[1:]), key)
    return key, text


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is given twice")
    return found


def find_same(k: Kedge, wanted: Manifest, derived_from: ReadView | None) -> Deployment:
    """Return the deployment of this name if it has the same manifest and can be used, else raise `DuplicateName`."""
    there = k.deployment(wanted.name)
    differing = _differences(wanted, there, None if derived_from is None else label_of(derived_from))
    if differing:
        raise DuplicateName(
            f"a deployment named {wanted.name!r} exists already with another manifest (different: "
            f"{listing(differing)}); names are never used twice: choose another name"
        )
    if there.status in {Status.ROLLED_BACK, Status.PURGED}:
        can_return = there.status is Status.ROLLED_BACK
        way = f"run `kedge reinstate {_first_to_reinstate(k, there)}`, or " if can_return else ""
        raise DuplicateName(
            f"a deployment named {wanted.name!r} exists already and is {there.status}; {way}choose another name"
        )
    if wanted.canary is not None and there.status is Status.CANARY and wanted.canary not in _weights(there):
        raise DuplicateName(
            f"a deployment named {wanted.name!r} exists already and is a canary of {weight(there.weight)}, not of "
            f"{weight(wanted.canary)}; nothing was changed; run `kedge canary {wanted.name} {weight(wanted.canary)}`"
        )
    return there


def weight_not_set(wanted: Manifest, there: Deployment) -> str:
    """Return why a repeated deploy has not set the weight that it asks for, and what is legal; "" where it is set."""
    if wanted.canary is None or (there.status is Status.CANARY and there.weight == wanted.canary):
        return ""
    asked = weight(wanted.canary)
    if there.status is Status.CANARY:
        return f"Its weight was changed since: to set {asked} again, run `kedge canary {there.name} {asked}`."
    return (
        f"The weight {asked} was not set, because it is {there.status} already; legal now: {legal_now(there.status)}."
    )


def _differences(wanted: Manifest, there: Deployment, derived_from: str | None) -> list[str]:
    """Return what the manifest says otherwise than what is recorded; a canary's weight may change."""
    pins = {key: as_artifact(key, value) for key, value in wanted.artifacts.items()}
    pins = {key: msgspec.structs.replace(pin, value=None) for key, pin in pins.items()}
    differing = [key for key in sorted(pins.keys() | there.pins.keys()) if pins.get(key) != there.pins.get(key)]
    said: list[tuple[str, Any, Any]] = [
        ("note", there.note, wanted.note),
        ("attribution", there.attribution, wanted.attribution),
    ]
    if there.status is not Status.SETTLED:
        policy = None if wanted.settle_after is None else span_of(wanted.settle_after, "settle_after")
        said += [("settle_after", there.settle_after, policy)]
    if there.declared is not None:
        said += [(field, getattr(there.declared, field), getattr(wanted, field)) for field in ("independent", "base")]
        derived = there.declared.derived_from
        said += [("derived_from", None if derived is None else derived.view, derived_from)]
    differing += [f"{field} ({_WORDS.get(was, was)} is recorded)" for field, was, given in said if was != given]
    if there.status in {Status.STAGED, Status.CANARY}:  # later, lists decide nothing
        lists = (("allow", there.allow, wanted.allow), ("deny", there.deny, wanted.deny))
        differing += [f"{field} ({len(was):,} are recorded)" for field, was, given in lists if set(was) != set(given)]
    return differing


def _first_to_reinstate(k: Kedge, there: Deployment) -> str:
    """Return the name of a rolled-back deployment that rests on no other one: a base, or this one."""
    bases = [base for base in map(k.deployment, there.bases) if base.status is Status.ROLLED_BACK]
    return _first_to_reinstate(k, bases[0]) if bases else there.name


def _weights(there: Deployment) -> tuple[float | None, ...]:
    """Return the weight of a deployment, and the one that it was deployed with."""
    return there.weight, None if there.declared is None else there.declared.canary


def from_flags(target: str, flags: list[str]) -> Manifest:
    """Combine a name or a .toml file with --artifact flags; a flag overrides the file."""
    given: dict[str, object] = {}
    for key, value in map(artifact_of_flag, flags):
        if key in given:
            raise InvalidValue(f"artifact {key!r} is given twice with --artifact; keep one of them")
        given[key] = value
    manifest = read_manifest(Path(target)) if target.endswith(".toml") else Manifest(target, {})
    artifacts = {**manifest.artifacts, **given}
    if not artifacts:
        raise InvalidValue(
            f"no artifacts for {target!r}; give them with --artifact KEY=TEXT, or name a manifest such as release.toml"
        )
    return msgspec.structs.replace(manifest, artifacts=artifacts)
