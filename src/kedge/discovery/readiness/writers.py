"""Writers of a store: the functions that the code shows, and the agents that traces show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kedge.discovery.sites import Site


def writers_of(sites: Iterable[Site], agents: Sequence[str]) -> tuple[str, ...]:
    """Return who writes a store: agents of traces first, then each function of the code with its first place."""
    functions: dict[tuple[str, str], str] = {}
    for site in sorted(sites, key=lambda each: (each.path, each.line)):
        if site.site_class == "write":
            name = site.function if site.function not in {"", "<module>"} else "module"
            functions.setdefault((site.path, name), f"{name} ({site.path}:{site.line})")
    return (*(f"agent {name}" for name in agents), *functions.values())


__all__ = ["writers_of"]
