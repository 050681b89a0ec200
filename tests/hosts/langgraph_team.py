"""The team of the contract for integrations, as a LangGraph graph: an agent a node, the expert in a subgraph."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from typing import Annotated, Any

from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

import kedge
from kedge.integrations.langgraph import KedgeSaver, handler


class State(TypedDict):
    messages: Annotated[list[str], operator.add]


class LangGraphTeam:
    """One graph; each call in one durability mode, sync or async."""

    def __init__(self, k: kedge.Kedge, mode: str, saver: type[KedgeSaver] = KedgeSaver) -> None:
        self.k, self.on = k, dict[str, Callable[[], object]]()
        self.durability, _, way = mode.partition(" ")
        self.is_async = way == "async"
        self.graph = self.build().compile(checkpointer=saver(k, agent="team"))

    def build(self) -> StateGraph[Any]:
        expert = StateGraph(State)
        expert.add_node("expert", self.expert)
        expert.add_edge(START, "expert")
        self.desk = expert.compile()
        built = StateGraph(State)
        built.add_node("clerk", self.clerk)
        built.add_node("planner", self.planner)
        built.add_node("auditor", self.auditor)
        built.add_edge(START, "clerk")
        built.add_edge("clerk", "planner")
        built.add_edge("clerk", "auditor")
        return built

    def begin(self, agent: str) -> None:
        self.on.get(agent, lambda: None)()

    def clerk(self, _: State) -> dict[str, Any]:
        self.begin("clerk")
        with kedge.agent("clerk"):
            return {"messages": [f"clerk[{prompt('clerk')}]"]}

    def planner(self, state: State) -> dict[str, Any]:
        self.begin("planner")
        said = state["messages"][-2]
        if "hand off" in said:
            found = self.desk.invoke({"messages": []})["messages"]
        else:
            found = [self.plan(said, len(state["messages"]))]
        self.begin("planner done")
        return {"messages": found}

    @kedge.agent("planner")
    def plan(self, said: str, before: int) -> str:
        version = prompt("planner")
        return (
            f"planner[{version}] heard {interrupt(f'{version}?')}" if "ask" in said else f"planner[{version}] {before}"
        )

    @kedge.agent("auditor")
    def auditor(self, state: State) -> dict[str, Any]:
        self.begin("auditor")
        return {"messages": [f"auditor {len(state['messages'])}"]}

    @kedge.agent("expert")
    def expert(self, _: State) -> dict[str, Any]:
        return {"messages": [f"expert[{prompt('expert')}]"]}

    # ── its face ──

    def config(self, thread: str) -> Any:
        return {"configurable": {"thread_id": thread}}

    def run(self, thread: str, value: Any) -> list[str]:
        if self.is_async:
            found = asyncio.run(self.graph.ainvoke(value, self.config(thread), durability=self.durability))
        else:
            found = self.graph.invoke(value, self.config(thread), durability=self.durability)
        return list(found["messages"])

    def say(self, thread: str, text: str) -> list[str]:
        return self.run(thread, {"messages": [text]})

    def answer(self, thread: str, text: str) -> list[str]:
        return self.run(thread, Command(resume=text))

    def texts(self, thread: str) -> list[str]:
        return list(self.graph.get_state(self.config(thread)).values.get("messages", []))

    def questions(self, thread: str) -> list[str]:
        return [found.value for found in self.graph.get_state(self.config(thread)).interrupts]

    def delete(self, thread: str) -> None:
        self.graph.checkpointer.delete_thread(thread)

    def replay(self) -> kedge.ReplayReport:
        return self.k.replay(handler(self.graph, is_async=self.is_async))


def prompt(agent: str) -> object:
    turn = kedge.current_turn()
    assert turn is not None
    return turn.artifacts[f"{agent}/prompt"].value
