"""Container images: which store an image is, and whether its data outlive the container."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

import msgspec

from kedge.discovery.sites import Confidence, Evidence, Site, StateKind

_VARIABLE = re.compile(r"\$\{(\w+)(?::?[-+?]([^{}]*))?\}|\$(\w+)")
_CONFIGURATION_FILE = re.compile(r"\.(?:conf|cnf|ya?ml|json|toml|ini|sh|sql|xml|cfg|env|acl|js|crt|pem|key)$")
_LITERAL = re.compile(r"^[ \t]*-?\s*image:\s*[\"']?([\w./:@-]+)[\"']?\s*(?:#.*)?$")
_SEPARATE_VOLUME = 18  # from this version on, the image of PostgreSQL declares its volume one folder higher
_OLDER_DATA = "/var/lib/postgresql/data"


class Image(msgspec.Struct, frozen=True):
    """A kind of image. `names`: ends of its name without registry and tag. `data`: folders of its data."""

    store: str
    names: tuple[str, ...]
    data: tuple[str, ...] = ()
    volatile: bool = False


class Mount(msgspec.Struct, frozen=True):
    """A folder of a container that is kept outside: `lasting` is false for memory and for folders of a pod's life."""

    path: str
    line: int
    lasting: bool = True
    file: str = ""


class _File(msgspec.Struct, frozen=True):
    image: tuple[Image, ...]


@cache
def _by_name() -> Mapping[str, Image]:
    text = (files(__package__) / "images.toml").read_text("utf-8")
    table = msgspec.toml.decode(text, type=_File)
    return {name: image for image in table.image for name in image.names}


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """Replace `${NAME:-default}` by the variable, else by its default; an unknown one stays."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[3]
        return environment.get(name, found[2] if found[2] is not None else found[0])

    return _VARIABLE.sub(value, _VARIABLE.sub(value, text))  # a `.env` refers to variables, too


def name_and_tag(image: str) -> tuple[str, str]:
    """Return an image's name without registry host, and its tag or digest, "" without one."""
    name, _, digest = image.strip().partition("@")
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return f"{head}{slash}{last}".lower(), digest or tag


def store_image(image: str) -> Image | None:
    """Return what is known of an image that keeps state, by the last two parts of its name, or the last one."""
    name, _ = name_and_tag(image)
    parts = name.split("/")
    if len(parts) > 1 and (found := _by_name().get("/".join(parts[-2:]))):
        return found
    alone = len(parts) == 1 or parts[-2] in {"library", "docker.io"} or _is_mirror(parts)
    return _by_name().get(parts[-1]) if alone else None


def _is_mirror(parts: list[str]) -> bool:
    """Whether a name is `host/…/library/name` or `host/name`, a copy of an official image."""
    return len(parts) == 2 and ("." in parts[0] or ":" in parts[0])  # noqa: PLR2004


def tag_evidence(image: str, path: str, line: int) -> tuple[Evidence, ...]:
    """Say that an image's tag is mutable, if it is `latest` or absent."""
    name, tag = name_and_tag(image)
    if tag in {"", "latest"} and "$" not in image and "{{" not in image:
        return (Evidence(f"the tag of {name} is {tag or 'absent'}: another version may start next time", path, line),)
    return ()


def volume_evidence(
    image: Image, tag: str, mounts: Iterable[Mount], settings: Iterable[str], path: str, line: int
) -> tuple[Evidence, ...]:
    """Say whether the data outlive the container.

    `settings`: words of the command and values of the environment. A mount that they name holds the data.
    """
    if image.volatile:
        return (Evidence(f"{image.store} keeps its data in memory: lost at a restart", path, line, is_fault=True),)
    if not image.data:
        return ()
    named = {word.rstrip("/") for setting in settings for word in re.split(r"[\s=,\"']+", setting)}
    kept = [mount for mount in mounts if not _CONFIGURATION_FILE.search(mount.path)]
    holding = [mount for mount in kept if _holds(image, tag, mount.path) or mount.path in named]
    if any(mount.lasting for mount in holding):
        mount = next(mount for mount in holding if mount.lasting)
        return (Evidence(f"data are kept in the volume at {mount.path}", mount.file or path, mount.line),)
    if holding:
        said = f"{holding[0].path} is no lasting volume: data are lost with the container"
        return (Evidence(said, path, line, is_fault=True),)
    place = image.data[0]
    lost = "data are lost when the container is removed"
    if kept:
        where = ", ".join(sorted({mount.path for mount in kept}))
        said = f"a volume is mounted at {where}, but the data are in {place}: {lost}"
        return (Evidence(said, path, kept[0].line, is_fault=True),)
    return (Evidence(f"no volume is mounted at {place}: {lost}", path, line, is_fault=True),)


def _holds(image: Image, tag: str, mounted: str) -> bool:
    """Whether a mounted folder holds the image's data: it is one of its folders, or contains one."""
    if _OLDER_DATA in image.data and _older_postgres(tag) and _OLDER_DATA.startswith(f"{mounted}/"):
        return False  # the image declares an anonymous volume below, which would hold the data
    return any(folder == mounted or folder.startswith(f"{mounted}/") for folder in image.data)


def _older_postgres(tag: str) -> bool:
    found = re.match(r"(?:pg|0\.\d+\.\d+-pg)?(\d+)", tag)
    return found is not None and int(found[1]) < _SEPARATE_VOLUME


def declared(
    path: str,
    line: int,
    image: Image,
    evidence: Iterable[Evidence],
    *,
    target: str = "",
    confidence: Confidence = "high",
) -> Site:
    """Return the site of an image that keeps state."""
    kind: StateKind = "volatile" if image.volatile else "remote"
    return Site(
        path, line, "decl", image.store, kind, "", evidence=tuple(evidence), confidence=confidence, target=target
    )


def literal_images(path: str, text: str, *, confidence: Confidence) -> Iterable[Site]:
    """Yield the images that a text names literally: a template, or YAML that cannot be parsed."""
    for number, line in enumerate(text.splitlines(), 1):
        found = _LITERAL.match(line)
        known = store_image(found[1]) if found else None
        if found is not None and known is not None:
            note = Evidence(f"this text names the image {found[1]}", path, number)
            yield declared(path, number, known, (note, *tag_evidence(found[1], path, number)), confidence=confidence)
