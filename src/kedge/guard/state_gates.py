"""Gates on state: schemas fit, the backfill is complete, rollback targets resolve, a drill passed within a week."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from kedge.bulk.coverage import DOCUMENTS, PAYLOADS, Corpus
from kedge.guard.gate import NOT_CHECKED, GateResult
from kedge.guard.schemas import dropped_schemas, narrowed, refused_messages, unknown_keywords, violations
from kedge.model import drills
from kedge.model.artifacts import Artifact
from kedge.model.durations import check_duration
from kedge.model.negotiation import SPEAKS, Rule, read_rules
from kedge.model.visibility import View
from kedge.ports.vectors import Collection
from kedge.recovery.plan import fallbacks
from kedge.recovery.resolve import GONE, NOT_LOOKED_AT, resolve
from kedge.stores.spaces import space_of
from kedge.support.display import count
from kedge.turns.kernel import Kernel
from kedge.turns.scope import scope_of
from kedge.turns.view import ReadView, open_view

BACKFILL_SECONDS = 120.0
PAGE = 1_000
SAMPLE = 200  # values of the context that are held against a new schema
EXAMPLES = 5
CONTEXT, SCHEMA = "context/", "/schema"


def collections_of(kernel: Kernel, deployment: str) -> list[Collection]:
    """Return the collections whose embedder a deployment contains."""
    keys = kernel.find(kernel.backend.control.load(), deployment, "check").artifacts
    return [each for each in kernel.backend.vectors.collections() if each.embedder in keys]


# ── schemas ──


def schema_gate(kernel: Kernel, deployment: str, settings: Mapping[str, Any]) -> GateResult | None:  # noqa: ARG001
    """Check that agents take each other's messages, and that new JSON Schemas allow the values that are there.

    An artifact of the kind "schema" holds a JSON Schema, or the rules of messages (`<agent>/speaks`). One at the key
    `context/PREFIX/schema` is held against values of the shared context below `PREFIX/`.
    """
    keys = kernel.find(kernel.backend.control.load(), deployment, "check").artifacts
    live, canary = open_view(kernel), open_view(kernel, deployment=deployment)
    pins = {key: pin for key in keys if (pin := canary.artifacts.get(key)) is not None and pin.kind == "schema"}
    if not pins:
        return None
    wrong, unsure = list(_wrong_messages(kernel, live, canary, set(pins))), list[str]()
    looked = 0
    for key, pin in sorted(pins.items()):
        if key.endswith(f"/{SPEAKS}"):
            continue
        if not isinstance(pin.value, dict):
            unsure.append(f"{key} is no JSON Schema that is stored here")
            continue
        found, unknown, values = _against_state(live, key, pin)
        wrong += found
        unsure += unknown
        looked += values
    evidence = {"schemas": sorted(pins), "wrong": wrong[:EXAMPLES], "not_checked": unsure, "values": looked}
    if wrong:
        return GateResult("schemas", passed=False, detail=_some(wrong), evidence=evidence)
    if unsure:
        return GateResult("schemas", passed=False, detail=NOT_CHECKED + _some(unsure), evidence=evidence)
    held = f", {looked:,} values fit" if looked else ""
    return GateResult(
        "schemas", passed=True, detail=f"{count(len(pins), 'schema')}: all compatible{held}", evidence=evidence
    )


def _wrong_messages(kernel: Kernel, live: ReadView, canary: ReadView, changed: set[str]) -> Iterator[str]:
    agents = {key.rpartition("/")[0] for key in changed if key.endswith(f"/{SPEAKS}")}
    if not agents:
        return
    before, after = _rules(live), _rules(canary)
    names = {schema for rules in after.values() for schema in rules}
    yield from refused_messages(after, agents, {name: kernel.translations(name) for name in names})
    yield from dropped_schemas(before, after, agents)


def _rules(view: ReadView) -> dict[str, dict[str, Rule]]:
    ending = f"/{SPEAKS}"
    found = {key: view.artifacts[key].value for key in view.artifacts if key.endswith(ending)}
    return {key.removesuffix(ending): read_rules(key, value) for key, value in found.items()}


def _against_state(live: ReadView, key: str, pin: Artifact) -> tuple[list[str], list[str], int]:
    """Return what is wrong with a JSON Schema, what cannot be said, and how many values were held against it."""
    before = live.artifacts.get(key)
    old = None if before is None or not isinstance(before.value, dict) else before.value
    wrong = [] if old is None else [f"{key} {each}" for each in narrowed(old, pin.value)]
    unsure = [f"{key} uses {name!r}, which is not understood here" for name in sorted(unknown_keywords(pin.value, old))]
    if not (key.startswith(CONTEXT) and key.endswith(SCHEMA)):
        return wrong, unsure, 0
    prefix = key.removeprefix(CONTEXT).removesuffix(SCHEMA) + "/"
    items = live.context.items(prefix, limit=SAMPLE)
    for name, value in items.items():
        first = next(violations(pin.value, value), None)
        wrong += [] if first is None else [f"the context value {name!r} does not fit: {first}"]
    return wrong, unsure, len(items)


# ── backfill ──


def backfill_gate(kernel: Kernel, deployment: str, settings: Mapping[str, Any]) -> GateResult | None:
    """Check that every document and vector of a collection has a current vector in the deployment's embedding space."""
    collections = collections_of(kernel, deployment)
    if not collections:
        return None
    seconds = check_duration("seconds of the backfill gate", settings.get("seconds", BACKFILL_SECONDS))
    view, until = open_view(kernel, deployment=deployment), time.monotonic() + seconds
    lacking: dict[str, int] = {}
    looked, examples = 0, list[str]()
    for collection in collections:
        corpus = _corpus(kernel, view, collection)
        for names in _pages(kernel, corpus):
            if time.monotonic() > until:
                detail = f"{NOT_CHECKED}{looked:,} names were looked at in {seconds:g} s; raise the gate's seconds"
                return GateResult("backfill", passed=False, detail=detail, evidence={"looked_at": looked})
            missing = _lacking(kernel, view, corpus, names)
            looked += len(names)
            lacking[collection.name] = lacking.get(collection.name, 0) + len(missing)
            examples += [f"{collection.name}/{name}" for name in missing[: EXAMPLES - len(examples)]]
    total = sum(lacking.values())
    evidence = {"looked_at": looked, "lacking": lacking, "examples": examples}
    detail = f"{total:,} of {looked:,} names lack a current vector, such as {', '.join(examples)}: run `kedge backfill`"
    if not total:
        detail = f"all {looked:,} names have their vector"
    return GateResult("backfill", passed=not total, detail=detail, evidence=evidence)


def _corpus(kernel: Kernel, view: ReadView, collection: Collection) -> Corpus:
    """Return what is to be embedded: documents where vectors are named like them, else the vectors' own payloads."""
    coverage, name = kernel.backend.coverage, collection.name
    if not coverage.names_count(DOCUMENTS, name):
        return Corpus(collection, PAYLOADS)
    names = coverage.names_after("vectors", name, "", SAMPLE)
    journal = kernel.backend.journal
    heads = scope_of(view).read(lambda v: journal.heads(v, DOCUMENTS, name, names))
    return Corpus(collection, PAYLOADS if names and not heads else DOCUMENTS)


def _pages(kernel: Kernel, corpus: Corpus) -> Iterator[list[str]]:
    name = ""
    while page := kernel.backend.coverage.names_after(corpus.store, corpus.collection.name, name, PAGE):
        yield page
        name = page[-1]


def _lacking(kernel: Kernel, view: ReadView, corpus: Corpus, names: list[str]) -> list[str]:
    scope = scope_of(view)

    def look(present: View) -> list[str]:
        space = space_of(scope, present, corpus.collection).digest
        return [lack.document.key.name for lack in corpus.lacking(kernel.backend, present, space, names)]

    return scope.read(look)


# ── what a rollback falls back to ──


def target_gate(kernel: Kernel, deployment: str, settings: Mapping[str, Any]) -> GateResult:
    """Check that every artifact that a rollback falls back to can still be had."""
    seconds = check_duration("seconds of the targets gate", settings.get("seconds", 10.0))
    pins, targets = fallbacks(kernel, deployment)
    states = resolve(kernel, targets, seconds)
    purged = [key for key, said in pins.items() if key not in targets and said.endswith(": purged")]
    gone = sorted([*purged, *(key for key, state in states.items() if state == GONE)])
    unsure = [f"{key} ({state})" for key, state in sorted(states.items()) if state.startswith(NOT_LOOKED_AT)]
    bare = sorted(key for key, pin in targets.items() if pin.uri is None and pin.value is None)
    evidence = {"targets": dict(sorted(pins.items())), "states": states, "digest_only": bare}
    if gone:
        detail = f"a rollback would fall back to what is gone: {_some(gone)}"
        return GateResult("targets", passed=False, detail=detail, evidence=evidence)
    if unsure:
        return GateResult("targets", passed=False, detail=NOT_CHECKED + _some(unsure), evidence=evidence)
    said = f"; {len(bare)} pin a digest alone, which cannot be looked up" if bare else ""
    detail = f"{count(len(targets), 'artifact')} that a rollback falls back to: all there{said}"
    return GateResult("targets", passed=True, detail=detail, evidence=evidence)


# ── drill ──


def drill_gate(kernel: Kernel, deployment: str, settings: Mapping[str, Any]) -> GateResult:  # noqa: ARG001
    """Check that the newest drill in place passed, and is no older than a week, or than `max_age`."""
    within = check_duration("max_age of the drill gate", settings.get("max_age", drills.WEEK_SECONDS))
    state = drill_state(kernel, within)
    hint = "" if state.ok else "; run `kedge drill --in-place`"
    return GateResult("drill", passed=state.ok, detail=state.why + hint, evidence={"at": state.at, **state.detail})


def drill_state(kernel: Kernel, within_seconds: float = drills.WEEK_SECONDS) -> drills.DrillState:
    """Return what the newest drill in place within so many seconds says."""
    control, now = kernel.backend.control, kernel.backend.clock.now()
    steps = control.steps(drills.KINDS, after=control.seq_at(now - within_seconds), limit=1)
    return drills.judge(steps, now, within_seconds)


def _some(found: list[str]) -> str:
    more = len(found) - EXAMPLES
    return "; ".join(found[:EXAMPLES]) + (f"; and {more:,} more" if more > 0 else "")


__all__ = ["backfill_gate", "collections_of", "drill_gate", "drill_state", "schema_gate", "target_gate"]
