"""The OpenFeature provider: flags that roll back, levels that fail closed, and events."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

import kedge

pytest.importorskip("openfeature", reason="the extra kedge[openfeature] is not installed")

from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.provider import ProviderStatus
from openfeature.track import TrackingEventDetails

from kedge.integrations.openfeature import KedgeProvider

TONE = {
    "variants": {"brief": "brief", "warm": "warm"},
    "defaultVariant": "brief",
    "targeting": [{"if": {"tier": ["gold", "silver"], "age": {">=": 18}}, "then": "warm"}],
    "flagMetadata": {"owner": "support"},
}


@pytest.fixture
def k(place: str) -> Iterator[kedge.Kedge]:
    with kedge.open(place, durability="normal") as opened:
        opened.deploy("v1", {"support/prompt": "one", "flags/greeting": "hello", "flags/tone": TONE, "flags/limit": 3})
        opened.promote("v1")
        opened.deploy("v2", {"flags/greeting": "hi there"}, canary=1.0)
        yield opened


@pytest.fixture
def client(k: kedge.Kedge) -> Iterator[OpenFeatureClient]:
    api.set_provider_and_wait(KedgeProvider(k), "test")
    yield api.get_client("test")
    api.clear_providers()


def of(session: str | None, **attributes: Any) -> EvaluationContext:
    return EvaluationContext(session, attributes)


def test_a_flag_follows_what_its_session_sees_and_rolls_back(k: kedge.Kedge, client: OpenFeatureClient) -> None:
    assert client.get_string_value("greeting", "", of(None)) == "hello"
    assert client.get_string_value("greeting", "", of("s1")) == "hi there"
    k.rollback("v2")
    assert client.get_string_value("greeting", "", of("s1")) == "hello"


def test_a_flag_that_is_read_in_a_turn_is_in_its_lineage(k: kedge.Kedge, client: OpenFeatureClient) -> None:
    with k.turn(session="s1", agent="support") as turn:
        assert "v2" not in turn.lineage
        details = client.get_string_details("greeting", "", of("s1"))
        assert (details.value, details.reason) == ("hi there", "STATIC")
        assert "v2" in turn.lineage
        turn.context.put("said", details.value)
    k.rollback("v2")
    assert k.view().context.get("said") is None


def test_targeting_and_reasons(client: OpenFeatureClient) -> None:
    def tone(**attributes: Any) -> tuple[Any, ...]:
        found = client.get_string_details("tone", "none", of("s1", **attributes))
        return found.value, found.variant, found.reason, dict(found.flag_metadata)

    metadata = {"owner": "support"}
    assert tone(tier="gold", age=18) == ("warm", "warm", "TARGETING_MATCH", metadata)
    assert tone(tier="gold", age=17) == ("brief", "brief", "DEFAULT", metadata)
    assert tone(tier="gold", age="18") == ("brief", "brief", "DEFAULT", metadata)
    assert tone() == ("brief", "brief", "DEFAULT", metadata)


@pytest.mark.parametrize(
    ("kind", "key", "default", "code"),
    [
        ("string", "absent", "mine", "FLAG_NOT_FOUND"),
        ("string", "limit", "mine", "TYPE_MISMATCH"),
        ("boolean", "limit", True, "TYPE_MISMATCH"),
        ("string", "kedge.nonsense", "mine", "FLAG_NOT_FOUND"),
        ("boolean", "kedge.deployment.v9", True, "FLAG_NOT_FOUND"),
        ("object", "kedge.assignment", {}, "TARGETING_KEY_MISSING"),
    ],
)
def test_a_call_that_is_wrong_gets_its_default(
    client: OpenFeatureClient, kind: str, key: str, default: Any, code: str
) -> None:
    details = getattr(client, f"get_{kind}_details")(key, default, of(None))
    assert (details.value, str(details.error_code)) == (default, code)


def test_a_flag_that_is_malformed_gets_the_default(k: kedge.Kedge, client: OpenFeatureClient) -> None:
    k.deploy("v3", {"flags/odd": {"variants": {"a": 1}, "defaultVariant": "b"}, "flags/cut": {"if": 1}})
    k.promote("v3")
    for key in ("odd", "cut"):
        assert str(client.get_integer_details(key, 7, of(None)).error_code) == "PARSE_ERROR"


def test_levels_and_rights_are_flags(k: kedge.Kedge, client: OpenFeatureClient) -> None:
    def level(session: str | None = None, **attributes: Any) -> Any:
        return client.get_string_value("kedge.level.support", "?", of(session, **attributes))

    def may(act: str, **attributes: Any) -> Any:
        return client.get_boolean_value(f"kedge.may.{act}.support", True, of("s1", **attributes))

    assert (level(), may("act"), may("learn")) == ("full", True, True)
    k.ladder.tighten("supervised", "feature:support", by="ana")
    assert (level(), may("act"), may("act", reversibility="undoable"), may("learn")) == (
        "supervised", False, True, True,
    )  # fmt: skip
    k.ladder.tighten("off", "tool:refund", by="ana")
    assert (level(), level(tool="refund")) == ("supervised", "off")
    k.ladder.tighten("frozen", "session:s2", by="ana")
    assert (level("s1"), level("s2")) == ("supervised", "frozen")


def test_what_cannot_be_known_permits_nothing(k: kedge.Kedge, client: OpenFeatureClient) -> None:
    def unreachable(*_: Any, **__: Any) -> Any:
        raise kedge.Unreachable("the server is down")

    k._kernel.backend.control.load = unreachable  # type: ignore[method-assign]
    level = client.get_string_details("kedge.level.support", "full", of(None))
    assert (level.value, level.reason, level.error_code) == ("off", "STALE", None)
    assert "down" in str(level.flag_metadata["error"])
    assert client.get_boolean_value("kedge.may.act.support", True, of(None)) is False
    assert client.get_string_value("greeting", "mine", of(None)) == "mine"


def test_a_right_that_is_mistyped_permits_nothing(client: OpenFeatureClient) -> None:
    details = client.get_boolean_details("kedge.may.dance.support", True, of(None))
    assert (details.value, details.reason) == (False, "UNKNOWN")
    assert "must be one of" in str(details.flag_metadata["error"])


def test_the_assignment_is_a_flag(k: kedge.Kedge, client: OpenFeatureClient) -> None:
    assert client.get_boolean_value("kedge.deployment.v2", False, of("s1")) is True
    assert client.get_object_value("kedge.assignment", {}, of("s1")) == {"deployments": ["v1", "v2"]}
    k.rollback("v2")
    assert client.get_boolean_value("kedge.deployment.v2", True, of("s1")) is False


def test_tracking_stores_an_observation(
    k: kedge.Kedge, client: OpenFeatureClient, caplog: pytest.LogCaptureFixture
) -> None:
    with k.turn(session="s1", agent="support"):
        pass
    client.track("resolved", of("s1"))
    client.track("cost", of("s1"), TrackingEventDetails(0.25))
    found = [(name, k._kernel.backend.metrics.observations(name)) for name in ("resolved", "cost")]
    assert [(name, sample.session, sample.value) for name, (sample,) in found] == [
        ("resolved", "s1", True), ("cost", "s1", 0.25),
    ]  # fmt: skip
    client.track("resolved", of("nobody"))
    client.track("resolved", of(None))
    assert caplog.text.count("was not stored") == 2


def hear(told: list[EventDetails], flag: threading.Event, details: EventDetails) -> None:
    told.append(details)
    flag.set()


def test_a_change_and_a_lost_lease_are_events(k: kedge.Kedge) -> None:
    with k.join("router") as member:
        provider = KedgeProvider(k, member=member)
        api.set_provider_and_wait(provider, "test")
        client = api.get_client("test")
        heard = {event: threading.Event() for event in ProviderEvent}
        told: list[EventDetails] = []
        for event, flag in heard.items():
            client.add_handler(event, partial(hear, told, flag))
        k.rollback("v2")
        assert heard[ProviderEvent.PROVIDER_CONFIGURATION_CHANGED].wait(30)
        while not any(details.metadata.get("epoch") == k.epoch for details in list(told)):
            pass
        member._lease.until = float("-inf")
        assert heard[ProviderEvent.PROVIDER_STALE].wait(30)
        member._refresh()
        while client.get_provider_status() is not ProviderStatus.READY:  # handlers of the first event may come late
            pass
        api.clear_providers()
