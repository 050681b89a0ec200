"""The laws of integrations hold for the LangGraph checkpointer, in each durability mode, sync and async."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import kedge

pytest.importorskip("langgraph.graph", reason="`make hosts` installs it")

from kedge.testing.contracts.integrations import TeamContract, TeamOn
from tests.hosts.langgraph_team import LangGraphTeam

EVERYDAY = ("[sqlite-async async",)
POSTGRES_ONE_IN = 6
MODES = ["sync", "async", "exit", "sync async", "async async", "exit async"]


@pytest.fixture
def k(place: str) -> Iterator[kedge.Kedge]:
    with kedge.open(place, durability="normal") as opened:
        yield opened


class TestLangGraph(TeamContract):
    @pytest.fixture(params=MODES)
    def team_on(self, request: pytest.FixtureRequest) -> TeamOn:
        return lambda k: LangGraphTeam(k, request.param)
