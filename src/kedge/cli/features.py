"""Features that nothing is known of: there is no list of them, so that a mistyped one is taken like any other."""

from collections.abc import Iterable

from kedge.cli.terminal import one_line, whisper
from kedge.errors import nearest
from kedge.face import Kedge


def warn_of_strangers(k: Kedge, features: Iterable[str], deployment: str | None = None) -> None:
    """Warn of features that no member serves, no deployment is for, and no turn that a deployment influenced."""
    known = {feature for member in k.members() for feature in member.serves}
    for deployed in k.deployments():
        known.update(key[:at] for key in deployed.artifacts for at, character in enumerate(key) if character == "/")
    strange = [feature for feature in features if feature not in known]
    if strange and deployment is not None:
        known.update(k.plan(deployment).agents)
    for feature in (each for each in strange if each not in known):
        whisper(
            f"Warning: nothing is known of {one_line(feature)!r}: no member serves it, and no deployment has an "
            f"artifact of an agent of that name{nearest(feature, known)}. Unless an agent is named so, this has no "
            "effect.",
            "yellow",
        )
