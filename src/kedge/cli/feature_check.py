"""Warnings about unknown feature names. Features are not declared, so a mistyped name is not an error."""

from collections.abc import Iterable

from kedge.cli.terminal import one_line, whisper
from kedge.errors import nearest
from kedge.face import Kedge


def warn_of_unknown_features(k: Kedge, features: Iterable[str], deployment: str | None = None) -> None:
    """Warn of features that no member serves, no artifact key names, and no agent influenced by `deployment` has."""
    known = {feature for member in k.members() for feature in member.serves}
    for deployed in k.deployments():
        known.update(key[:at] for key in deployed.artifacts for at, character in enumerate(key) if character == "/")
    unknown = [feature for feature in features if feature not in known]
    if unknown and deployment is not None:
        known.update(k.plan(deployment).agents)
    for feature in (each for each in unknown if each not in known):
        whisper(
            f"Warning: unknown feature {one_line(feature)!r}: no member serves it, and no deployment has an artifact "
            f"for an agent of this name{nearest(feature, known)}. Without such an agent, this has no effect.",
            "yellow",
        )
