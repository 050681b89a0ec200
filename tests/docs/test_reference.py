"""docs/api.md lists every public name with its signature and fields, docs/cli.md every command and option."""

import inspect
import re
from collections.abc import Iterator

import pytest
import typer

import kedge
from kedge import guard
from kedge.cli.app import EXIT_CODES, app
from kedge.cli.commands import register
from kedge.guard.ladder import Ladder
from kedge.stores.artifacts import Artifacts
from kedge.stores.cache import Cache
from kedge.stores.keyed import Context, Documents
from kedge.stores.memory import Memory
from kedge.stores.own import Store, Values
from kedge.stores.vectors import Vectors
from tests.docs.pages import ROOT

pytestmark = pytest.mark.docs
register()

REFERENCE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
FACES: dict[str, type] = {
    "k": kedge.Kedge,
    "turn": kedge.Turn,
    "view": kedge.ReadView,
    "k.ladder": Ladder,
    "member": kedge.Member,
    "turn.artifacts": Artifacts,
    "turn.memory": Memory,
    "turn.context": Context,
    "turn.documents(c)": Documents,
    "turn.store(s)": Store,
    "turn.store(s).space(p)": Values,
    "turn.vectors(c)": Vectors,
    "turn.cache": Cache,
}
FUNCTIONS = (
    kedge.open, kedge.migrate_store, kedge.compare_stores, kedge.stop, kedge.release, kedge.current_turn, kedge.bind,
    kedge.wrap, kedge.escape_name, kedge.unescape_name, kedge.current_agent, kedge.add_turn_source,
)  # fmt: skip
GUARD = (
    guard.FailureTest, guard.ScoreTest, guard.LatencyTest, guard.HoldbackTest, guard.SloTest, guard.NonInferiorityTest,
    guard.BalanceTest, guard.DifferenceSequence, guard.decide,
)  # fmt: skip
DUNDERS = {"__getitem__", "__contains__", "__iter__"}


def _signature(name: str, function: object) -> str:
    """Return a signature as the reference writes it: no `self`, no types."""
    signature = inspect.signature(function)  # type: ignore[arg-type]
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name != "self"]
    return f"{name}{signature.replace(parameters=bare, return_annotation=signature.empty)}"


def _public() -> Iterator[str]:
    for function in FUNCTIONS:
        yield _signature(f"kedge.{function.__name__}", function)
    yield _signature("kedge.Codec", kedge.Codec)
    yield _signature("kedge.agent", kedge.agent)
    for thing in GUARD:
        yield _signature(f"kedge.guard.{thing.__name__}", thing)
    for face, owner in FACES.items():
        for name, member in inspect.getmembers(owner):
            if name.startswith("_") and name not in DUNDERS:
                continue
            if isinstance(member, property):
                yield f"{face}.{name}"
            elif inspect.isfunction(member):
                yield _signature(f"{face}.{name}", member)


def test_every_call_is_listed_with_its_signature() -> None:
    listed = re.findall(r"^#### `(.*)`$", REFERENCE, flags=re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == set(_public())


def test_every_name_is_listed() -> None:
    missing = [name for name in (*kedge.__all__, *guard.__all__) if not re.search(rf"\b{name}\b", REFERENCE)]
    assert not missing


def test_the_error_tree_is_the_one_in_the_code() -> None:
    assert kedge.errors.__doc__ is not None
    tree = kedge.errors.__doc__.split("\n\n")[1]
    assert tree.startswith("KedgeError\n├──")
    assert tree in REFERENCE


def test_every_value_is_listed_with_its_fields() -> None:
    rows = re.findall(r"^- `(\w+)`: ((?:`\w+`\s*)+)", REFERENCE, flags=re.MULTILINE)
    listed = {name: tuple(re.findall(r"`(\w+)`", fields)) for name, fields in rows}
    values = {name: getattr(kedge, name) for name in kedge.__all__}
    true = {name: value.__struct_fields__ for name, value in values.items() if hasattr(value, "__struct_fields__")}
    assert listed == true


SHARED = {"--db", "--json", "--by", "--reason", "-m", "--yes", "-y"}  # said once, at the top of the page


def test_every_command_is_listed_with_its_options() -> None:
    sections = re.split(r"^## ", (ROOT / "docs" / "cli.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    said = {section.partition("\n")[0]: section for section in sections}
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    missing = [
        f"{name} {option}"
        for name, listed in command.commands.items()
        for parameter in listed.params
        for option in parameter.opts
        if option.startswith("-") and option not in SHARED and f"`{option}" not in said.get(name, "")
    ]
    assert not missing
    assert set(command.commands) <= set(said)
    assert all(f"`{option}" in said["What all commands share"] for option in SHARED)


def test_every_exit_code_is_listed() -> None:
    for page in ("cli.md", "operations.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        table = text.partition("## Exit codes")[2].partition("\n## ")[0]
        assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, flags=re.MULTILINE)} == set(EXIT_CODES)
