"""The indicators of rollbacks stay in the log as a time series."""

from __future__ import annotations

import pytest

import kedge
from kedge import Kedge
from kedge.guard.indicator_runs import SERIES
from kedge.recovery.verify import Indicators
from tests.contract.conftest import HandClock


def roll_back(k: Kedge, name: str) -> kedge.RollbackReport:
    k.deploy(name, {"support/prompt": name}, canary=1.0)
    with k.turn(session=name, agent="support") as turn:
        turn.context.put(f"case/{name}", name)
    return k.rollback(name, reason="wrong")


@pytest.mark.both
def test_each_verified_rollback_is_a_run(k: Kedge, clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> None:
    assert k.guard.indicator_runs() == []
    reports = []
    for name in ("v1", "v2"):
        clock.time += 60
        reports.append(roll_back(k, name))
    newest, oldest = k.guard.indicator_runs()
    assert (oldest.deployment, newest.deployment, newest.ok) == ("v1", "v2", True)
    assert newest.at - oldest.at == 60
    for run, report in zip((oldest, newest), reports, strict=True):
        assert isinstance(report.indicators, Indicators)
        assert run.indicators == {name: getattr(report.indicators, name) for name in SERIES}
    k.rollback(k.deploy("v3", {"support/prompt": "three"}).name, verify=False)
    assert [run.deployment for run in k.guard.indicator_runs()] == ["v2", "v1"], "v3 has not been verified"
    monkeypatch.setattr(Indicators, "ok", property(lambda _self: False))
    roll_back(k, "v4")
    assert [(run.deployment, run.ok) for run in k.guard.indicator_runs(2)] == [("v4", False), ("v2", True)]


@pytest.mark.parametrize("limit", [0, -1, True, "3", 1.5])
def test_a_wrong_limit_is_named(k: Kedge, limit: object) -> None:
    with pytest.raises(kedge.InvalidValue, match="invalid limit"):
        k.guard.indicator_runs(limit)  # type: ignore[arg-type]
