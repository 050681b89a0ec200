"""Environment variables that files set: `.env` files and Compose files."""

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from kedge.discovery.scan.infra.values import Unreadable, Value, yaml_documents
from kedge.errors import InvalidValue

_SETTING = re.compile(r"^[ \t]*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*?)\s*$")


class Setting(msgspec.Struct, frozen=True, order=True):
    """A variable that a file sets."""

    name: str
    value: str
    path: str
    line: int


def env_settings(path: str, text: str) -> Iterator[Setting]:
    """Yield the variables of a `.env` file. A line that is no assignment is skipped; nothing is expanded."""
    for number, line in enumerate(text.splitlines(), 1):
        found = _SETTING.match(line)
        if found is not None:
            yield Setting(found[1], _unquoted(found[2]), path, number)


def compose_settings(path: str, document: Value) -> Iterator[Setting]:
    """Yield the variables that the services of a Compose file set."""
    for service in document.at("services").entries:
        block = service.value.at("environment")
        for name, value in block.pairs().items():
            if value:
                yield Setting(name, value, path, block.line)


def environment(files: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Return the variables that files set, given as (name, text); a later file replaces an earlier one.

    A name that ends in `.yaml` or `.yml` is a Compose file. Raises `InvalidValue` for one that sets nothing.
    """
    found: dict[str, str] = {}
    for path, text in files:
        try:
            documents = yaml_documents(text) if path.endswith((".yaml", ".yml")) else None
        except Unreadable as error:
            raise InvalidValue(f"cannot read the environment of {path}: {error}: give a .env or Compose file") from None
        settings = (
            list(env_settings(path, text))
            if documents is None
            else [setting for document in documents for setting in compose_settings(path, document)]
        )
        if not settings:
            raise InvalidValue(f"no variable is set in {path}: give a .env file of NAME=value, or a Compose file")
        found |= {setting.name: setting.value for setting in settings}
    return found


def _unquoted(value: str) -> str:
    for quote in "\"'":
        if value.startswith(quote):
            return value[1:].partition(quote)[0]
    return re.split(r"\s+#", value)[0].strip()
