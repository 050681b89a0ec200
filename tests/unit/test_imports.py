"""What `import kedge` and an open database load, in a process of their own."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kedge
from kedge.cli.app import app
from kedge.cli.commands import _MODULES, name_of, register

SOURCE = Path(__file__).resolve().parents[2] / "src" / "kedge"
HEAVY = ("faiss", "rich", "typer", "psycopg", "psycopg_pool", "pyarrow", "click")


def run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def test_importing_kedge_loads_none_of_what_it_stands_on() -> None:
    assert run(f"import sys, kedge; print([m for m in {('numpy', 'msgspec', *HEAVY)} if m in sys.modules])") == "[]\n"


def test_a_search_of_few_rows_loads_no_index_and_no_command_line(tmp_path: Path) -> None:
    code = f"""if True:
        import sys, kedge
        with kedge.open(sys.argv[1]) as k, k.turn(agent="support") as turn:
            k.collection("kb", dim=2)
            turn.vectors("kb").upsert(["a"], [[1, 0]])
            assert len(turn.vectors("kb").search([1, 0])) == 1
        print([m for m in {HEAVY} if m in sys.modules])
    """
    assert run(code, str(tmp_path)) == "[]\n"


@pytest.mark.parametrize(
    "first",
    [
        "import kedge.aio",
        "import kedge.open",
        "import kedge.errors",
        "from kedge.open import is_server",
        "from kedge import Turn",
        "from kedge import open",
        "from kedge import *",
        "import kedge; kedge.__all__",
        "import kedge; kedge.errors",
        "import kedge; dir(kedge)",
    ],
)
def test_the_public_names_are_there_whatever_was_imported_first(first: str) -> None:
    code = "import kedge; print(type(kedge.open).__name__, all(hasattr(kedge, name) for name in kedge.__all__))"
    assert run(f"{first}\n{code}") == "function True\n"


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    code = "import kedge\ntry: kedge.opne\nexcept AttributeError as error: print(error)"
    assert run(code) == "module 'kedge' has no attribute 'opne'\n"


def _imported(path: Path) -> set[str]:
    """Return what a module imports, as "module" or "module.name"."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_ids_come_from_the_system_because_tests_of_hosts_replace_uuid_and_secrets() -> None:
    replaced = {"uuid", "secrets"}
    found = {
        (path.relative_to(SOURCE).as_posix(), name)
        for path in SOURCE.rglob("*.py")
        for name in _imported(path)
        if name.partition(".")[0] in replaced
    }
    assert found == {("bulk/arrow.py", "uuid.UUID")}, "a type of values, which makes none"


@pytest.fixture
def deployed(tmp_path: Path) -> Path:
    with kedge.open(tmp_path / "db") as k:
        k.deploy("v1", {"support/prompt": "one"})
        k.promote("v1")
    return tmp_path / "db"


def test_a_plan_imports_nothing_that_it_does_not_need(deployed: Path) -> None:
    code = """if True:
        import sys
        from kedge.cli.main import main
        assert main(["plan", "v1", "--json", "--db", sys.argv[1]]) == 0
        others = ("kedge.drill", "kedge.cli.ingest", "kedge.cli.inspect", "faiss", "psycopg", "pyarrow")
        print([m for m in others if m in sys.modules], file=sys.stderr)
    """
    ran = subprocess.run([sys.executable, "-c", code, str(deployed)], check=True, text=True, capture_output=True)
    assert ran.stderr == "[]\n"


def test_a_rollback_imports_none_of_our_modules_once_it_has_begun(deployed: Path) -> None:
    """The installation may change under a process that has been waiting for an answer."""
    code = """if True:
        import sys
        from kedge.cli.main import main
        from kedge.face import Kedge
        ours = lambda: {m for m in sys.modules if m.partition(".")[0] == "kedge"}
        rollback, before = Kedge.rollback, set()
        def begun(*args, **options):
            before.update(ours())
            return rollback(*args, **options)
        Kedge.rollback = begun
        assert main(["rollback", "v1", "--yes", "--db", sys.argv[1]]) == 0
        assert before
        print(sorted(ours() - before), file=sys.stderr)
    """
    ran = subprocess.run([sys.executable, "-c", code, str(deployed)], check=True, text=True, capture_output=True)
    assert ran.stderr.splitlines()[-1] == "[]"


def test_each_command_is_in_the_module_that_the_table_names() -> None:
    register()
    found = {name_of(command): getattr(command.callback, "__module__", "") for command in app.registered_commands}
    assert found == {name: f"kedge.cli.{module}" for name, module in _MODULES.items()}
