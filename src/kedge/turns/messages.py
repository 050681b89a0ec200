"""Messages between agents: bound to signed headers, with schema versions negotiated and translated."""

from collections.abc import Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any, Protocol

import msgspec

from kedge.errors import InvalidValue, ReadOnly, SchemaRefused, SyncNeeded, nearest
from kedge.model.artifacts import unpack
from kedge.model.checks import check_name
from kedge.model.control import ControlRecord
from kedge.model.declared_metrics import OWN
from kedge.model.envelope import Envelope
from kedge.model.negotiation import MESSAGE, SPEAKS, Decision, Rule, Verdict, decide, digest, read_rules
from kedge.model.numbers import as_plain
from kedge.model.writes import Head, check_depth
from kedge.ports.metrics import Sample, Tally
from kedge.turns.kernel import Caster, Kernel

_OTHER = "were made for another payload"


class Sender(msgspec.Struct, frozen=True):
    """The sender of the last headers that a turn got: its envelope, or why there is no trusted one."""

    name: str
    envelope: Envelope | None
    why: str = ""


class Incoming(msgspec.Struct, frozen=True):
    """A received message. `version` is the version that an unsigned sender is known to speak."""

    schema: str
    payload: Any
    sender: Sender
    version: int | None = None

    @property
    def sent(self) -> int | None:
        """The version that its sender speaks, or None where it is not known."""
        envelope = self.sender.envelope
        return self.version if envelope is None else envelope.speaks.get(self.schema)


class Receiver(Protocol):
    """What receiving a message needs of a turn."""

    @property
    def agent(self) -> str | None:
        """The agent whose turn it is."""

    def sample(self, metric: str, value: str) -> Sample:
        """Return a metric sample of this turn."""


def rules_of(agent: str | None, own_artifacts: list[Head]) -> dict[str, Rule]:
    """Return the message schemas that an agent speaks, from its artifacts."""
    key = f"{agent}/{SPEAKS}"
    found = next((head for head in own_artifacts if head.key.name == key), None)
    return {} if found is None or found.payload is None else read_rules(key, unpack(found.payload).value)


def rule_for(agent: str | None, rules: Mapping[str, Rule], schema: str) -> Rule:
    """Return the rule of a schema, or raise `InvalidValue`."""
    check_name("the schema", schema)
    if agent is None:
        raise InvalidValue(f"messages of schema {schema!r} need an agent's turn; begin it with agent=")
    if schema not in rules:
        raise InvalidValue(
            f"unknown schema {schema!r}{nearest(schema, rules)}: not in {agent}/{SPEAKS} of this view; deploy it "
            f'with {{"{schema}": 1}}'
        )
    return rules[schema]


def receive(kernel: Kernel, record: ControlRecord, receiver: Receiver, rule: Rule, message: Incoming) -> Any:
    """Return a message's payload in the version that the receiver speaks, or raise; count each verdict."""
    schema, sender, payload = message.schema, message.sender.name, message.payload
    check_depth(payload, f"the message of schema {schema!r}")
    decision = _decide(kernel, record, rule, message)
    if decision.verdict is Verdict.TRANSLATE:
        decision, payload = _translate(kernel.casters, decision, schema, payload)
    what = f"{schema} {'?' if message.sent is None else message.sent}->{rule.version} from {sender}"
    kernel.backend.metrics.observe(receiver.sample(MESSAGE + decision.verdict, what))
    said = f"{receiver.agent!r} speaks version {rule.version} of {schema!r}, and {sender!r} sent {message.sent}"
    if decision.verdict is Verdict.SYNC:
        raise SyncNeeded(f"{said}: {decision.why}; the sender must begin a new turn and send again")
    if decision.verdict is Verdict.REFUSE:
        raise SchemaRefused(f"{said}: {decision.why}")
    return payload


def count_refused(kernel: Kernel, record: ControlRecord, receiver: Receiver, sender: Sender | None) -> None:
    """Count headers that a turn refused because their lineage holds a rolled-back deployment."""
    envelope = None if sender is None else sender.envelope
    if sender is not None and envelope is not None and not record.rolled_back.isdisjoint(envelope.lineage):
        why = f"anything from {sender.name}, influenced by what is rolled back"
        with suppress(ReadOnly):
            kernel.backend.metrics.observe(receiver.sample(MESSAGE + Verdict.REFUSE, why))


def _decide(kernel: Kernel, record: ControlRecord, rule: Rule, message: Incoming) -> Decision:
    envelope, sent = message.sender.envelope, message.sent
    if sent is None:
        unsigned = "it has no valid signature; pass version= if you know which version it speaks"
        return Decision(Verdict.REFUSE, unsigned if envelope is None else "its headers name no version of this schema")
    stale = ""
    if envelope is not None:
        if envelope.digest != digest(message.schema, message.payload):
            none = "were made without a payload; use turn.send()"
            return Decision(Verdict.REFUSE, f"the headers {none if envelope.digest is None else _OTHER}")
        gone = frozenset(envelope.base).difference(envelope.hidden, record.revocable, record.settled)
        stale = ", ".join(sorted(kernel.names(gone)))
    return decide(rule, sent, kernel.translations(message.schema), stale=stale)


def _translate(
    casters: Mapping[tuple[str, int, int], Caster], decision: Decision, schema: str, payload: Any
) -> tuple[Decision, Any]:
    """Return a payload translated by casters; a caster that raises or does not return JSON means a refusal."""
    made = msgspec.json.decode(msgspec.json.encode(payload))  # a copy: a caster may modify it in place
    for start, end in pairwise(decision.path):
        try:
            made = casters[schema, start, end](made)
            digest(schema, made)
        except Exception as error:  # noqa: BLE001 - the user's code: the refusal says what it raised
            why = f"the caster from version {start} to {end} failed: {type(error).__name__}: {error}"
            return Decision(Verdict.REFUSE, why), None
    return decision, made


def add_caster(kernel: Kernel, schema: str, start: int, end: int, cast: Caster) -> None:
    """Let this process translate messages of a schema from one version to another."""
    check_name("the schema", schema)
    for version in (start, end):
        if isinstance(version, bool) or not isinstance(as_plain(version), int):
            raise InvalidValue(f"invalid version {version!r} of schema {schema!r}: must be an integer")
    if start == end or not callable(cast):
        raise InvalidValue(
            f"invalid caster of {schema!r}: {cast!r:.60}: must be a function from one version to another"
        )
    kernel.casters[schema, int(start), int(end)] = cast


def verdicts(kernel: Kernel, prefix: str = OWN) -> list[Tally]:
    """Return the counters that Kedge keeps itself, without the common prefix of their names."""
    found = kernel.backend.metrics.tallies(prefix)
    return [msgspec.structs.replace(tally, metric=tally.metric.removeprefix(OWN)) for tally in found]
