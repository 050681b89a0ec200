"""Stores that infrastructure and configuration declare, and the environment that they set."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from kedge.discovery.scan.infra import platforms
from kedge.discovery.scan.infra.compose import compose_sites, is_compose
from kedge.discovery.scan.infra.env import Setting, compose_settings, env_settings
from kedge.discovery.scan.infra.images import declared, literal_images, store_image
from kedge.discovery.scan.infra.kubernetes import (
    chart_sites,
    cloudformation_sites,
    is_manifest,
    manifest_sites,
    template_sites,
    values_sites,
)
from kedge.discovery.scan.infra.models import litellm_sites
from kedge.discovery.scan.infra.terraform import terraform_sites
from kedge.discovery.scan.infra.values import Unreadable, Value, json_value, yaml_documents
from kedge.discovery.scan.walking import File
from kedge.discovery.sites import Evidence, Site, Unparsed

_PIPELINE = re.compile(
    r"(?:^|/)\.(?:github|circleci|gitlab|buildkite)/|(?:^|/)(?:\.gitlab-ci|azure-pipelines|bitbucket-pipelines)\.ya?ml$"
)
_YAML_SIGNS = re.compile(
    r"^[ \t]*(?:-[ \t]+)?[\"']?"
    r"(?:services|kind|dependencies|Resources|databases|repository|image|(?:litellm|general)_settings)[\"']?:",
    re.MULTILINE,
)
_LOCK = re.compile(r"(?:^|/)(?:pnpm-lock|yarn-lock|poetry-lock|conda-lock|Chart\.lock)\.?\w*\.ya?ml$|openapi|swagger")
_TEXTS: tuple[tuple[re.Pattern[str], Callable[[str, str], Iterator[Site]]], ...] = (
    (re.compile(r"\.tf$"), terraform_sites),
    (re.compile(r"\.prisma$"), platforms.prisma_sites),
    (re.compile(r"(?:^|/)wrangler[^/]*\.toml$"), platforms.wrangler_sites),
    (re.compile(r"(?:^|/)fly[^/]*\.toml$"), platforms.fly_sites),
    (re.compile(r"(?:^|/)supabase/config\.toml$"), platforms.supabase_sites),
    (re.compile(r"(?:^|/)drizzle\.config\.\w+$"), platforms.drizzle_sites),
    (re.compile(r"(?:^|/)convex/schema\.[jt]s$"), platforms.convex_sites),
    (re.compile(r"(?:^|/)templates/.*\.(?:ya?ml|tpl)$"), template_sites),
)
_JSON: tuple[tuple[re.Pattern[str], Callable[[str, Value], Iterator[Site]]], ...] = (
    (re.compile(r"(?:^|/)langgraph[^/]*\.json$"), platforms.langgraph_sites),
    (re.compile(r"(?:^|/)wrangler[^/]*\.jsonc?$"), platforms.wrangler_json_sites),
)
_DOCKERFILE = re.compile(r"(?:^|/)(?:[^/]*\.)?(?:Docker|Container)file[^/]*$", re.IGNORECASE)
_ENV = re.compile(r"(?:^|/)(?:\.env[^/]*|[^/]+\.env)$")
_EXAMPLES = (".env.example", ".env.sample", ".env.template")
_SPACES = re.compile(r"[ \t]{200,}")
_FROM = re.compile(r"^[ \t]*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE | re.MULTILINE)


class Infrastructure(msgspec.Struct, frozen=True):
    """What infrastructure files declare: stores, and variables of the environment."""

    sites: tuple[Site, ...]
    settings: tuple[Setting, ...]
    unparsed: tuple[Unparsed, ...]


def infrastructure(files: Iterable[File], environment: Mapping[str, str] | None = None) -> Infrastructure:
    """Read the files of infrastructure and configuration; pipelines of tests are left out.

    `environment`: variables that image names and volumes of Compose files refer to.
    """
    sites: list[Site] = []
    settings: list[Setting] = []
    unparsed: list[Unparsed] = []
    composed: dict[str, Value] = {}
    charts = _chart_folders(files := tuple(files))
    for file in files:
        if _PIPELINE.search(file.path):
            continue
        try:
            found, document = _read(file, charts)
        except Unreadable as error:
            unparsed.append(Unparsed(file.path, str(error)))
            sites += literal_images(file.path, _text(file), confidence="low")
            continue
        sites += found
        if document is not None:
            composed[file.path] = document
            settings += compose_settings(file.path, document)
        elif _ENV.search(file.path):
            settings += env_settings(file.path, _text(file))
    bases = {
        file.path: base[0] for file in files if _DOCKERFILE.search(file.path) and (base := _base_image(_text(file)))
    }
    beside = _variables(settings)
    sites += compose_sites(composed, bases=bases, environment=lambda path: beside(path) | dict(environment or {}))
    return Infrastructure(tuple(sorted(sites)), tuple(settings), tuple(unparsed))


def _variables(settings: Iterable[Setting]) -> Callable[[str], dict[str, str]]:
    """Return what gives the variables of a Compose file: the `.env` beside it, else the example of one."""
    found: dict[tuple[str, bool], dict[str, str]] = {}
    for setting in settings:
        folder, _, name = setting.path.rpartition("/")
        if name in {".env", *_EXAMPLES}:
            found.setdefault((folder, name == ".env"), {})[setting.name] = setting.value

    def of(path: str) -> dict[str, str]:
        folder = path.rpartition("/")[0]
        return found.get((folder, False), {}) | found.get((folder, True), {})

    return of


def _read(file: File, charts: Sequence[str]) -> tuple[list[Site], Value | None]:
    """Return the sites of a file, and its document if it is a Compose file, which is read with its overlays."""
    path = file.path
    for pattern, read_text in _TEXTS:
        if pattern.search(path) and (read_text is not template_sites or path.startswith(tuple(charts))):
            return list(read_text(path, _text(file))), None
    for pattern, read_json in _JSON:
        if pattern.search(path):
            return list(read_json(path, json_value(_text(file)))), None
    if _DOCKERFILE.search(path):
        return list(_dockerfile_sites(path, _text(file))), None
    if path.endswith((".yaml", ".yml")) and not _LOCK.search(path):
        return _yaml_sites(file, charts)
    return [], None


def _yaml_sites(file: File, charts: Sequence[str]) -> tuple[list[Site], Value | None]:
    path, text = file.path, _text(file)
    if not _YAML_SIGNS.search(text):
        return [], None
    name = path.rpartition("/")[2]
    documents = yaml_documents(text)
    sites: list[Site] = []
    for document in documents:
        if is_manifest(document) and name != "Chart.yaml":
            sites += manifest_sites(path, document)
        elif is_compose(path, document):
            return sites, document
        elif name in {"Chart.yaml", "requirements.yaml"}:
            sites += chart_sites(path, document)
        elif name in {"render.yaml", "render.yml"}:
            sites += platforms.render_sites(path, document)
        elif name.startswith("values") and path.startswith(tuple(charts)):
            sites += values_sites(path, document)
        elif document.entry("litellm_settings") or document.entry("general_settings"):
            sites += litellm_sites(path, document)
        else:
            sites += cloudformation_sites(path, document)
    return sites, None


def _base_image(text: str) -> tuple[str, int] | None:
    """Return the image that the last stage of a Dockerfile builds on if that is a store, and its line."""
    stages: dict[str, re.Match[str]] = {}
    last: re.Match[str] | None = None
    for found in _FROM.finditer(text):
        last = stages.get(found[1].lower(), found)
        if found[2]:
            stages[found[2].lower()] = last
    if last is None or store_image(last[1]) is None:
        return None
    return last[1], text.count("\n", 0, last.start(1)) + 1


def _dockerfile_sites(path: str, text: str) -> Iterator[Site]:
    """Yield the store that an image is built on."""
    base = _base_image(text)
    known = store_image(base[0]) if base else None
    if base is not None and known is not None:
        yield declared(
            path, base[1], known, [Evidence(f"this image is built on {base[0]}", path, base[1])], target=base[0]
        )


def _chart_folders(files: Sequence[File]) -> tuple[str, ...]:
    """Return the folders of Helm charts, with a slash."""
    charts = [file.path for file in files if file.path.rpartition("/")[2] == "Chart.yaml"]
    return tuple(path.removesuffix("Chart.yaml") for path in charts)


def _text(file: File) -> str:
    """The text of a file. Long runs of spaces are cut: patterns would try each of them as a beginning."""
    return _SPACES.sub(" ", file.source.decode("utf-8-sig", "replace"))
