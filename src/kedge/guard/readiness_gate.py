"""Gate on readiness: the stores of this database, and those of a readiness document, can be taken back in time."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedge.errors import InvalidValue
from kedge.guard.gate import NOT_CHECKED, GateResult
from kedge.guard.own_readiness import SLO_SECONDS, own_readiness
from kedge.model.drills import WEEK_SECONDS
from kedge.model.durations import check_duration, duration
from kedge.support.display import brief
from kedge.turns.kernel import Kernel

READINESS_KEYS = ("at_least", "within", "document", "max_age")
DOCUMENT_BYTES_MAX = 64 << 20


def readiness_gate(kernel: Kernel, deployment: str, settings: Mapping[str, Any]) -> GateResult | None:  # noqa: ARG001
    """Check that readiness is at least a score; `document` adds the one of `kedge readiness --json`, while it is fresh.

    The gate applies where a release sets it.
    """
    if not settings:
        return None
    least = _score_of(settings.get("at_least", 80))
    own = own_readiness(kernel, check_duration("within of the readiness gate", settings.get("within", SLO_SECONDS)))
    scores, why, todo = {"here": own.score}, [str(own)], [f.what for store in own.stores for f in store.fixes]
    if "document" in settings:
        age = check_duration("max_age of the readiness gate", settings.get("max_age", WEEK_SECONDS))
        path = Path(str(settings["document"]))
        found, at, fixes = _read(path)
        wrong = None
        if not abs(own.at - at) <= age:  # also a time that is no number, or of the future
            wrong = f"is not of the last {duration(age, units=1)}: run `kedge readiness --json` again"
        elif found is None:
            wrong = "found no state: name the folders of the code to `kedge readiness --json`"
        if wrong:
            detail, evidence = f"{NOT_CHECKED}{path} {wrong}", {"document": str(path), "at": at}
            return GateResult("readiness", passed=False, detail=detail, evidence=evidence)
        scores[str(path)] = found
        why.append(f"{path}: {found} of 100")
        todo += fixes
    known = [found for found in scores.values() if found is not None]
    passed = bool(known) and min(known) >= least
    detail = f"{'; '.join(why)}; at least {least:g} is wanted"
    return GateResult("readiness", passed=passed, detail=detail, evidence={"scores": scores, "fixes": todo})


def short_form(setting: object) -> object:
    """Return the settings of the gate where a release writes only its score: `readiness = 80`."""
    is_number = isinstance(setting, (int, float)) and not isinstance(setting, bool)
    return {"at_least": setting} if is_number else setting


def _score_of(given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given <= 100:  # noqa: PLR2004
        raise InvalidValue(f"invalid at_least {brief(given)} of the readiness gate: must be a score from 0 to 100")
    return given


def _read(path: Path) -> tuple[int | None, float, list[str]]:
    """Return the score of a readiness document, its time, and what it would have fixed."""
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(DOCUMENT_BYTES_MAX))
        score, at = document["score"], float(document["at"])
        fixes = [str(fix["what"]) for store in document["stores"] for fix in store["fixes"]]
    except OSError as error:
        raise InvalidValue(
            f"cannot read the readiness document {path}: {error.strerror}; write it with `kedge readiness --json`"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidValue(
            f"{path} is no readiness document ({error!r:.80}); write it with `kedge readiness --json`"
        ) from error
    return (None if score is None else int(_score_of(score))), at, fixes


__all__ = ["READINESS_KEYS", "readiness_gate", "short_form"]
