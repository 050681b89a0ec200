"""Model servers in containers: models that are named without a revision, and caches of a proxy."""

import re
from collections.abc import Iterable, Iterator, Sequence

from kedge.discovery.scan.infra.images import name_and_tag
from kedge.discovery.scan.infra.values import Value
from kedge.discovery.sites import Evidence, Site, StateKind

_SERVERS = re.compile(r"(?:^|/)(?:text-embeddings-inference|text-generation-inference|vllm-openai|infinity)$")
_MODEL = re.compile(r"^--model(?:-id)?(?:=(.+))?$")
_COMMIT = re.compile(r"^[0-9a-f]{40}$")
_CACHES: dict[str, StateKind] = {"redis": "remote", "s3": "remote", "gcs": "remote", "disk": "embedded"}


def model_pins(path: str, image: str, words: Sequence[tuple[str, int]]) -> Iterator[Site]:
    """Yield the model that a server loads, unless its revision is a commit.

    `words`: the words of the command with their lines.
    """
    if not _SERVERS.search(name_and_tag(image)[0]):
        return
    texts = [word for word, _ in words]
    if any(_COMMIT.match(_option(texts, place, "--revision")) for place in range(len(texts))):
        return
    for place, (word, line) in enumerate(words):
        found = _MODEL.match(word)
        if found is None:
            continue
        name = found[1] or (texts[place + 1] if place + 1 < len(texts) else "")
        if name and not name.startswith(("/", ".", "$")):
            note = Evidence(f"the server loads {name} without a revision: its head may move", path, line)
            yield Site(path, line, "pin", "hf-model", "provider", "", evidence=(note,), target=name)


def _option(words: Sequence[str], place: int, name: str) -> str:
    word = words[place]
    if word.startswith(f"{name}="):
        return word.removeprefix(f"{name}=")
    return words[place + 1] if word == name and place + 1 < len(words) else ""


def words_of(values: Iterable[Value]) -> list[tuple[str, int]]:
    """Return the words of commands with their lines: lists of words, or texts."""
    found: list[tuple[str, int]] = []
    for value in values:
        parts = value.items or (value,)
        found += ((word, part.line) for part in parts for word in (part.text or "").split())
    return found


def litellm_sites(path: str, document: Value) -> Iterator[Site]:
    """Yield the cache and the database of a LiteLLM proxy's configuration."""
    settings = document.at("litellm_settings")
    cache = settings.entry("cache")
    if cache is not None and (cache.value.text or "").lower() == "true":
        kind = settings.string("cache_params", "type") or "local"
        note = Evidence(f"the proxy keeps answers in a cache of type {kind}", path, cache.line)
        place = _CACHES.get(kind.partition("-")[0], "volatile")
        yield Site(path, cache.line, "decl", "litellm-cache", place, "", evidence=(note,))
    database = document.at("general_settings").entry("database_url")
    if database is not None:
        note = Evidence("the proxy keeps keys, budgets and logs in this database", path, database.line)
        yield Site(path, database.line, "decl", "postgres", "remote", "", evidence=(note,))
