"""The support team as a LangGraph graph: what differs from a program on LangGraph's own savers is marked `# Kedge`.

Run it: `pip install 'kedge[langgraph]'`, then `python examples/langgraph_support_team.py`. As in `support_team.py`,
only the researcher's prompt gets worse, and the untouched writer is misled by the shared store.
"""

import operator
import sys
import tempfile
from typing import Annotated, Any

from langgraph.config import get_store
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

import kedge  # Kedge
from kedge.integrations.langgraph import KedgeSaver, KedgeStore, handler  # Kedge

V1 = {
    "researcher/prompt": "Look the policy up, word by word.",
    "writer/prompt": "Answer politely, from the notes only.",
}
V2 = {"researcher/prompt": "Be quick: estimate the policy."}
HANDBOOK = {"refund": "30 days", "shipping": "5 days", "warranty": "2 years", "exchange": "60 days"}
MORNING = [("ann", "What is your refund policy?"), ("bob", "How long does shipping take?")]
EVENING = [("cid", "Until when can I exchange it?"), ("dora", "Is an exchange possible?"), ("ann", "And a refund?")]


class State(TypedDict):
    """The texts of a chat."""

    messages: Annotated[list[str], operator.add]


def model(prompt: str, topic: str) -> str:
    """Stand in for a language model: with a hasty prompt, it makes things up."""
    return f"{len(topic)} weeks" if "estimate" in prompt else HANDBOOK[topic]


def prompt_of(agent: str) -> str:
    """Return an agent's prompt."""
    turn = kedge.current_turn()  # Kedge
    assert turn is not None
    return str(turn.artifacts[f"{agent}/prompt"].value)  # Kedge


def topic_of(state: State) -> str:
    """Return what the last question is about."""
    return next(topic for topic in HANDBOOK if topic in state["messages"][-1])


@kedge.agent("researcher")  # Kedge
def research(state: State) -> dict[str, Any]:
    """File what the policy is in the notes that all agents share, unless it is there."""
    topic, store = topic_of(state), get_store()
    if store.get(("notes",), topic) is None:
        store.put(("notes",), topic, {"text": model(prompt_of("researcher"), topic)})
    return {"messages": []}


@kedge.agent("writer")  # Kedge
def write(state: State) -> dict[str, Any]:
    """Write a reply from the shared notes."""
    topic = topic_of(state)
    note = get_store().get(("notes",), topic)
    assert note is not None
    return {"messages": [f"{topic}: {note.value['text']}"]}


def graph_on(k: kedge.Kedge) -> Any:
    """Return the graph, with its threads and its notes in Kedge."""
    built = StateGraph(State)
    built.add_node("research", research)
    built.add_node("write", write)
    built.add_edge(START, "research")
    built.add_edge("research", "write")
    return built.compile(checkpointer=KedgeSaver(k, agent="desk"), store=KedgeStore(k, agent="desk"))  # Kedge


def serve(graph: Any, cases: list[tuple[str, str]]) -> None:
    """Answer customers, one after another."""
    for customer, question in cases:
        graph.invoke({"messages": [question]}, {"configurable": {"thread_id": customer}})


def chats(graph: Any) -> dict[str, list[str]]:
    """Return the texts of each customer's thread."""
    threads = sorted({customer for customer, _ in MORNING + EVENING})
    states = {customer: graph.get_state({"configurable": {"thread_id": customer}}) for customer in threads}
    return {customer: list(state.values.get("messages", [])) for customer, state in states.items()}


def day(k: kedge.Kedge, *, release: bool = True) -> dict[str, list[str]]:
    """Serve a day's customers; v2 goes live at noon, and is rolled back in the night. Return the chats in the end."""
    graph = graph_on(k)
    k.deploy("team-v1", V1)
    k.promote("team-v1")
    serve(graph, MORNING)
    if release:
        k.deploy("team-v2", V2, canary=0.1)
        k.promote("team-v2")
    serve(graph, EVENING)
    if release:
        tell("in the evening", chats(graph))
        report = k.rollback("team-v2", reason="made-up policies")
        tell(f"rolled back: {report.writes_hidden} writes hidden", chats(graph))
        replayed = k.replay(handler(graph))
        tell(f"replayed: {len(replayed.replayed)} questions", chats(graph))
    return chats(graph)


def tell(what: str, shown: dict[str, list[str]]) -> None:
    """Print the chats."""
    lines = [f"── {what}", *(f"{customer:>8}  {' | '.join(said)}" for customer, said in shown.items())]
    sys.stdout.write("\n".join([*lines, "", ""]))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, kedge.open(folder) as opened:
        day(opened)
