"""Levels of features: full, frozen, off."""

from kedge.errors import InvalidValue
from kedge.model import transitions
from kedge.model.checks import check_name
from kedge.model.control import Level
from kedge.ports.control import Change
from kedge.support.display import brief
from kedge.turns.kernel import Kernel, actor


def set_level(kernel: Kernel, feature: str, level: str, *, reason: str, by: str | None) -> None:
    """Set the level of a feature (by default named like its agent); below full its derived writes are refused."""
    check_name("the feature", feature)
    if not isinstance(level, str) or level not in set(Level):
        raise InvalidValue(f"invalid level {brief(level)}: must be one of {', '.join(Level)}")
    chosen = Level(level)
    who, operation = actor(by), kernel.backend.clock.fresh_id()
    detail = {"feature": feature, "level": str(chosen)}
    kernel.change(
        lambda record: Change(
            transitions.set_level(record, feature, chosen), operation, "level", who, None, reason, detail
        )
    )
