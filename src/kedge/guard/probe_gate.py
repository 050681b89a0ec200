"""Gate on embedders: the vectors that a deployment searches, compared with frozen probes."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from kedge.bulk.embedder import load
from kedge.errors import InvalidValue
from kedge.guard.embedding_gate import PROBES_LEAST, EmbeddingVerdict, Floors, Matrix, Probes, judge
from kedge.guard.gate import NOT_CHECKED, GateResult
from kedge.guard.state_gates import collections_of
from kedge.model.numbers import as_real
from kedge.ports.vectors import Collection
from kedge.support.display import brief
from kedge.turns.kernel import Kernel
from kedge.turns.view import ReadView, open_view

PROBES = "probes"
_BATCH = 64
_FLOORS = tuple(Floors.__struct_fields__)
EMBEDDING_KEYS = (*_FLOORS, "probes", "embed")


def embedding_gate(kernel: Kernel, deployment: str, settings: Mapping[str, Any]) -> GateResult | None:
    """Check the collections whose embedder a deployment contains against the probes that were frozen with it.

    The probes are the artifact at `probes` (by default beside the embedder: `shared/probes` for `shared/embedder`), or
    a JSON file of this path. `embed` ("package.module:function") embeds their texts now; without it, the vectors that
    are stored at their ids are compared.
    """
    collections = collections_of(kernel, deployment)
    if not collections:
        return None
    floors, embed = _settings(settings)
    live, canary = open_view(kernel), open_view(kernel, deployment=deployment)
    results = [_check(live, canary, each, settings.get("probes"), embed, floors) for each in collections]
    evidence = {name: found for name, _, _, found in results}
    wrong = [f"{name}: {each}" for name, said, _, _ in results for each in said]
    unsure = [f"{name}: {why}" for name, _, why, _ in results if why]
    if wrong or unsure:
        detail = "; ".join(wrong) or NOT_CHECKED + "; ".join(unsure)
        return GateResult("embedding", passed=False, detail=detail, evidence=evidence)
    detail = "; ".join(f"{name}: {found['summary']}" for name, _, _, found in results)
    return GateResult("embedding", passed=True, detail=detail, evidence=evidence)


def _settings(settings: Mapping[str, Any]) -> tuple[Floors, Callable[[list[str]], Any] | None]:
    numbers = {}
    for name in _FLOORS:
        if name in settings:
            number = as_real(settings[name])
            if number is None or not 0 <= number <= 1 or (name == "alpha" and not 0 < number < 1):
                raise InvalidValue(f"invalid {name} {brief(settings[name])} of the embedding gate: must be from 0 to 1")
            numbers[name] = float(number)
    embed = settings.get("embed")
    return Floors(**numbers), None if embed is None else load(embed)


Found = tuple[str, tuple[str, ...], str, dict[str, Any]]  # collection, what is wrong, why not checked, evidence


def _check(
    live: ReadView,
    canary: ReadView,
    collection: Collection,
    where: str | None,
    embed: Callable[[list[str]], Any] | None,
    floors: Floors,
) -> Found:
    name = collection.name
    key = f"{collection.embedder.rpartition('/')[0]}/{PROBES}".lstrip("/") if where is None else where
    probes = _probes(canary, key)
    if probes is None:
        return name, (), f"no probes at {key!r}; deploy what kedge.guard.freeze_probes(…).to_json() returns", {}
    pinned = canary.artifacts[collection.embedder].digest
    if probes.embedder and probes.embedder != pinned:
        return name, (f"the probes were frozen with {probes.embedder}, and {pinned} is pinned",), "", {}
    places, now, kind = _now(canary, collection, probes, embed)
    if len(places) < PROBES_LEAST:
        why = f"only {len(places)} of {len(probes.ids)} probes are {kind} as they were frozen, of {PROBES_LEAST}"
        return name, (), why, {"compared": len(places)}
    other = _live_vectors(live, canary, collection, [probes.ids[place] for place in places])
    verdict = judge(probes, now, other=other, chosen=places, floors=floors)
    return name, verdict.wrong, "", {"compared": kind, "summary": _summary(verdict), **msgspec.to_builtins(verdict)}


def _summary(found: EmbeddingVerdict) -> str:
    across = "" if found.across is None else f", across {found.across:.2f}"
    within = "" if found.within is None else f"; overlap within {found.within:.2f}{across}"
    return f"{found.moved} of {found.probes} probes moved, at most {found.allowed} by chance{within}"


def _probes(canary: ReadView, key: str) -> Probes | None:
    artifact = canary.artifacts.get(key)
    if artifact is not None:
        return Probes.from_json(artifact.value)
    if not key.endswith(".json"):
        return None
    try:
        return Probes.from_json(json.loads(Path(key).read_bytes()))
    except (OSError, ValueError) as error:
        raise InvalidValue(f"cannot read the probes {key} ({error}); check the path") from None


def _now(
    canary: ReadView, collection: Collection, probes: Probes, embed: Callable[[list[str]], Any] | None
) -> tuple[list[int], Matrix, str]:
    """Return the places of the probes that can be compared, their vectors now, and where these are from."""
    if embed is not None:
        texts = list(probes.texts)
        parts = [np.asarray(embed(texts[at : at + _BATCH]), np.float32) for at in range(0, len(texts), _BATCH)]
        return list(range(len(texts))), np.concatenate(parts), "embedded now"
    documents = canary.documents(collection.name).get_many(probes.ids)
    same = [ident for ident, text in zip(probes.ids, probes.texts, strict=True) if documents.get(ident, text) == text]
    rows = canary.vectors(collection.name).fetch(same)
    place = {ident: at for at, ident in enumerate(probes.ids)}
    return [place[ident] for ident in rows.ids], np.asarray(rows.vectors, np.float32), "stored"


def _live_vectors(live: ReadView, canary: ReadView, collection: Collection, ids: list[str]) -> Matrix | None:
    """Return the vectors of the same ids in the live embedder's space; None where it is the same, or lacks some."""
    before = live.artifacts.get(collection.embedder)
    if before is None or before.digest == canary.artifacts[collection.embedder].digest:
        return None
    rows = live.vectors(collection.name).fetch(ids)
    return np.asarray(rows.vectors, np.float32) if list(rows.ids) == ids else None


__all__ = ["EMBEDDING_KEYS", "embedding_gate"]
