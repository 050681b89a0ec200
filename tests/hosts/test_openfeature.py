"""The OpenFeature provider passes the specification's own scenarios; `make hosts` runs them.

They are in a checkout of the OpenFeature specification, whose folder is in KEDGE_OPENFEATURE_SPEC. Its flags are
deployed as artifacts; the two expressions by which they target contexts are written as Kedge's targeting rules.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge.errors import Busy

pytest.importorskip("openfeature", reason="the extra kedge[openfeature] is not installed")
pytest.importorskip("gherkin", reason="`make hosts` installs it")

from gherkin.parser import Parser
from gherkin.pickles.compiler import Compiler
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import OpenFeatureError
from openfeature.flag_evaluation import FlagEvaluationDetails, FlagEvaluationOptions, FlagType
from openfeature.hook import Hook, HookContext, HookHints

from kedge.integrations.openfeature import KedgeProvider

FOLDER = os.environ.get("KEDGE_OPENFEATURE_SPEC")
ASSETS = Path(FOLDER or ".") / "specification" / "assets" / "gherkin"
SCENARIOS = 21  # in evaluation_v2.feature
DOMAIN = "kedge-suite"
TARGETING = {  # the suite's expressions, as targeting rules
    "email == 'ballmer@macrosoft.com' ? 'zero' : ''": [{"if": {"email": "ballmer@macrosoft.com"}, "then": "zero"}],
    "!customer && email == 'ballmer@macrosoft.com' && age > 10 ? 'internal' : ''": [
        {"if": {"customer": False, "email": "ballmer@macrosoft.com", "age": {">": 10}}, "then": "internal"}
    ],
}
TYPES: dict[str, tuple[FlagType, Callable[[str], Any]]] = {
    "boolean": (FlagType.BOOLEAN, lambda text: text == "true"),
    "string": (FlagType.STRING, str),
    "integer": (FlagType.INTEGER, int),
    "float": (FlagType.FLOAT, float),
    "object": (FlagType.OBJECT, lambda text: json.loads(text.replace('\\"', '"'))),
}


def pickles() -> list[Any]:
    if FOLDER is None:
        return []
    document: Any = Parser().parse((ASSETS / "evaluation_v2.feature").read_text(encoding="utf-8"))
    compiled: list[Any] = Compiler().compile(document | {"uri": "evaluation_v2.feature"})
    return compiled


def artifact(flag: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in flag.items() if name != "contextEvaluator"}
    expression = flag.get("contextEvaluator")
    return kept if expression is None else kept | {"targeting": TARGETING[expression]}


@pytest.fixture(scope="module")
def k(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kedge.Kedge]:
    with kedge.open(tmp_path_factory.mktemp("flags")) as opened:
        flags = json.loads((ASSETS / "test-flags.json").read_text(encoding="utf-8"))
        opened.deploy("flags", {f"flags/{key}": artifact(flag) for key, flag in flags.items()})
        opened.promote("flags")
        yield opened


class Slow(KedgeProvider):
    """A provider that is not initialized until its test ends."""

    def __init__(self, k: kedge.Kedge, ended: threading.Event) -> None:
        super().__init__(k)
        self._test_ended = ended

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        self._test_ended.wait(30)
        super().initialize(evaluation_context)


class Watched(KedgeProvider):
    """A provider that notes in which threads it looks flags up."""

    def __init__(self, k: kedge.Kedge, threads: list[threading.Thread]) -> None:
        super().__init__(k)
        self._threads = threads

    def _resolve(self, *asked: Any) -> Any:
        self._threads.append(threading.current_thread())
        return super()._resolve(*asked)


class Failing:
    """A database that does not answer."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    @property
    def epoch(self) -> int:
        raise self._error


class Noting(Hook):
    def __init__(self, name: str, called: list[str]) -> None:
        self.name, self.called = name, called

    def before(self, hook_context: HookContext, hints: HookHints) -> None:  # noqa: ARG002 - of the interface
        self.called.append(f"before {self.name}")

    def after(
        self,
        hook_context: HookContext,  # noqa: ARG002 - of the interface
        details: FlagEvaluationDetails[Any],  # noqa: ARG002
        hints: HookHints,  # noqa: ARG002
    ) -> None:
        self.called.append(f"after {self.name}")


class World:
    """What the steps of one scenario share."""

    def __init__(self, k: kedge.Kedge) -> None:
        self.k = k
        self.client = api.get_client(DOMAIN)
        self.attributes: dict[str, Any] = {}
        self.options = FlagEvaluationOptions()
        self.called: list[str] = []
        self.ended = threading.Event()
        self.threads: list[threading.Thread] = []
        self.details: Any = None
        self.given: Any = None
        self.flag: tuple[FlagType, str, Any] = (FlagType.BOOLEAN, "", False)

    # ── given ──

    def stable_provider(self) -> None:
        api.set_provider_and_wait(Watched(self.k, self.threads), DOMAIN)

    def slow_provider(self) -> None:
        api.set_provider(Slow(self.k, self.ended), DOMAIN)

    def stale_provider(self) -> None:
        self.stable_provider()
        provider = self.client.provider
        assert isinstance(provider, KedgeProvider)
        provider.emit_provider_stale(ProviderEventDetails(message="the lease has run out"))

    def failing_provider(self, status: str) -> None:
        error = Busy("the database is locked") if status == "error" else kedge.NewerSchema("a newer schema")
        k: Any = Failing(error)
        with pytest.raises(OpenFeatureError):
            api.set_provider_and_wait(KedgeProvider(k), DOMAIN)

    def a_flag(self, kind: str, key: str, default: str) -> None:
        flag_type, convert = TYPES[kind.lower()]
        self.flag = flag_type, key, convert(default)

    def a_context(self, key: str, kind: str, value: str) -> None:
        self.attributes[key] = TYPES[kind.lower()][1](value)

    def a_null(self, key: str) -> None:
        self.attributes[key] = None

    def hooks(self) -> None:
        self.options = FlagEvaluationOptions(hooks=[Noting("a", self.called), Noting("b", self.called)])

    def modifiable(self) -> None:
        self.attributes["list"] = [1, 2]
        self.given = json.dumps(self.attributes)

    # ── when ──

    def context(self) -> EvaluationContext:
        return EvaluationContext(attributes=self.attributes)

    def evaluate(self) -> None:
        flag_type, key, default = self.flag
        call = getattr(self.client, f"get_{flag_type.value.lower()}_details")
        self.details = call(key, default, self.context(), self.options)

    def evaluate_async(self) -> None:
        flag_type, key, default = self.flag
        call = getattr(self.client, f"get_{flag_type.value.lower()}_details_async")
        self.threads.clear()
        self.details = asyncio.run(call(key, default, self.context(), self.options))

    # ── then ──

    def value_is(self, text: str) -> None:
        expected = TYPES[self.flag[0].value.lower()][1](text)
        assert self.details.value == expected
        assert type(self.details.value) is type(expected)

    def field_is(self, field: str, text: str) -> None:
        name = {"flag key": "flag_key", "error-code": "error_code"}.get(field, field)
        assert str(getattr(self.details, name)) == text

    def metadata_is(self, rows: list[list[str]]) -> None:
        found = {key: TYPES[kind.lower()][1](value) for key, kind, value in rows[1:]}
        assert dict(self.details.flag_metadata) == found

    def status_is(self, text: str) -> None:
        assert self.client.get_provider_status().value == text

    def hooks_ran(self) -> None:
        assert self.called == ["before a", "before b", "after b", "after a"]

    def context_unmodified(self) -> None:
        assert json.dumps(self.attributes) == self.given

    def details_immutable(self) -> None:
        with pytest.raises(TypeError):
            self.details.flag_metadata["added"] = 1
        kept = self.details.value
        self.details.value = None
        self.evaluate()
        assert self.details.value == kept

    def not_in_the_loop(self) -> None:
        """Check that the provider looked the flag up in another thread than that of the event loop."""
        assert self.threads
        assert threading.current_thread() not in self.threads


STEPS: list[tuple[str, Callable[..., None]]] = [
    (r"a stable provider", World.stable_provider),
    (r"a not ready provider", World.slow_provider),
    (r"a stale provider", World.stale_provider),
    (r"a (error|fatal) provider", World.failing_provider),
    (r'an? (\w+)-flag with key "(.*)" and a fallback value "(.*)"', World.a_flag),
    (r'a context containing a key "(.*)", with type "(.*)" and with value "(.*)"', World.a_context),
    (r'a context containing a key "(.*)" with null value', World.a_null),
    (r"evaluation options containing specific hooks", World.hooks),
    (r"an evaluation context with modifiable data", World.modifiable),
    (r"the flag was evaluated with details(?: using the evaluation options)?", World.evaluate),
    (r"the flag was evaluated with details asynchronously", World.evaluate_async),
    (r'the resolved details value should be "(.*)"', World.value_is),
    (r'the (reason|error-code|variant|flag key) should be "(.*)"', World.field_is),
    (r"the resolved metadata should contain", World.metadata_is),
    (r'the provider status should be "(.*)"', World.status_is),
    (r"the specified hooks should execute during evaluation", World.hooks_ran),
    (r"the hook order should be maintained", World.hooks_ran),
    (r"the original evaluation context should remain unmodified", World.context_unmodified),
    (r"the evaluation details should be immutable", World.details_immutable),
    (r"the evaluation should complete without blocking", World.not_in_the_loop),
]


def run(world: World, step: Any) -> None:
    found = [(match, call) for pattern, call in STEPS if (match := re.fullmatch(pattern, step["text"]))]
    assert len(found) == 1, f"no single step for {step['text']!r}"
    match, call = found[0]
    table = step.get("argument", {}).get("dataTable", {}).get("rows", [])
    rows = [[cell["value"] for cell in row["cells"]] for row in table]
    call(world, *match.groups(), *([rows] if rows else []))


@pytest.mark.skipif(FOLDER is None, reason="KEDGE_OPENFEATURE_SPEC names no checkout of the specification")
@pytest.mark.parametrize("pickle", pickles(), ids=lambda one: re.sub(r"\W+", "-", one["name"]))
def test_a_scenario(k: kedge.Kedge, pickle: Any) -> None:
    world = World(k)
    try:
        for step in pickle["steps"]:
            run(world, step)
    finally:
        world.ended.set()
        api.clear_providers()


@pytest.mark.skipif(FOLDER is None, reason="KEDGE_OPENFEATURE_SPEC names no checkout of the specification")
def test_all_scenarios_are_run() -> None:
    assert len({one["astNodeIds"][0] for one in pickles()}) == SCENARIOS
