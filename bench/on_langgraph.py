"""LangGraph, where `make hosts` has installed it."""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

from bench.harness import Group, Measured, Setting

NEEDED = ("langgraph", "langgraph.checkpoint.sqlite", "langgraph.checkpoint.postgres")


def on_langgraph(setting: Setting) -> Iterator[Measured]:
    """Compare checkpointers; yield nothing where LangGraph is not installed."""
    try:
        missing = [name for name in NEEDED if find_spec(name) is None]
    except ModuleNotFoundError:
        missing = list(NEEDED)
    if missing:
        setting.say("LangGraph and its checkpointers are not installed: make hosts")
        return
    savers: Group = import_module("bench.langgraph_savers").savers
    yield from savers(setting)
