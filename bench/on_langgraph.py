"""LangGraph, where `make hosts` has installed it."""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

from bench.harness import Group, Measured, Setting

NEEDED = ("langgraph", "langgraph.checkpoint.sqlite", "langgraph.checkpoint.postgres")


def missing() -> bool:
    """Return whether one of the packages is not installed."""
    try:
        return any(find_spec(name) is None for name in NEEDED)
    except ModuleNotFoundError:
        return True


def on_langgraph(setting: Setting) -> Iterator[Measured]:
    """Compare checkpointers; yield nothing where LangGraph is not installed."""
    if missing():
        setting.say("LangGraph and its checkpointers are not installed: make hosts")
        return
    savers: Group = import_module("bench.langgraph_savers").savers
    yield from savers(setting)
