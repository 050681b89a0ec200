"""The team of the LangGraph drill: two services over shared notes and cases, on Kedge or on what LangGraph brings.

The support service (clerk, researcher, writer) is released anew; billing is not. Both read the notes, and the cases.
Nodes and graphs are the same on every host; a host says where threads, items and vectors are, and which prompts are in
force.
"""

import hashlib
import operator
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Protocol

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.config import get_store
from langgraph.graph import START, StateGraph
from langgraph.store.sqlite import SqliteStore
from langgraph.types import interrupt
from typing_extensions import TypedDict

import kedge
from kedge.integrations.embedding import embedder_artifact
from kedge.integrations.langchain import KedgeVectorStore
from kedge.integrations.langgraph import KedgeSaver, KedgeStore, handler

V1 = {
    "clerk": "Note who calls.",
    "researcher": "Look the policy up, word by word.",
    "writer": "Answer politely, from the notes only.",
    "billing": "Pay what the notes and the case say.",
}
V2 = {**V1, "researcher": "Be quick: estimate the policy."}
RELEASES = {"v1": V1, "v2": V2}
HANDBOOK = {
    "refund": "30 days", "shipping": "5 days", "warranty": "2 years", "exchange": "60 days", "deposit": "10 percent",
    "hours": "9 to 17",
}  # fmt: skip
PLACES = ("contacts", "notes", "payouts")
HAS_CHROMA = find_spec("chromadb") is not None
_ITEMS_MAX = 100_000


class State(TypedDict):
    """The texts of a thread."""

    messages: Annotated[list[str], operator.add]


class Cases(Protocol):
    """Answered cases, found by the similarity of their texts."""

    def add(self, ident: str, text: str, about: str, release: str) -> None:
        """Add a case under the vector of what it is about."""

    def nearest(self, about: str) -> str:
        """Return the text of the case that is nearest to what is asked."""

    def all(self) -> dict[str, str]:
        """Return the text of each case."""


class Host(Protocol):
    """Where a team keeps its state, and which prompts are in force."""

    store: Any

    @property
    def cases(self) -> Cases:
        """The cases that all agents share."""

    def deploy(self, release: str) -> None:
        """Deploy a release of the support service to everyone."""

    def checkpointer(self, service: str) -> Any:
        """Return the checkpointer of a service's threads."""

    def prompt(self, agent: str) -> str:
        """Return the prompt of an agent, for the work that goes on."""

    def agent(self, name: str) -> AbstractContextManager[Any]:
        """Say whose work follows."""

    def release_of(self, service: str) -> str:
        """Return the version of a service that is deployed: what it writes has it as its tag."""


class Embeddings:
    """A deterministic model: its vectors depend on the text alone."""

    model = "hashed"

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a text."""
        return [byte / 255 - 0.5 for byte in hashlib.sha256(text.encode()).digest()[:16]]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector a text."""
        return [self.embed_query(text) for text in texts]


MODEL = Embeddings()


def model(prompt: str, topic: str) -> str:
    """Stand in for a language model: with a hasty prompt, it makes things up."""
    return f"{len(topic)} weeks" if "estimate" in prompt else HANDBOOK[topic]


class Team:
    """Both services over a host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        support = StateGraph(State)
        for node in (self.clerk, self.researcher, self.writer):
            support.add_node(node.__name__, node)
        support.add_edge(START, "clerk")
        support.add_edge("clerk", "researcher")
        support.add_edge("researcher", "writer")
        billing = StateGraph(State)
        billing.add_node("billing", self.billing)
        billing.add_edge(START, "billing")
        self.graphs = {
            name: built.compile(checkpointer=host.checkpointer(name), store=host.store)
            for name, built in (("support", support), ("billing", billing))
        }

    def invoke(self, thread: str, value: Any) -> None:
        """Run the service of a thread; its checkpoints have the tag of what is deployed."""
        service = service_of(thread)
        tag = {"version": self.host.release_of(service)}
        self.graphs[service].invoke(value, {"configurable": {"thread_id": thread}, "metadata": tag})

    def state(self, thread: str) -> Any:
        """Return the state of a thread, as LangGraph reads it."""
        return self.graphs[service_of(thread)].get_state({"configurable": {"thread_id": thread}})

    # ── nodes ──

    def put(self, service: str, place: str, key: str, text: str) -> None:
        """Put an item into the shared store, with the tag of the service."""
        get_store().put((place,), key, {"text": text, "version": self.host.release_of(service)})

    def note(self, topic: str) -> str:
        """Return what the notes say on a topic. They may lack it where a plan has just deleted it."""
        found = get_store().get(("notes",), topic)
        return "unknown" if found is None else str(found.value["text"])

    def clerk(self, state: State) -> dict[str, Any]:
        """Note who called; where the user speaks of an order, ask which."""
        with self.host.agent("clerk"):
            said = state["messages"][-1]
            who = said.split(":")[0]
            self.put("support", "contacts", who, f"called, {self.host.prompt('clerk')}")
            answer = interrupt("Which order is it?") if "order" in said else None
            return {"messages": [] if answer is None else [f"{said} ({answer})"]}

    def researcher(self, state: State) -> dict[str, Any]:
        """File the policy in the notes, unless it is there; where the user wants it in writing, ask how."""
        with self.host.agent("researcher"):
            topic, prompt = topic_of(state), self.host.prompt("researcher")
            if get_store().get(("notes",), topic) is None:
                self.put("support", "notes", topic, model(prompt, topic))
            if "writing" in state["messages"][-1]:
                interrupt(f"By letter: {model(prompt, topic)}?")
            return {"messages": []}

    def writer(self, state: State) -> dict[str, Any]:
        """Answer from the notes, and add the case to the cases."""
        with self.host.agent("writer"):
            topic, who = topic_of(state), state["messages"][-1].split(":")[0]
            note = self.note(topic)
            self.host.cases.add(
                f"{who}-{topic}", f"{who} was told {note}", f"{topic} of {who}", self.host.release_of("support")
            )
            return {"messages": [f"{self.host.prompt('writer')[:6]}: {topic} is {note}"]}

    def billing(self, state: State) -> dict[str, Any]:
        """Decide a payout from the shared notes, and from the case that is nearest."""
        with self.host.agent("billing"):
            topic, who = topic_of(state), state["messages"][-1].split(":")[0]
            text = f"{topic} {self.note(topic)}; {self.host.cases.nearest(f'{topic} of {who}')}"
            self.put("billing", "payouts", f"{who}-{topic}", text)
            return {"messages": [f"{self.host.prompt('billing')[:3]}: {text}"]}


def topic_of(state: State) -> str:
    """Return what the last text is about."""
    return next(topic for topic in HANDBOOK if topic in state["messages"][-1])


def service_of(thread: str) -> str:
    """Return the service whose thread it is."""
    return thread.split("/", maxsplit=1)[0]


# ── Kedge ──


class OnKedge:
    """Threads, items and vectors in one Kedge database."""

    def __init__(self, place: Path | str, stack: ExitStack) -> None:
        self.k = stack.enter_context(kedge.open(place))
        self.deploy("v1")
        self.store = KedgeStore(self.k, agent="billing")
        self.cases = KedgeCases(self.k)

    def deploy(self, release: str) -> None:
        """Deploy a release to everyone."""
        changed = {agent: text for agent, text in RELEASES[release].items() if release == "v1" or text != V1[agent]}
        pins: dict[str, Any] = {f"{agent}/prompt": text for agent, text in changed.items()}
        self.k.deploy(release, pins | ({"shared/embedder": embedder_artifact(MODEL)} if release == "v1" else {}))
        self.k.promote(release)

    def checkpointer(self, service: str) -> Any:
        return KedgeSaver(self.k, agent="clerk" if service == "support" else "billing")

    def prompt(self, agent: str) -> str:
        turn = kedge.current_turn()
        assert turn is not None
        return str(turn.artifacts[f"{agent}/prompt"].value)

    def agent(self, name: str) -> AbstractContextManager[Any]:
        return kedge.agent(name)

    def release_of(self, service: str) -> str:  # noqa: ARG002 - Kedge needs no tags
        return ""

    def replay(self, team: Team) -> kedge.ReplayReport:
        """Answer hidden inputs again, each in the service of its thread."""
        answer = {service: handler(graph) for service, graph in team.graphs.items()}
        return self.k.replay(lambda turn, item: answer[service_of(kedge.unescape_name(turn.session or ""))](turn, item))


class KedgeCases:
    """Cases in LangChain's vector store over Kedge."""

    def __init__(self, k: kedge.Kedge) -> None:
        self.k, self.rows = k, KedgeVectorStore(k, "cases", MODEL, agent="billing")

    def add(self, ident: str, text: str, about: str, release: str) -> None:  # noqa: ARG002 - Kedge needs no tags
        self.rows.add_texts([about], [{"text": text}], ids=[ident])

    def nearest(self, about: str) -> str:
        found = self.rows.similarity_search(about, k=1)
        return str(found[0].metadata["text"]) if found else "no case"

    def all(self) -> dict[str, str]:
        idents = self.k.view().vectors("cases").ids()
        return {found.id: found.metadata["text"] for found in self.rows.get_by_ids(list(idents))}


# ── LangGraph's own ──


class OnLangGraph:
    """Threads and items in LangGraph's SQLite savers and store, vectors in Chroma where it is installed."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.releases = folder, {"support": "v1", "billing": "v1"}
        self.saver = stack.enter_context(SqliteSaver.from_conn_string(str(folder / "threads.db")))
        self.store = stack.enter_context(SqliteStore.from_conn_string(str(folder / "items.db")))
        self.store.setup()
        self.cases: ChromaCases | StoreCases = ChromaCases(folder / "chroma") if HAS_CHROMA else StoreCases(self.store)

    def deploy(self, release: str) -> None:
        """Deploy a release of the support service to everyone."""
        self.releases["support"] = release

    def checkpointer(self, service: str) -> Any:  # noqa: ARG002 - thread names tell services apart
        return self.saver

    def prompt(self, agent: str) -> str:
        return RELEASES[self.releases["billing" if agent == "billing" else "support"]][agent]

    def agent(self, name: str) -> AbstractContextManager[Any]:  # noqa: ARG002 - as the protocol has it
        return nullcontext()

    def release_of(self, service: str) -> str:
        return self.releases[service]

    def snapshot(self) -> None:
        """Copy what is there, while nobody writes."""
        _copy(self.folder, self.folder / "snapshot")

    def restored(self, stack: ExitStack) -> "OnLangGraph":
        """Return a host with a copy of the snapshot."""
        _copy(self.folder / "snapshot", self.folder / "restored")
        return OnLangGraph(self.folder / "restored", stack)

    def delete_tagged(self, version: str) -> None:
        """Delete every checkpoint, pending write, item and vector that has the tag of a version."""
        tagged = [found.config["configurable"] for found in self.saver.list(None, filter={"version": version})]
        self.delete_checkpoints([(each["thread_id"], each["checkpoint_ns"], each["checkpoint_id"]) for each in tagged])
        for place in (*PLACES, "cases"):
            for item in self.store.search((place,), filter={"version": version}, limit=_ITEMS_MAX):
                self.store.delete(item.namespace, item.key)
        if isinstance(self.cases, ChromaCases):
            self.cases.rows.delete(where={"version": version})

    def delete_checkpoints(self, keys: list[tuple[str, str, str]]) -> None:
        """Delete checkpoints and their pending writes: the saver itself deletes whole threads only."""
        with self.saver.cursor() as cursor:
            for table in ("checkpoints", "writes"):
                cursor.executemany(
                    f"DELETE FROM {table} WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?", keys
                )


def _copy(folder: Path, into: Path) -> None:
    """Copy the databases of a folder."""
    into.mkdir()
    for name in ("threads.db", "items.db"):
        with closing(sqlite3.connect(folder / name)) as source, closing(sqlite3.connect(into / name)) as copy:
            source.backup(copy)
    copy_vectors(folder, into)


def copy_vectors(folder: Path, into: Path) -> None:
    """Copy the vectors of a folder, if they are in Chroma."""
    if (folder / "chroma").exists():
        shutil.copytree(folder / "chroma", into / "chroma")


class ChromaCases:
    """Cases in Chroma."""

    def __init__(self, folder: Path) -> None:
        import chromadb  # noqa: PLC0415 - need not be installed
        from chromadb.config import Settings  # noqa: PLC0415

        client = chromadb.PersistentClient(str(folder), Settings(anonymized_telemetry=False))
        self.rows: Any = client.get_or_create_collection("cases", embedding_function=None)

    def add(self, ident: str, text: str, about: str, release: str) -> None:
        self.rows.upsert([ident], [MODEL.embed_query(about)], [{"version": release}], [text])

    def nearest(self, about: str) -> str:
        found = self.rows.query([MODEL.embed_query(about)], n_results=1)["documents"][0]
        return str(found[0]) if found else "no case"

    def all(self) -> dict[str, str]:
        found = self.rows.get()
        return dict(zip(found["ids"], found["documents"], strict=True))


class StoreCases:
    """Cases in LangGraph's store, where Chroma is not installed."""

    def __init__(self, store: Any) -> None:
        self.store = store

    def add(self, ident: str, text: str, about: str, release: str) -> None:
        self.store.put(("cases",), ident, {"text": text, "about": about, "version": release})

    def nearest(self, about: str) -> str:
        found = {item.value["about"]: item.value["text"] for item in self._items()}
        wanted = MODEL.embed_query(about)
        score: Callable[[str], float] = lambda each: sum(map(operator.mul, wanted, MODEL.embed_query(each)))  # noqa: E731
        return str(found[max(sorted(found), key=score)]) if found else "no case"

    def all(self) -> dict[str, str]:
        return {item.key: item.value["text"] for item in self._items()}

    def _items(self) -> Iterator[Any]:
        yield from self.store.search(("cases",), limit=_ITEMS_MAX)
