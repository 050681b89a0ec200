"""Release: the frozen settings of a launch, read from TOML, and their digest."""

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from kedge.errors import InvalidValue, nearest
from kedge.guard.gates import GATES, check_settings
from kedge.guard.metrics import Metric, guard_settings, parse_metrics
from kedge.guard.settings import GuardSettings, above_one, decoded, digest, encoded, within
from kedge.guard.slo_rules import parse_slo
from kedge.guard.state_limits import parse_limits
from kedge.model.artifacts import Artifact
from kedge.model.checks import check_name, check_names
from kedge.model.durations import check_duration
from kedge.model.numbers import as_integer, as_real
from kedge.support.display import Value, brief
from kedge.support.toml_files import read_toml

RAMP = (0.05, 0.25, 0.5)
MARGIN = 0.05  # of the range of a metric; of a latency, in ranks
DAY_SECONDS = 86_400.0
SESSIONS_MAX = 100_000_000
_POINTER = ("uri", "digest", "kind", "version")
_METRIC_KEYS = ("margin", "slo")  # keys of a metric's table that are the release's


class Limits(Value, frozen=True):
    """What the release says of one metric: the margin of its non-inferiority, and the line of its service level."""

    margin: float
    slo: float | None = None  # the failure rate that is allowed


class Notify(Value, frozen=True, omit_defaults=True):
    """Where decisions are sent: a command, a webhook, or both. The secret itself is never part of a release."""

    command: tuple[str, ...] = ()
    webhook: str = ""
    secret_env: str = ""
    secret_file: str = ""


class Release(Value, frozen=True):
    """Settings of a launch, frozen before its first session. Times are in seconds.

    `ramp`: the traffic shares, one a stage; `min_sessions` of each arm and `soak` are for each stage. `holdback`: the
    share that a promoted deployment is not shown to, for `watch` seconds at least. `settle_after`: seconds after its
    promotion at which it is settled; None: a person does so. A level that the guard has set is lifted again after
    `recover_sessions` sessions with all e-values below 1, and `dwell` seconds at least. `idle`: the seconds without a
    session after which the launch says that there is no traffic. `skip_gates` are not run, which the log says.
    """

    deployment: str
    metrics: tuple[Metric, ...]
    limits: dict[str, Limits]
    ramp: tuple[float, ...] = RAMP
    min_sessions: tuple[int, ...] = (100, 100, 100)
    soak: tuple[float, ...] = (600.0, 600.0, 600.0)
    alpha: float = 0.05
    hold: float = 3.0
    degrade: float = 10.0
    approval: bool = False
    holdback: float = 0.1
    watch: float = DAY_SECONDS
    settle_after: float | None = None
    recover_sessions: int = 50
    dwell: float = 300.0
    idle: float = 600.0
    notify: Notify = Notify()
    gates: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    skip_gates: tuple[str, ...] = ()
    slo: dict[str, Any] = msgspec.field(default_factory=dict)
    drift: dict[str, float] = msgspec.field(default_factory=dict)

    @property
    def digest(self) -> str:
        """`sha256:…` of these settings; where the notices go is not part of it."""
        return digest(msgspec.structs.replace(self, notify=Notify()))

    @property
    def guard(self) -> GuardSettings:
        """The settings of the tests that roll back."""
        return guard_settings(self.metrics, alpha=self.alpha, hold=self.hold, degrade=self.degrade)

    @property
    def compared(self) -> tuple[Metric, ...]:
        """The metrics by which sessions are compared: all but events."""
        return tuple(metric for metric in self.metrics if metric.is_tested)

    def to_json(self) -> dict[str, Any]:
        """Return the plain document."""
        return encoded(self)

    @classmethod
    def from_json(cls, document: Any) -> "Release":
        """Return the release of a plain document, or raise `InvalidValue`."""
        return decoded(document, cls)


_KEYS = tuple(sorted({*Release.__struct_fields__, "artifacts"} - {"limits"}))


class ReleaseFile(Value, frozen=True):
    """A release, and the artifacts to deploy it with; None where it is staged already."""

    release: Release
    artifacts: dict[str, Any] | None = None


def read_release(source: "str | Path | Mapping[str, Any] | Release | ReleaseFile") -> ReleaseFile:
    """Return the release of a TOML file, or of the table that such a file holds; raise `InvalidValue` for each slip."""
    if isinstance(source, ReleaseFile):
        return source
    if isinstance(source, Release):
        return ReleaseFile(source)
    if isinstance(source, Mapping):
        return parse_release(source, "the release")
    path = Path(source)
    return parse_release(read_toml(path, "the release file"), f"the release file {path}", path.parent)


def parse_release(table: Mapping[str, Any], where: str, folder: Path | None = None) -> ReleaseFile:
    """Return the release of a table; paths of artifacts are relative to `folder`."""
    for key in table:
        if key not in _KEYS:
            raise InvalidValue(
                f"{where} has the unknown key {brief(key)}{nearest(key, _KEYS)}; keys: {', '.join(_KEYS)}"
            )
    if "deployment" not in table:
        raise InvalidValue(f'{where} names no deployment; add a line such as deployment = "support-v3"')
    ramp = _ramp(table.get("ramp", list(RAMP)))
    metrics, limits = _metrics(table.get("metrics"), where)
    found = Release(
        deployment=check_name("the deployment", table["deployment"]),
        metrics=metrics,
        limits=limits,
        ramp=ramp,
        min_sessions=_each("min_sessions", table.get("min_sessions", 100), len(ramp), _sessions),
        soak=_each("soak", table.get("soak", 600.0), len(ramp), _span),
        alpha=within("alpha", table.get("alpha", 0.05), 0.0, 1.0),
        hold=above_one("hold", table.get("hold", 3.0)),
        degrade=above_one("degrade", table.get("degrade", 10.0)),
        approval=_flag("approval", table.get("approval", False)),
        holdback=_holdback(table.get("holdback", 0.1)),
        recover_sessions=as_integer(
            "recover_sessions", table.get("recover_sessions", 50), f"from 1 to {SESSIONS_MAX}", least=1,
            most=SESSIONS_MAX,
        ),
        dwell=_span("dwell", table.get("dwell", 300.0)),
        idle=check_duration("idle", table.get("idle", 600.0)),
        notify=_notify(table.get("notify", {})),
        gates=check_settings(table.get("gates", {})),
        skip_gates=_skipped(table.get("skip_gates", [])),
        slo=_objectives(table.get("slo", {})),
        drift=parse_limits(_table("drift", table.get("drift", {}))),
        **_times(table),
    )  # fmt: skip
    found.guard  # noqa: B018 - raises where the weights or the limits do not fit together
    artifacts = table.get("artifacts")
    return ReleaseFile(found, None if artifacts is None else _artifacts(artifacts, folder))


def _times(table: Mapping[str, Any]) -> dict[str, Any]:
    settle = table.get("settle_after")
    settles = None if settle is None else check_duration("settle_after", settle)
    watch = check_duration("watch", table.get("watch", min(DAY_SECONDS, settles or DAY_SECONDS)))
    if settles is not None and settles < watch:
        raise InvalidValue(
            f"invalid settle_after {brief(settle)}: it is shorter than watch ({watch:g} s); watch is the least time"
        )
    return {"watch": watch, "settle_after": settles}


def _ramp(given: object) -> tuple[float, ...]:
    weights = [_weight(each) for each in given] if isinstance(given, list | tuple) else []
    rising = all(a < b for a, b in pairwise(weights))
    if not weights or not rising:
        raise InvalidValue(f"invalid ramp {brief(given)}: must be a list of rising weights, such as [0.05, 0.25, 0.5]")
    return tuple(weights)


def _weight(given: object) -> float:
    number = as_real(given)
    if isinstance(given, str) and given.strip().endswith("%"):
        try:
            number = float(given.strip()[:-1]) / 100
        except ValueError:
            number = None
    if number is None or not 0 < number < 1:
        raise InvalidValue(
            f"invalid weight {brief(given)} in ramp: must be above 0 and below 1, since a share of the sessions must "
            "stay with the baseline; a promotion follows the last stage"
        )
    return float(number)


def _each(what: str, given: Any, stages: int, check: Any) -> tuple[Any, ...]:
    """Return one value for each stage: the same for all, or those of a list."""
    if not isinstance(given, list | tuple):
        return (check(what, given),) * stages
    if len(given) != stages:
        raise InvalidValue(
            f"invalid {what} {brief(given)}: has {len(given)} values for {stages} stages of the ramp; give one for "
            "each, or one for all"
        )
    return tuple(check(what, each) for each in given)


def _sessions(what: str, given: object) -> int:
    return as_integer(what, given, f"a number of sessions from 1 to {SESSIONS_MAX}", least=1, most=SESSIONS_MAX)


def _span(what: str, given: object) -> float:
    return 0.0 if as_real(given) == 0 else check_duration(what, given)


def _flag(what: str, given: object) -> bool:
    if not isinstance(given, bool):
        raise InvalidValue(f"invalid {what} {brief(given)}: must be true or false")
    return given


def _holdback(given: object) -> float:
    share = as_real(given)
    if share is None or not 0 <= share < 1:
        raise InvalidValue(
            f"invalid holdback {brief(given)}: must be from 0 to below 1; 0.1 holds back one session in ten"
        )
    return float(share)


# ── tables ──


def _metrics(given: Any, where: str) -> tuple[tuple[Metric, ...], dict[str, Limits]]:
    if not isinstance(given, Mapping) or not given:
        raise InvalidValue(
            f'{where} has no metrics; add a table such as [metrics.resolved] with kind = "success", which is the '
            "evidence that it decides on"
        )
    own = {name: _own_keys(each) for name, each in given.items()}
    plain = {
        name: {key: value for key, value in each.items() if key not in _METRIC_KEYS}
        if isinstance(each, Mapping)
        else each
        for name, each in given.items()
    }
    metrics = parse_metrics(plain, also=_METRIC_KEYS)
    limits = {
        name: Limits(_margin(metric, own[name].get("margin")), _slo(metric, own[name].get("slo")))
        for name, metric in metrics.items()
        if metric.is_tested
    }
    for name, said in own.items():
        if said and name not in limits:
            raise InvalidValue(f"the metric {name!r} is an event, which has no {next(iter(said))}; leave it out")
    if not any(metric.is_tested and metric.role == "guardrail" for metric in metrics.values()):
        raise InvalidValue(f"{where} has no guardrail among its metrics; without one nothing would roll it back")
    return tuple(metrics.values()), limits


def _own_keys(table: Any) -> dict[str, Any]:
    return {key: table[key] for key in _METRIC_KEYS if key in table} if isinstance(table, Mapping) else {}


def _margin(metric: Metric, given: object) -> float:
    """Return the margin of a metric, in its own unit; in ranks for a latency, above 0 and below 0.5."""
    span = _range_of(metric)
    most = 0.5 if metric.kind == "latency" else span
    if given is None:
        return MARGIN * span
    number = as_real(given)
    if number is None or not 0 < number < most:
        unit = " (a latency's is in ranks: 0.05 is P(canary slower) ≤ 0.55)" if metric.kind == "latency" else ""
        raise InvalidValue(
            f"invalid margin {brief(given)} of {metric.name!r}: must be above 0 and below {most:g}{unit}"
        )
    return float(number)


def _range_of(metric: Metric) -> float:
    if metric.is_binary or metric.kind == "latency":
        return 1.0
    return math.fabs(float(metric.best) - float(metric.worst))


def _slo(metric: Metric, given: object) -> float | None:
    """Return the failure rate that a service level allows, or None for none."""
    if given is None:
        return None
    if not metric.is_binary:
        raise InvalidValue(
            f"invalid slo {brief(given)} of {metric.name!r}: only metrics of the kinds success and failure have one"
        )
    share = within(f"slo of {metric.name!r}", given, 0.0, 1.0)
    return 1.0 - share if metric.kind == "success" else share


def _notify(given: Any) -> Notify:
    table = _table("notify", given)
    for key in table:
        if key not in Notify.__struct_fields__:
            raise InvalidValue(
                f"unknown key {brief(key)} in [notify]{nearest(key, Notify.__struct_fields__)}; keys: "
                f"{', '.join(Notify.__struct_fields__)}"
            )
    command = table.get("command", [])
    if not isinstance(command, list | tuple) or not all(isinstance(word, str) and word for word in command):
        raise InvalidValue(f'invalid command {brief(command)} in [notify]: must be a list such as ["notify", "--now"]')
    texts = {key: table.get(key, "") for key in ("webhook", "secret_env", "secret_file")}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise InvalidValue(f"invalid {key} {brief(text)} in [notify]: must be a string")
    _check_webhook(**texts)
    return Notify(tuple(command), **texts)


def _check_webhook(webhook: str, secret_env: str, secret_file: str) -> None:
    try:
        scheme, host = urlsplit(webhook).scheme, urlsplit(webhook).hostname
    except ValueError:
        scheme, host = "", None
    is_local = scheme == "http" and host in {"127.0.0.1", "::1", "localhost"}
    if webhook and not (host and (scheme == "https" or is_local)):
        raise InvalidValue(f"invalid webhook {brief(webhook)} in [notify]: must be an https:// address")
    if webhook and bool(secret_env) == bool(secret_file):
        raise InvalidValue(
            "the webhook in [notify] needs one secret to sign with: name the environment variable in secret_env, or "
            "the file in secret_file"
        )
    if not webhook and (secret_env or secret_file):
        raise InvalidValue("[notify] has a secret, but no webhook to sign for; add webhook, or leave the secret out")


def _table(what: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InvalidValue(f"invalid {what} {brief(given)}: must be a table [{what}]")
    return dict(given)


def _objectives(given: Any) -> dict[str, Any]:
    table = _table("slo", given)
    if table:
        parse_slo(table)
    return table


def _skipped(given: object) -> tuple[str, ...]:
    names = check_names("skip_gates", given)
    for name in names:
        if name not in GATES:
            raise InvalidValue(f"unknown gate {name!r} in skip_gates{nearest(name, GATES)}; gates: {', '.join(GATES)}")
    return names


def _artifacts(given: Any, folder: Path | None) -> dict[str, Any]:
    table = _table("artifacts", given)
    if not table:
        raise InvalidValue('the table [artifacts] is empty; add lines such as "agent/prompt" = "…", or leave it out')
    return {key: _artifact(key, value, folder) for key, value in table.items()}


def _artifact(key: str, value: Any, folder: Path | None) -> Any:
    """Return an artifact's value; `{file = "…"}` is read, relative to the release file, and `{uri = "…"}` a pointer."""
    if isinstance(value, Mapping) and "uri" in value:
        for field, given in value.items():
            if field not in _POINTER or not isinstance(given, str):
                raise InvalidValue(
                    f"invalid artifact {key!r}: {field} = {brief(given)}{nearest(field, _POINTER)}; a pointer has "
                    f"{', '.join(_POINTER)}, each a string"
                )
        return Artifact(**value)
    if not isinstance(value, Mapping) or set(value) != {"file"} or folder is None:
        return value
    try:
        content = (folder / str(value["file"])).read_bytes()
    except OSError as error:
        raise InvalidValue(f"cannot read {value['file']} of artifact {key!r} ({error.strerror}); check it") from None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content
