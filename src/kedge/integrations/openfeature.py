"""OpenFeature provider: levels, deployments, and feature flags that roll back with the deployment that set them."""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import (
    FlagNotFoundError,
    GeneralError,
    ParseError,
    ProviderFatalError,
    ProviderNotReadyError,
    TargetingKeyMissingError,
    TypeMismatchError,
)
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata
from openfeature.track import TrackingEventDetails

import kedge
from kedge.integrations.flag_rules import Flag, choose, read_flag

_log = logging.getLogger(__name__)
LEVEL, MAY, DEPLOYMENT, ASSIGNMENT = "kedge.level.", "kedge.may.", "kedge.deployment.", "kedge.assignment"
OWN = "kedge."
FLAGS = "flags/"  # the prefix of the artifacts that are flags
TOOL, REVERSIBILITY = "tool", "reversibility"  # attributes of a context
LEASE_POLL_SECONDS = 0.25
CACHE_MAX = 4_096
_KINDS: dict[str, tuple[type, ...]] = {
    "Boolean": (bool,),
    "String": (str,),
    "Integer": (int,),
    "Float": (float, int),
    "Object": (dict, list),
}
Value = Any
Structure = Sequence[FlagValueType] | Mapping[str, FlagValueType]
Details = FlagResolutionDetails[Value]


class _Cached(NamedTuple):
    epoch: int
    flag: Flag


class KedgeProvider(AbstractProvider):
    """Serves flags from one open database. The targeting key of a context is the session.

    `kedge.level.<feature>` (string), `kedge.may.<act>.<feature>` (boolean), `kedge.deployment.<name>` (boolean) and
    `kedge.assignment` (object) are there without being declared. Any other key is an artifact `flags/<key>`, as the
    session sees it: inside a turn of that session it is read through the turn, and counts as its read.

    What cannot be known is answered with what permits least, never with the caller's default: the level is "off",
    and nothing is permitted. `member` is the result of `k.join()`: while its lease has run out, the provider is stale.
    """

    def __init__(self, k: kedge.Kedge, *, member: kedge.Member | None = None) -> None:
        super().__init__()
        self._k = k
        self._member = member
        self._cached: dict[tuple[str | None, str], _Cached] = {}
        self._end_watch: Callable[[], None] | None = None
        self._ended = threading.Event()
        self._is_stale = False

    # ── the life of a provider ──

    def get_metadata(self) -> Metadata:
        """Return the name of the provider."""
        return Metadata(name="kedge")

    def initialize(self, evaluation_context: EvaluationContext) -> None:  # noqa: ARG002 - of the interface
        """Ask the database once, and watch it for changes; raise where it does not answer."""
        try:
            self._epoch = self._k.epoch
            self._end_watch = self._k.on_change(self._on_change)
        except kedge.Retryable as error:
            raise ProviderNotReadyError(str(error)) from error
        except kedge.KedgeError as error:
            raise ProviderFatalError(str(error)) from error
        self._ended.clear()
        if self._member is not None:
            threading.Thread(target=self._watch_lease, name="kedge-openfeature", daemon=True).start()

    def shutdown(self) -> None:
        """Stop watching. The database stays open: it belongs to the caller."""
        self._ended.set()
        if self._end_watch is not None:
            self._end_watch()
            self._end_watch = None
        self._cached.clear()

    def _on_change(self, epoch: int) -> None:
        self._cached.clear()
        details = ProviderEventDetails(message=f"epoch {epoch}", metadata={"epoch": epoch})
        self.emit_provider_configuration_changed(details)

    def _watch_lease(self) -> None:
        while not self._ended.wait(LEASE_POLL_SECONDS):
            self._check_lease()

    def _check_lease(self) -> None:
        """Say that the provider is stale once the lease has run out, and ready once it holds again."""
        if self._member is None or self._member.serving is not self._is_stale:
            return
        self._is_stale = not self._is_stale
        if self._is_stale:
            self.emit_provider_stale(ProviderEventDetails(message=f"the lease of {self._member.name!r} has run out"))
        else:
            self.emit_provider_ready(ProviderEventDetails(message=f"the lease of {self._member.name!r} holds again"))

    def track(
        self,
        tracking_event_name: str,
        evaluation_context: EvaluationContext | None = None,
        tracking_event_details: TrackingEventDetails | None = None,
    ) -> None:
        """Store an observation of the session: the event is the metric, its value the details' (True without one).

        What cannot be stored is logged: tracking raises nothing.
        """
        session = None if evaluation_context is None else evaluation_context.targeting_key
        value = None if tracking_event_details is None else tracking_event_details.value
        try:
            self._k.observe(session=session or "", metric=tracking_event_name, value=True if value is None else value)
        except kedge.KedgeError as error:
            _log.warning("the event %r of session %r was not stored: %s", tracking_event_name, session, error)

    # ── resolving ──

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,  # noqa: FBT001 - of the interface
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """Return a boolean flag."""
        return self._resolve("Boolean", flag_key, default_value, evaluation_context)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Return a string flag."""
        return self._resolve("String", flag_key, default_value, evaluation_context)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Return an integer flag."""
        return self._resolve("Integer", flag_key, default_value, evaluation_context)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Return a number as a float flag."""
        return self._resolve("Float", flag_key, default_value, evaluation_context)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Structure,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Structure]:
        """Return a structured flag."""
        return self._resolve("Object", flag_key, default_value, evaluation_context)

    async def resolve_boolean_details_async(
        self,
        flag_key: str,
        default_value: bool,  # noqa: FBT001 - of the interface
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """Return a boolean flag, looked up in a thread."""
        return await asyncio.to_thread(self.resolve_boolean_details, flag_key, default_value, evaluation_context)

    async def resolve_string_details_async(
        self,
        flag_key: str,
        default_value: str,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[str]:
        """Return a string flag, looked up in a thread."""
        return await asyncio.to_thread(self.resolve_string_details, flag_key, default_value, evaluation_context)

    async def resolve_integer_details_async(
        self,
        flag_key: str,
        default_value: int,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[int]:
        """Return an integer flag, looked up in a thread."""
        return await asyncio.to_thread(self.resolve_integer_details, flag_key, default_value, evaluation_context)

    async def resolve_float_details_async(
        self,
        flag_key: str,
        default_value: float,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[float]:
        """Return a number as a float flag, looked up in a thread."""
        return await asyncio.to_thread(self.resolve_float_details, flag_key, default_value, evaluation_context)

    async def resolve_object_details_async(
        self,
        flag_key: str,
        default_value: Structure,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Structure]:
        """Return a structured flag, looked up in a thread."""
        return await asyncio.to_thread(self.resolve_object_details, flag_key, default_value, evaluation_context)

    def _resolve(self, kind: str, key: str, default: Value, context: EvaluationContext | None) -> Details:
        asked = context or EvaluationContext()
        if not key.startswith(OWN):
            found = self._guarded(lambda: self._of_artifact(key, default, asked))
        elif key.startswith(LEVEL):
            found = self._closed("off", lambda: self._level(key.removeprefix(LEVEL), asked))
        elif key.startswith(MAY):
            found = self._closed(default=False, look=lambda: self._may(key.removeprefix(MAY), asked))
        elif key.startswith(DEPLOYMENT):
            found = self._guarded(lambda: self._deployment(key.removeprefix(DEPLOYMENT), asked))
        elif key == ASSIGNMENT:
            found = self._guarded(lambda: self._assignment(asked))
        else:
            raise FlagNotFoundError(f"no flag {key!r}: names that begin with {OWN!r} are Kedge's own")
        return _typed(kind, key, found)

    def _guarded(self, look: Callable[[], Details]) -> Details:
        """Return what was found; where it cannot be, the caller gets its default."""
        try:
            return look()
        except kedge.UnknownName as error:
            raise FlagNotFoundError(str(error)) from error
        except kedge.InvalidValue as error:
            raise ParseError(str(error)) from error
        except kedge.KedgeError as error:
            raise GeneralError(str(error)) from error

    def _closed(self, default: Value, look: Callable[[], Details]) -> Details:
        """Return what was found; where it cannot be, what permits least: the caller's default could permit more."""
        try:
            return look()
        except kedge.KedgeError as error:
            reason = Reason.UNKNOWN if isinstance(error, kedge.Misuse) else Reason.STALE
            return FlagResolutionDetails(
                default, reason=reason, variant=str(default), flag_metadata={"error": str(error)[:200]}
            )

    # ── Kedge's own flags ──

    def _level(self, feature: str, context: EvaluationContext) -> Details:
        level = self._k.ladder.effective(feature or None, session=context.targeting_key, tool=_tool(context))
        reason = Reason.DEFAULT if level is kedge.Level.FULL else Reason.TARGETING_MATCH
        return FlagResolutionDetails(str(level), reason=reason, variant=str(level))

    def _may(self, rest: str, context: EvaluationContext) -> Details:
        act, _, feature = rest.partition(".")
        verdict = self._k.ladder.may(
            cast("Any", act),  # checked there
            feature or None,
            session=context.targeting_key,
            tool=_tool(context),
            reversibility=cast("Any", context.attributes.get(REVERSIBILITY)),
        )
        said = str(verdict)
        return FlagResolutionDetails(
            verdict.permits, reason=Reason.TARGETING_MATCH, variant=said, flag_metadata={"verdict": said}
        )

    def _deployment(self, name: str, context: EvaluationContext) -> Details:
        self._k.deployment(name)  # raises where there is none
        session = _session(context, f"{DEPLOYMENT}{name}")
        is_seen = name in self._k.assignment(session)
        return FlagResolutionDetails(is_seen, reason=Reason.SPLIT, variant="on" if is_seen else "off")

    def _assignment(self, context: EvaluationContext) -> Details:
        seen = sorted(self._k.assignment(_session(context, ASSIGNMENT)))
        return FlagResolutionDetails({"deployments": seen}, reason=Reason.SPLIT, variant=",".join(seen))

    # ── flags that are artifacts ──

    def _of_artifact(self, key: str, default: Value, context: EvaluationContext) -> Details:
        flag, was_cached = self._flag(key, context.targeting_key)
        variant, reason = choose(flag, context.attributes)
        value = default if variant is None else flag.variants[variant]
        if was_cached and reason == Reason.STATIC:
            reason = Reason.CACHED
        metadata = MappingProxyType(dict(flag.flag_metadata or {}))
        return FlagResolutionDetails(value, reason=Reason(reason), variant=variant, flag_metadata=metadata)

    def _flag(self, key: str, session: str | None) -> tuple[Flag, bool]:
        turn = kedge.current_turn()
        if turn is not None and turn.is_open and turn.url == self._k.url and session in {None, turn.session}:
            return read_flag(key, turn.artifacts[FLAGS + key].value), False
        epoch = self._k.epoch
        cached = self._cached.get((session, key))
        if cached is not None and cached.epoch == epoch:
            return cached.flag, True
        view = self._k.view() if session is None else self._k.view(session=session)
        flag = read_flag(key, view.artifacts[FLAGS + key].value)
        if len(self._cached) >= CACHE_MAX:
            self._cached.clear()
        self._cached[session, key] = _Cached(epoch, flag)
        return flag, False


def _typed(kind: str, key: str, found: Details) -> Details:
    """Return what was found, if it is of the kind that was asked for; true is no number, and 1 is a float too."""
    value, kinds = found.value, _KINDS[kind]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise TypeMismatchError(f"the flag {key!r} is {value!r:.80}, not of type {kind}")
    return replace(found, value=float(str(value))) if kind == "Float" else found


def _session(context: EvaluationContext, key: str) -> str:
    if context.targeting_key is None:
        raise TargetingKeyMissingError(f"the flag {key!r} is one of a session: give its name as the targeting key")
    return context.targeting_key


def _tool(context: EvaluationContext) -> str | None:
    found = context.attributes.get(TOOL)
    return None if found is None else str(found)
