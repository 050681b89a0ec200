"""Compose files: services whose image keeps state, with the volumes that hold it."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from kedge.discovery.scan.infra.images import (
    Image,
    Mount,
    declared,
    expanded,
    name_and_tag,
    store_image,
    tag_evidence,
    volume_evidence,
)
from kedge.discovery.scan.infra.models import model_pins, words_of
from kedge.discovery.scan.infra.values import Value
from kedge.discovery.sites import Evidence, Site

_NAME = re.compile(r"(?:^|[.\-_])(?:docker-)?compose(?:[.\-_].*)?\.ya?ml$", re.IGNORECASE)
_TOGETHER = {"milvus": ("etcd", "minio")}  # a store is of no use without the state of these
_NO_STATE = re.compile(r"/(?:node_modules|\.next|\.cache|\.venv|dist|__pycache__|tmp)(?:/|$)|^/tmp\b")


def is_compose(path: str, document: Value) -> bool:
    """Whether a document is a Compose file: by its services, and by its name or a service's keys."""
    services = document.at("services").entries
    if not services or document.entry("kind") is not None:
        return False
    named = _NAME.search(path.rpartition("/")[2]) is not None
    return named or any(service.value.entry("image") or service.value.entry("build") for service in services)


def compose_sites(
    documents: Mapping[str, Value],
    *,
    bases: Mapping[str, str] | None = None,
    environment: Callable[[str], Mapping[str, str]] = lambda _: {},
) -> list[Site]:
    """Return the stores that Compose files declare.

    Files of one folder are overlays of each other: a volume of a service may be in another file than its image.
    `bases`: path of a Dockerfile → the image of a store that it builds on. `environment`: path → its variables.
    """
    sites: list[Site] = []
    for path, document in documents.items():
        files = {path: document} | {
            other: value for other, value in documents.items() if _folder(other) == _folder(path)
        }
        read = _Read(path, files, bases or {}, environment(path))
        found = (read.sites(service.key, service.value) for service in document.at("services").entries)
        sites += _with_companions(path, _each_volume_once(site for each in found for site in each))
    return sites


class _Read:
    """One file, with those of its folder."""

    def __init__(
        self, path: str, files: Mapping[str, Value], bases: Mapping[str, str], environment: Mapping[str, str]
    ) -> None:
        self._path = path
        self._files = files
        self._bases = bases
        self._environment = environment

    def sites(self, name: str, service: Value) -> list[Site]:
        """Return the store that a service is, or the volumes of one that is built here."""
        build = service.entry("build")
        text = self._base(build.value) if build else expanded(service.string("image"), self._environment)
        known = store_image(text) if text else None
        if known is None and text:
            words = words_of((service.at("entrypoint"), service.at("command")))
            words = [(part, line) for word, line in words for part in expanded(word, self._environment).split()]
            return list(model_pins(self._path, text, words))
        if known is None:
            return _named_volumes(self._path, name, service, self._files[self._path], self._environment)
        line = build.line if build else service.at("image").line
        evidence = [Evidence(f"service {name} runs the image {text}", self._path, line)]
        evidence += self._volumes(known, name, text, line)
        evidence += tag_evidence(text, self._path, line)
        if profiles := service.at("profiles").strings():
            evidence.append(Evidence(f"runs only with the profile {' or '.join(profiles)}", self._path, line))
        return [declared(self._path, line, known, evidence, target=name)]

    def _base(self, build: Value) -> str:
        """Return the image of a store that the Dockerfile of a service builds on, "" if none."""
        context = build.text or build.string("context")
        return self._bases.get(_beside(self._path, f"{context}/{build.string('dockerfile') or 'Dockerfile'}"), "")

    def _volumes(self, image: Image, name: str, text: str, line: int) -> tuple[Evidence, ...]:
        mounts: list[Mount] = []
        settings: list[str] = []
        for file, document in self._files.items():
            for each in _chain(name, file, document, self._files):
                mounts += _mounts(each, file, self._environment)
                settings += (*each.at("command").strings(), *each.at("entrypoint").strings())
                settings += each.at("environment").pairs().values()
        settings = [expanded(setting, self._environment) for setting in settings]
        return volume_evidence(image, name_and_tag(text)[1], mounts, settings, self._path, line)


def _chain(name: str, file: str, document: Value, overlays: Mapping[str, Value]) -> list[Value]:
    """Return a service and those that it extends, at most ten."""
    chain: list[Value] = []
    service = document.at("services", name)
    while service.entries and len(chain) < 10 and service not in chain:  # noqa: PLR2004
        chain.append(service)
        extends = service.at("extends")
        other = extends.string("file")
        source = overlays.get(_beside(file, other), Value(0)) if other else document
        service = source.at("services", extends.text or extends.string("service"))
    return chain


def _mounts(service: Value, file: str, environment: Mapping[str, str]) -> Iterable[Mount]:
    for volume in service.at("volumes").items:
        if volume.text is not None:
            target = _target(expanded(volume.text, environment))
            if target:
                yield Mount(target, volume.line, file=file)
        elif target := volume.string("target"):
            yield Mount(target.rstrip("/"), volume.line, lasting=volume.string("type") != "tmpfs", file=file)
    for folder in service.at("tmpfs").strings():
        yield Mount(folder.partition(":")[0].rstrip("/"), service.at("tmpfs").line, lasting=False, file=file)


def _target(volume: str) -> str:
    """Return the folder inside the container of `source:target:mode`, "" of an anonymous volume."""
    parts = re.split(r":(?![-+?])(?![^{]*\})", volume)
    return parts[1].rstrip("/") if len(parts) > 1 else ""


def _named_volumes(path: str, name: str, service: Value, document: Value, environment: Mapping[str, str]) -> list[Site]:
    """Return the volumes of a service that is built here: they hold the files that it writes."""
    if service.entry("build") is None:
        return []
    names = {entry.key for entry in document.at("volumes").entries}
    sites: dict[str, Site] = {}
    for volume in service.at("volumes").items:
        text = expanded(volume.text or "", environment)
        source, target = (
            (text.partition(":")[0], _target(text)) if text else (volume.string("source"), volume.string("target"))
        )
        if source in names and not _NO_STATE.search(target):
            evidence = Evidence(f"service {name} keeps files of {target} in the volume {source}", path, volume.line)
            sites.setdefault(
                source,
                Site(path, volume.line, "decl", "file:volume", "embedded", "", evidence=(evidence,), target=source),
            )
    return list(sites.values())


def _each_volume_once(sites: Iterable[Site]) -> list[Site]:
    """Drop a volume that an earlier service of the file has too."""
    found: dict[tuple[str, str, int], Site] = {}
    for site in sites:
        found.setdefault((site.store, site.target, 0 if site.store == "file:volume" else site.line), site)
    return list(found.values())


def _with_companions(path: str, sites: Sequence[Site]) -> list[Site]:
    """Say of stores that keep one state together that they must be saved together."""
    by_store = {site.store: site for site in sites}
    found: list[Site] = []
    for site in sites:
        added: list[Evidence] = []
        for main, others in _TOGETHER.items():
            group = [by_store[store] for store in (main, *others) if store in by_store]
            if main in by_store and len(group) > 1 and site.store in {main, *others}:
                names = " and ".join(each.store for each in group if each.store != site.store)
                added.append(Evidence(f"of one state with {names}: save and restore them together", path, site.line))
        found.append(_with(site, added))
    return found


def _with(site: Site, evidence: Sequence[Evidence]) -> Site:
    if not evidence:
        return site
    return Site(
        site.path, site.line, site.site_class, site.store, site.kind, site.function,
        site.selector, (*site.evidence, *evidence), site.confidence, site.target,
    )  # fmt: skip


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _beside(path: str, other: str) -> str:
    """Return the path that a file names relative to itself."""
    parts = _folder(path).split("/") if _folder(path) else []
    for part in other.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in {"", ".", ".."}:
            parts.append(part)
    return "/".join(parts)
