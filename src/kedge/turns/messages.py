"""What a turn sends to other agents, and takes from them: bound to its headers, and in the version that it speaks."""

from collections.abc import Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any, Protocol

import msgspec

from kedge.errors import InvalidValue, ReadOnly, SchemaRefused, SyncNeeded, nearest
from kedge.model.artifacts import unpack
from kedge.model.checks import check_name
from kedge.model.control import ControlRecord
from kedge.model.envelope import Envelope
from kedge.model.negotiation import MESSAGE, OWN, SPEAKS, Decision, Rule, Verdict, decide, digest, read_rules
from kedge.model.writes import Head
from kedge.ports.metrics import Sample, Tally
from kedge.turns.kernel import Caster, Kernel

_OTHER = "belong to another payload"


class Sender(msgspec.Struct, frozen=True):
    """Who sent the headers that a turn was given last: their envelope, or why there is none to be trusted."""

    name: str
    envelope: Envelope | None
    why: str = ""


class Incoming(msgspec.Struct, frozen=True):
    """A message as it came; `version` is what its receiver knows of a sender that signs nothing."""

    schema: str
    payload: Any
    sender: Sender
    version: int | None = None

    @property
    def sent(self) -> int | None:
        """The version that its sender speaks, if it is known."""
        envelope = self.sender.envelope
        return self.version if envelope is None else envelope.speaks.get(self.schema)


class Receiver(Protocol):
    """A turn, as far as taking a message needs it."""

    @property
    def agent(self) -> str | None:
        """The agent whose turn it is."""

    def sample(self, metric: str, value: str) -> Sample:
        """Return a metric sample of this turn."""


def rules_of(agent: str | None, own_artifacts: list[Head]) -> dict[str, Rule]:
    """Return what an agent speaks, by its artifacts as its turn read them."""
    key = f"{agent}/{SPEAKS}"
    found = next((head for head in own_artifacts if head.key.name == key), None)
    return {} if found is None or found.payload is None else read_rules(key, unpack(found.payload).value)


def rule_for(agent: str | None, rules: Mapping[str, Rule], schema: str) -> Rule:
    """Return the rule of a schema, or raise `InvalidValue`."""
    check_name("the schema", schema)
    if agent is None:
        raise InvalidValue(f"no agent's turn sends or takes messages of schema {schema!r}; begin it with agent=")
    if schema not in rules:
        raise InvalidValue(
            f"the artifact {agent}/{SPEAKS} of this view names no schema {schema!r}{nearest(schema, rules)}; deploy it "
            f'with {{"{schema}": 1}}'
        )
    return rules[schema]


def receive(kernel: Kernel, record: ControlRecord, receiver: Receiver, rule: Rule, message: Incoming) -> Any:
    """Return a message's payload in the version that the receiver speaks, or raise; each verdict is counted."""
    schema, sender, payload = message.schema, message.sender.name, message.payload
    decision = _decide(kernel, record, rule, message)
    if decision.verdict is Verdict.TRANSLATE:
        decision, payload = _translate(kernel.casters, decision, schema, payload)
    what = f"{schema} {'?' if message.sent is None else message.sent}->{rule.version} from {sender}"
    kernel.backend.metrics.observe(receiver.sample(MESSAGE + decision.verdict, what))
    said = f"{receiver.agent!r} speaks version {rule.version} of {schema!r}, and {sender!r} sent {message.sent}"
    if decision.verdict is Verdict.SYNC:
        raise SyncNeeded(f"{said}: {decision.why}; ask it to begin a new turn and send again")
    if decision.verdict is Verdict.REFUSE:
        raise SchemaRefused(f"{said}: {decision.why}")
    return payload


def count_refused(kernel: Kernel, record: ControlRecord, receiver: Receiver, sender: Sender | None) -> None:
    """Count what a turn did not begin with, or did not absorb, since something rolled back had influenced it."""
    envelope = None if sender is None else sender.envelope
    if sender is not None and envelope is not None and not record.rolled_back.isdisjoint(envelope.lineage):
        why = f"anything from {sender.name}, influenced by what is rolled back"
        with suppress(ReadOnly):
            kernel.backend.metrics.observe(receiver.sample(MESSAGE + Verdict.REFUSE, why))


def _decide(kernel: Kernel, record: ControlRecord, rule: Rule, message: Incoming) -> Decision:
    envelope, sent = message.sender.envelope, message.sent
    if sent is None:
        unsigned = "it has no valid signature; say version= if you know which it speaks"
        return Decision(Verdict.REFUSE, unsigned if envelope is None else "its headers name no version of that")
    stale = ""
    if envelope is not None:
        if envelope.digest != digest(message.schema, message.payload):
            none = "were made without a payload; use turn.send()"
            return Decision(Verdict.REFUSE, f"the headers {none if envelope.digest is None else _OTHER}")
        gone = frozenset(envelope.base).difference(envelope.hidden, record.revocable, record.settled)
        stale = ", ".join(sorted(kernel.names(gone)))
    return decide(rule, sent, kernel.edges(message.schema), stale=stale)


def _translate(
    casters: Mapping[tuple[str, int, int], Caster], decision: Decision, schema: str, payload: Any
) -> tuple[Decision, Any]:
    """Return what casters make of a payload; one that raises, or makes what is no JSON, is a refusal."""
    made = msgspec.json.decode(msgspec.json.encode(payload))  # whatever a caster does to it, the caller's stays whole
    for start, end in pairwise(decision.path):
        try:
            made = casters[schema, start, end](made)
            digest(schema, made)
        except Exception as error:  # noqa: BLE001 - somebody else's code: the message is refused, and says why
            why = f"the caster from {start} to {end} failed on it: {type(error).__name__}: {error}"
            return Decision(Verdict.REFUSE, why), None
    return decision, made


def add_caster(kernel: Kernel, schema: str, start: int, end: int, cast: Caster) -> None:
    """Let this process translate messages of a schema from one version to another."""
    check_name("the schema", schema)
    for version in (start, end):
        if isinstance(version, bool) or not isinstance(version, int):
            raise InvalidValue(f"the version {version!r} of schema {schema!r} is no integer; number its versions")
    if start == end or not callable(cast):
        raise InvalidValue(f"a caster of {schema!r} is a function from one version to another, not {cast!r:.60}")
    kernel.casters[schema, start, end] = cast


def verdicts(kernel: Kernel, prefix: str = OWN) -> list[Tally]:
    """Return what Kedge has counted itself; how all its own metrics begin is left out."""
    found = kernel.backend.metrics.tallies(prefix)
    return [msgspec.structs.replace(tally, metric=tally.metric.removeprefix(OWN)) for tally in found]
