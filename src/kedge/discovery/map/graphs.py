"""Nodes of LangGraph graphs in source code: which function is which node."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from kedge.discovery.scan.languages import JAVASCRIPT, PYTHON
from kedge.discovery.scan.walking import suffix, walk

_FUNCTION = rb"(?!async\b|function\b|lambda\b)([A-Za-z_$][\w$.]*)"
_NAMED = re.compile(rb"""\.add_?[nN]ode\(\s*["'`]([^"'`\n]{1,80})["'`]\s*,\s*""" + _FUNCTION)
_BARE = re.compile(rb"\.add_node\(\s*([A-Za-z_]\w*)\s*[,)]")
_DEFINED = re.compile(
    rb"\b(?:(?:async\s+)?(?:def|function)|const|let|async)\s+([A-Za-z_$][\w$]*)|^[ \t]+([A-Za-z_$][\w$]*)\s*\(",
    re.MULTILINE,
)
_SUFFIXES = frozenset({*PYTHON, *JAVASCRIPT})
ELSEWHERE = ""

Graph: TypeAlias = Mapping[tuple[str, str], str]
"""The node of a function, by the file that defines it and its name; `ELSEWHERE` for any file but the graph's."""


def graph_nodes(folders: Iterable[Path]) -> Graph:
    """Return which function is which node: of `add_node("plan", self.make_plan)`, make_plan is plan.

    A function that the graph's file defines is meant there only, another one wherever it is defined. One that is
    several nodes is left out. The first argument of a bare `add_node(f)` is taken for a function.
    """
    found: dict[tuple[str, str], set[str]] = {}
    for folder in folders:
        for file in walk(folder, wanted=lambda path: suffix(path) in _SUFFIXES).files:
            pairs = [(name, function.rpartition(b".")[2]) for name, function in _NAMED.findall(file.source)]
            pairs += [(each, each) for each in _BARE.findall(file.source)]
            defined = {name for names in _DEFINED.findall(file.source) for name in names} if pairs else set()
            for name, function in pairs:
                place = (file.path if function in defined else ELSEWHERE, function.decode("utf-8", "replace"))
                found.setdefault(place, set()).add(name.decode("utf-8", "replace"))
    return {place: next(iter(names)) for place, names in found.items() if len(names) == 1}
