"""State of a launch, what a look at it takes in, and what the look decides: frozen values."""

from enum import StrEnum
from typing import Any, Literal

import msgspec

from kedge.guard.measure import MeasureState
from kedge.guard.sessions import Arm
from kedge.model.control import Status
from kedge.model.declared_metrics import Verdict
from kedge.support.display import Value


class Phase(StrEnum):
    """Where a launch is. The last four end it."""

    GATES = "gates"
    RAMP = "ramp"
    APPROVAL = "approval"
    PROMOTING = "promoting"
    WATCH = "watch"
    SETTLING = "settling"
    ROLLING_BACK = "rolling back"
    FINISHED = "finished"
    SETTLED = "settled"
    ROLLED_BACK = "rolled back"
    ABORTED = "aborted"


ENDED = (Phase.FINISHED, Phase.SETTLED, Phase.ROLLED_BACK, Phase.ABORTED)
BEFORE_PROMOTION = (Phase.GATES, Phase.RAMP, Phase.APPROVAL, Phase.PROMOTING)


class Rung(StrEnum):
    """What the guard has done so far, short of a rollback."""

    NONE = "none"
    HOLD = "hold"  # the ramp is frozen
    DEGRADE = "degrade"  # half the weight, level supervised


RUNGS = tuple(Rung)


class Request(Value, frozen=True, omit_defaults=True):
    """What a person asked of a launch."""

    number: int
    verb: Literal["pause", "resume", "abort", "approve"]
    by: str
    reason: str = ""
    keep: bool = False  # of an abort: leave the deployment as it is


class Gate(Value, frozen=True):
    """The result of a gate, as the log keeps it."""

    name: str
    passed: bool
    detail: str = ""


class LaunchUnit(msgspec.Struct, frozen=True):
    """A session without a name: its arm, its share at assignment, how many changes of the share came before it.

    `is_first`: whether it is the first session of what was drawn, a user as a rule. `is_promoted`: whether it was
    assigned after the promotion, so that the baseline is what was held back.
    """

    arm: Arm
    share: float
    era: int
    verdicts: dict[str, Verdict]
    is_first: bool = True
    is_promoted: bool = False


class World(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a look found, besides sessions.

    `era`: how many changes of the share there were; `since`: when the deployment got its status, `by` from whom.
    `findings`: what else is wrong with the data; `hard`: safety events. `trouble`: why an action of a look before could
    not be done. `blocked`: a launch that was rolled back, until a person lets promotions go on. `stopped`: the level
    entry for which it takes no step forward.
    """

    now: float
    status: Status
    weight: float
    era: int = 0
    since: float = 0.0
    by: str = ""
    gates: tuple[Gate, ...] | None = None
    requests: tuple[Request, ...] = ()
    findings: tuple[str, ...] = ()
    hard: tuple[str, ...] = ()
    trouble: str = ""
    blocked: str = ""
    stopped: str = ""


class Action(Value, frozen=True, omit_defaults=True):
    """Something to do in the database, or a notice to send."""

    kind: Literal["snapshot", "release", "canary", "promote", "settle", "roll_back", "tighten", "loosen", "notify"]
    weight: float = 0.0
    text: str = ""


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """State of a launch after a look.

    `seen` counts sessions of both arms: canary, baseline; `in_stage` those that were assigned since the stage began.
    `calm`: sessions in a row with all e-values below 1. `run`: the logarithm of the probability that so many sessions
    in a row with a verdict were all the baseline's. `downs`: when the guard took a step back.
    """

    phase: Phase = Phase.GATES
    stage: int = 0
    stage_since: float = 0.0
    stage_era: int | None = None
    weight: float = 0.0
    rung: Rung = Rung.NONE
    rung_since: float = 0.0
    calm: int = 0
    downs: tuple[float, ...] = ()
    latched: bool = False
    paused: str = ""
    approved_by: str = ""
    requests: int = 0  # the number of the last request that was taken in
    seen: tuple[int, int] = (0, 0)
    in_stage: tuple[int, int] = (0, 0)
    watched: tuple[int, int] = (0, 0)
    run: float = 0.0
    last_session_at: float = 0.0
    promoted_at: float = 0.0
    tried_at: float = -1e9  # when an action was asked for that may have to be repeated
    balance: dict[str, Any] | None = None
    measures: dict[str, MeasureState] = {}
    why: tuple[str, ...] = ()  # why it holds, or what ended it
    blocks: bool = False  # it was rolled back without a person: promotions wait
    slo_alarm: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """What a look made of a launch: its state, what to do, and sentences for people about what happened."""

    state: State
    actions: tuple[Action, ...] = ()
    events: tuple[str, ...] = ()
