"""Level entries that hold a launch: while they stand, its pilot takes no step forward."""

from collections.abc import Collection, Iterable

from kedge.model.ladder import LevelEntry, LevelSource
from kedge.model.levels import Level, strictness


def stop_of(entries: Iterable[LevelEntry], deployment: str, features: Collection[str]) -> str:
    """Return why a launch takes no step forward, or "".

    Any entry of the deployment holds it, save those of the guard, which the launch itself made. Entries of everything
    and of the features that the deployment changes hold it below `supervised`: what the sessions show is not what
    users would see at full.
    """
    for entry in entries:
        kind, name = entry.scope.kind, entry.scope.name
        of_deployment = kind == "deployment" and name == deployment and entry.source is not LevelSource.GUARD
        is_wide = kind == "everything" or (kind == "feature" and name in features)
        if of_deployment or (is_wide and strictness(entry.level) > strictness(Level.SUPERVISED)):
            return f"{entry.level} for {entry.scope} stands ({entry.id}, by {entry.by or entry.source})"
    return ""
