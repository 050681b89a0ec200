"""The words that arguments of public calls accept, as types: editors complete them, type checkers refuse others."""

from typing import Literal

from kedge.model.control import Level
from kedge.model.writes import Origin

OriginName = Origin | Literal["source", "derived"]
LevelName = Level | Literal["full", "supervised", "frozen", "cautious", "fallback", "off"]
SafeLevelName = Level | Literal["frozen", "cautious", "fallback", "off"]
MetricName = Literal["cosine", "dot", "l2"]
DurabilityName = Literal["full", "normal"]
OtherCodePolicy = Literal["ignore", "warn", "refuse"]
RefreshPolicy = Literal["never", "promoted"] | float
SettlePolicy = Literal["raise", "continue"]
