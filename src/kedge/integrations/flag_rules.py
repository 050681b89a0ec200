"""Feature flags as artifacts: variants, a default one, and targeting rules over the attributes of a context."""

from collections.abc import Callable, Mapping
from operator import eq, ge, gt, le, lt, ne
from typing import Any, NamedTuple

import msgspec

from kedge import InvalidValue

_SAME_KIND: dict[str, Callable[[Any, Any], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}
_ANY_KIND: dict[str, Callable[[Any, Any], bool]] = {"==": eq, "!=": ne}
Plain = bool | int | float | str


class TargetingRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Conditions that all have to hold, by attribute, and the variant that is then served."""

    when: dict[str, Any] = msgspec.field(name="if")
    then: str


class Flag(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The value of an artifact `flags/<key>`; without a `defaultVariant` callers get their own default."""

    variants: dict[str, Any]
    default_variant: str | None = None
    targeting: tuple[TargetingRule, ...] = ()
    disabled: bool = False
    flag_metadata: dict[str, Plain] | None = None


class Choice(NamedTuple):
    """The variant that a flag serves, and the reason by its name in the specification; None: the caller's default."""

    variant: str | None
    reason: str


def read_flag(key: str, value: object) -> Flag:
    """Return the flag that an artifact holds: a table with `variants`, or a bare value, which is its only variant."""
    if not isinstance(value, dict):
        return Flag({"value": value}, "value")
    try:
        flag = msgspec.convert(value, Flag)
    except msgspec.ValidationError as error:
        raise InvalidValue(
            f"invalid flag {key!r} ({error}): must have `variants`, and may have `defaultVariant`, `targeting`, "
            "`disabled` and `flagMetadata`; deploy it again"
        ) from None
    named = [flag.default_variant, *(rule.then for rule in flag.targeting)]
    for variant in named:
        if variant is not None and variant not in flag.variants:
            raise InvalidValue(
                f"invalid flag {key!r}: it names the variant {variant!r}, and has "
                f"{', '.join(flag.variants) or 'none'}; deploy it again"
            )
    return flag


def choose(flag: Flag, attributes: Mapping[str, Any]) -> Choice:
    """Return the variant for a context: of the first rule whose conditions hold, else the default one."""
    if flag.disabled:
        return Choice(None, "DISABLED")
    for rule in flag.targeting:
        if all(_holds(attributes.get(name), condition) for name, condition in rule.when.items()):
            return Choice(rule.then, "TARGETING_MATCH")
    if flag.default_variant is None or flag.targeting:
        return Choice(flag.default_variant, "DEFAULT")
    return Choice(flag.default_variant, "STATIC")


def _holds(found: object, condition: object) -> bool:
    """Return whether an attribute meets a condition: a value, a list of values, or {operator: value}."""
    if found is None:  # absent, or null: no condition holds of what is not known
        return False
    if isinstance(condition, list):
        return any(_equals(found, one) for one in condition)
    if not isinstance(condition, dict):
        return _equals(found, condition)
    return all(_compares(found, operator, value) for operator, value in condition.items())


def _compares(found: object, operator: str, value: object) -> bool:
    if operator in _ANY_KIND:
        return _ANY_KIND[operator](_equals(found, value), True)  # noqa: FBT003 - the operand
    compare = _SAME_KIND.get(operator)
    if compare is None:
        raise InvalidValue(
            f"unknown operator {operator!r} in a targeting rule: must be one of "
            f"{', '.join([*_ANY_KIND, *_SAME_KIND])}; deploy the flag again"
        )
    comparable = (_is_number(found) and _is_number(value)) or (isinstance(found, str) and isinstance(value, str))
    return comparable and compare(found, value)


def _equals(found: object, value: object) -> bool:
    """Compare as JSON does: true is not 1."""
    return isinstance(found, bool) == isinstance(value, bool) and found == value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
