"""Configurations that name checkpoints, and async twins."""

import asyncio
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Protocol

import kedge


class OpenedAsync(Protocol):
    """A database that `kedge.aio` has opened."""

    @property
    def sync(self) -> kedge.Kedge:
        """The database itself."""


def place_of(config: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """Return the thread, the namespace and the checkpoint that a configuration names."""
    named = config["configurable"]
    return str(named["thread_id"]), named.get("checkpoint_ns") or "", named.get("checkpoint_id")


def config_of(thread: str, ns: str, ident: str) -> Any:
    """Return the configuration that names a checkpoint."""
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": ident}}


def twin(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return the async twin of a call, which does not block the event loop."""

    @wraps(call)
    async def answer(*arguments: Any, **options: Any) -> Any:
        return await asyncio.to_thread(call, *arguments, **options)

    return answer
