"""Words of names that tell state from the machinery of a process."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources

from kedge.discovery import ir


@cache
def _tables() -> dict[str, dict[str, str]]:
    text = (resources.files(__package__) / "names.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def names(table: str, key: str) -> frozenset[str]:
    """Return a list of `names.toml`."""
    return frozenset(_tables()[table][key].split())


_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

STATE = names("words", "state")
MACHINERY = names("words", "machinery")
CACHES = names("words", "caches")
COLLECTED = names("words", "collected")
VALUES = names("words", "values")
_KEEPERS = names("words", "keepers")
_TRANSIENT = names("words", "transient")

_OBJECTS = re.compile(
    r"(?:Client|Engine|Pool|Connection|Lock|Semaphore|Event|Logger|Model|LLM|Embeddings|Tokenizer|Encoder|Limiter|"
    r"Executor|Thread|Timer|Queue|Future|Task|Settings|Config|Parser|Graph|Agent|Service|Manager|Provider|Handler|"
    r"Sandbox|Browser|Driver|Socket|Controller|Session)$|^Chat(?:OpenAI|Anthropic|Bedrock|Groq|Vertex|Ollama)"
)
_MAKERS = re.compile(
    r"^(?:create_task|ensure_future|run_coroutine_threadsafe|setTimeout|setInterval|submit|start_soon|add_task|compile"
    r"|(?:get|create|make|build|init|connect|open|load|from)(?:_\w*)?_?"
    r"(?:client|engine|pool|connection|model|llm|agent|graph|settings|config|logger|session|encoding|tokenizer)"
    r"|connect|create_pool|sessionmaker|getLogger|get_logger|create_async_engine|create_engine|createClient)$"
)


def words(name: str) -> list[str]:
    """Return the words of a name, in lower case: "cached_at", "cachedAt" and "CACHED_AT" have the same."""
    return [part.lower() for part in _PARTS.findall(name)]


def names_state(name: str) -> bool:
    """Whether a variable's name says that it holds state, and not the machinery of the process."""
    found = words(name)
    listed = found[-2:-1] in (["task"], ["todo"], ["job"], ["message"]) and found[-1] in ("list", "queue")
    return listed or (not STATE.isdisjoint(found) and MACHINERY.isdisjoint(found))


def lives_shortly(name: str) -> bool:
    """Whether a class's name says that its objects live for one call, or hold handles."""
    return not _TRANSIENT.isdisjoint(words(name)) and not keeps_state(name)


def keeps_state(name: str) -> bool:
    """Whether a class's name says that it keeps state."""
    found = words(name)
    return any(word in _KEEPERS for word in found[-1:]) and not {"config", "settings", "factory"} & set(found)


def last_name(node: ir.Expression | None) -> str:
    """Return the last name of what is called or referred to: `c` of `a.b.c(…)` and of `c[int]()`."""
    while node is not None:
        if isinstance(node, ir.Name):
            return node.id
        if isinstance(node, ir.Attribute):
            return node.name
        if isinstance(node, ir.Call):
            node = node.function
        elif isinstance(node, ir.Index):
            node = node.value
        else:
            return ""
    return ""


def makes_object(name: str) -> bool:
    """Whether a call of this name makes a handle or a service, which is no data."""
    return bool(_OBJECTS.search(name) or _MAKERS.match(name))
