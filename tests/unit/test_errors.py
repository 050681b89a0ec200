"""The error tree: the drawing in `kedge.errors` equals the classes; each carries what handlers need."""

import inspect
import pickle
import re

import pytest

from kedge import errors
from kedge.cli.main import exit_code
from kedge.errors import ExpectationFailed, KedgeError, RolledBack, nearest

INDENT = 4


def drawn() -> dict[str, str | None]:
    """Return each drawn class with the class that it hangs from."""
    path: list[str] = []
    tree: dict[str, str | None] = {}
    for line in (errors.__doc__ or "").splitlines():
        node = re.match(r"((?:[│ ] {3})*[├└]── |)([A-Z]\w+)(?: {2,}\S|$| [a-z])", line)
        if node and (node[1] or line == KedgeError.__name__):
            del path[len(node[1]) // INDENT :]
            tree[node[2]] = path[-1] if path else None
            path.append(node[2])
    return tree


def classes() -> dict[str, type[KedgeError]]:
    members: list[tuple[str, type[KedgeError]]] = inspect.getmembers(errors, inspect.isclass)
    return {name: c for name, c in members if c.__module__ == errors.__name__}


def test_the_drawing_is_the_classes() -> None:
    bases = {name: [base.__name__ for base in c.__bases__] for name, c in classes().items()}
    assert {name: [base or "Exception"] for name, base in drawn().items()} == bases


def test_every_error_says_what_its_handler_does() -> None:
    assert [name for name, c in classes().items() if not c.__dict__.get("__doc__")] == []


@pytest.mark.parametrize("error", classes().values())
def test_an_error_takes_a_message_and_crosses_processes(error: type[KedgeError]) -> None:
    raised = error("what, the value, what to do")
    copy = pickle.loads(pickle.dumps(raised))
    assert type(copy) is error
    assert str(copy) == str(raised) == "what, the value, what to do"


def test_errors_carry_what_to_decide_by_across_processes() -> None:
    failed = pickle.loads(pickle.dumps(ExpectationFailed("moved", seq=7)))
    gone = pickle.loads(pickle.dumps(RolledBack("gone", ["support-v2"])))
    assert (failed.seq, gone.deployments) == (7, ("support-v2",))


def test_unset_they_say_that_nothing_is_known() -> None:
    assert ExpectationFailed("absent").seq == 0
    assert RolledBack("gone").deployments == ()


def test_a_handler_that_begins_again_does_not_catch_what_is_not_permitted() -> None:
    """`except (RolledBack, Retryable): continue` would repeat the call for as long as the level stays."""
    assert not issubclass(errors.NotPermitted, errors.RolledBack | errors.Retryable)
    assert issubclass(errors.Frozen, errors.NotPermitted)
    assert exit_code(errors.Frozen("frozen")) == exit_code(RolledBack("gone"))


def test_nearest_helps_with_a_slip_and_is_silent_otherwise() -> None:
    assert nearest("suport-v2", ["billing-v1", "support-v2"]) == " (did you mean 'support-v2'?)"
    assert nearest("zzz", ["billing-v1", "support-v2"]) == ""
    assert nearest("zzz", []) == ""
