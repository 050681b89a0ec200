"""What a deployment was derived from: the deployments that a view of this database saw."""

from collections.abc import Mapping
from typing import Any

from kedge.errors import IllegalTransition, InvalidValue
from kedge.model.control import ControlRecord
from kedge.support.display import Value, brief
from kedge.turns.kernel import Kernel
from kedge.turns.scope import scope_of
from kedge.turns.view import ReadView

DECLARED, DERIVED_FROM = "declared", "derived_from"  # in the log, in the detail of a staging


class DerivedFrom(Value, frozen=True):
    """The state that a model was trained or tuned on: a view, as `kedge diff` names it, and the deployments it saw."""

    view: str
    saw: tuple[str, ...]


def label_of(view: ReadView) -> str:
    """Return the name of a view, in the form that the command line takes."""
    scope = scope_of(view)
    if scope.upto is None:
        return scope.label
    return f"{scope.label}@{scope.upto}" if ":" in scope.label else str(scope.upto)


def seen_in(kernel: Kernel, view: object) -> frozenset[int]:
    """Return the deployments that a view has seen; raise `InvalidValue` for what is no view of this database."""
    if not isinstance(view, ReadView):
        raise InvalidValue(
            f"invalid derived_from {brief(view)} ({type(view).__name__}): must be a view, such as k.view() or "
            'k.at("before-friday")'
        )
    scope = scope_of(view)
    if scope.backend is not kernel.backend:
        raise InvalidValue(
            f"invalid derived_from {view!r}: it is a view of another database, or of another Kedge; take it from the "
            "one that deploys"
        )
    return scope.saw()


def bases_of(record: ControlRecord, name: str, saw: frozenset[int], kernel: Kernel) -> frozenset[int]:
    """Return the bases of what was derived from state of these deployments: the revocable ones among them."""
    for numbers, status, remedy in (
        (record.purged, "purged", "train it on state without them"),
        (record.rolled_back, "rolled back", "reinstate them"),
    ):
        if gone := saw & numbers:
            names = ", ".join(map(repr, sorted(kernel.names(gone))))
            raise IllegalTransition(
                f"cannot deploy {name!r}: it was derived from state of {names}, {status} since; {remedy}, or deploy it "
                "with independent=True"
            )
    return saw & record.revocable


def derived_among(kernel: Kernel, record: ControlRecord, gone: frozenset[int]) -> dict[str, tuple[str, ...]]:
    """Return the deployments that were derived from state of those in `gone`, and which of these their views saw.

    Deployments that are hidden already are left out.
    """
    names = kernel.names(gone)
    later = [d.name for d in record.deployments if d.number > min(gone) and d.number in record.revocable]
    found = {}
    for entry in kernel.backend.control.entries_of(later, ("stage",)):
        saw = names.intersection(_saw(entry.detail))
        if saw and entry.deployment is not None:
            found[entry.deployment] = tuple(sorted(saw))
    return dict(sorted(found.items()))


def _saw(detail: Mapping[str, Any]) -> tuple[str, ...]:
    said = (detail.get(DECLARED) or {}).get(DERIVED_FROM)
    return () if said is None else tuple(said["saw"])
