"""The helpdesk team: turns, calls between agents by headers, days and evenings."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from kedge.drill import agents
from kedge.drill.agents import DOCUMENTS, LEARNED, Answer, Found, Task
from kedge.drill.content import message_name
from kedge.drill.corpus import Document
from kedge.drill.database import Database
from kedge.drill.release import EMBEDDER_KEY, Embedders
from kedge.drill.reviewer_process import Reviewer
from kedge.drill.trace import Place, Trace
from kedge.drill.traced_turn import Stopped, TracedTurn
from kedge.turns.turn import Turn

BATCH_ROWS = 500


class Team:
    """Five agents, a pipeline and an editor on one database.

    `release` is the deployment that some sessions see. `stops` gives, by a turn's label, the operation at which it
    stops: the rule of the stopped twin.
    """

    def __init__(
        self,
        k: Database,
        trace: Trace,
        embedders: Embedders,
        reviewer: Reviewer,
        *,
        release: str | None = None,
        stops: Mapping[str, int] | None = None,
    ) -> None:
        self.k = k
        self.trace = trace
        self.embedders = embedders
        self._reviewer = reviewer
        self._release = release
        self._stops = stops or {}

    # ── a day: sessions in parallel ──

    def work(self, sessions: Sequence[Sequence[Task]], *, threads: int) -> None:
        """Serve sessions in parallel, and the questions of each session in order.

        Parallel sessions do not race: each writes only keys with its own name, and reads only those, documents, and
        facts of earlier days. So the result does not depend on the scheduling of threads.
        """
        with ThreadPoolExecutor(threads, thread_name_prefix="kedge-drill") as pool:
            for _ in pool.map(self.serve, sessions):
                pass  # re-raises the errors of the threads

    def serve(self, tasks: Sequence[Task]) -> None:
        """Serve one session, its questions in order."""
        session = tasks[0].session
        inside = self._release in self.k.assignment(session)  # as a router would ask
        for task in tasks:
            with self._turn(f"{task.name}/reception", "reception", inside=inside, session=session) as traced:
                agents.receive(traced, task)
            with self._turn(f"{task.name}/answering", "answering", inside=inside, session=session) as traced:
                self._answer(traced, task)

    def _answer(self, traced: TracedTurn, task: Task) -> None:
        agents.store_input(traced, task)
        given = agents.answer(traced, task, self._retrieve(traced, task))
        self._learn(traced, task, given)
        if self._review(traced, task) == "doubtful":
            with self._called(f"{task.name}/librarian-again", "librarian", by=traced) as callee:
                agents.retire(callee, task)

    def _retrieve(self, caller: TracedTurn, task: Task) -> Found:
        found, back = Found([], []), {}
        with self._called(f"{task.name}/retrieval", "retrieval", by=caller) as traced:
            limit = int(traced.artifact("retrieval/configuration")["neighbours"])
            found = agents.retrieve(traced, task, self.embedders, limit)
            back = traced.turn.headers()
        caller.absorb(f"{task.name}/retrieval", back)
        return found

    def _learn(self, caller: TracedTurn, task: Task, given: Answer) -> None:
        with self._called(f"{task.name}/librarian", "librarian", by=caller) as traced:
            agents.learn(traced, task, given, self.embedders)

    def _review(self, caller: TracedTurn, task: Task) -> str:
        mine = f"{task.name}/reviewer"
        self.trace.begin(mine, agent="reviewer", caller=caller.label)
        reviewed = self._reviewer.review(task, caller.turn.headers(audience="reviewer"), self._stops.get(mine))
        for op in reviewed.ops:
            self.trace.note(mine, op)
        caller.absorb(mine, reviewed.headers)
        return reviewed.verdict

    # ── between days, never in parallel ──

    def evening(self, day: int, topics: Sequence[str], *, inside: bool) -> None:
        """Let the librarian summarize topics: for everyone, or inside the release, from the facts of its sessions."""
        opened_in = self._release if inside else None
        world = "inside" if inside else "outside"
        for topic in topics:
            label = f"evening-{day}/{world}/{topic}"
            with self._turn(label, "librarian", inside=opened_in is not None, deployment=opened_in) as traced:
                agents.digest_topic(traced, day, topic)

    def correct(self, key: str, value: Any) -> None:
        """Let the editor, a person, correct a shared fact."""
        with self.k.turn(person="editor") as turn, self._traced(turn, f"editor/{key}", "") as traced:
            traced.share(key, value)

    def store_documents(self, documents: Sequence[Document]) -> None:
        """Let the pipeline store and embed the documents."""
        with self._turn("pipeline/take-in", "pipeline") as traced:
            for document in documents:
                traced.attach(DOCUMENTS, document.id, document.text)
            payloads = [{"topic": document.topic} for document in documents]
            self._embed(traced, DOCUMENTS, [d.id for d in documents], [d.text for d in documents], payloads)

    def backfill(self) -> None:
        """Let the release's pipeline embed the documents and learned answers again, in its own space.

        It writes to the same ids: readers inside the release find its vectors, all others the old ones.
        """
        inside = self._release is not None
        with self._turn("pipeline/backfill", "pipeline", inside=inside, deployment=self._release) as traced:
            texts = traced.turn.documents(DOCUMENTS).items()
            payloads = [{"topic": id.partition(".")[0]} for id in texts]
            self._embed(traced, DOCUMENTS, list(texts), list(texts.values()), payloads)
            rows = traced.turn.vectors(LEARNED)
            learned = {id: row.payload for id, row in rows.get(rows.ids()).items()}
            self._embed(traced, LEARNED, [*learned], [p["question"] for p in learned.values()], [*learned.values()])

    def _embed(
        self,
        traced: TracedTurn,
        collection: str,
        ids: Sequence[str],
        texts: Sequence[str],
        payloads: Sequence[dict[str, Any]],
    ) -> None:
        embedder = self.embedders.pinned(traced.artifact(EMBEDDER_KEY))
        for start in range(0, len(ids), BATCH_ROWS):
            batch = slice(start, start + BATCH_ROWS)
            traced.embed(collection, ids[batch], embedder.embed_all(texts[batch]), payloads[batch])

    # ── replay ──

    def again(self, turn: Turn, task: Task) -> None:
        """Process a question again, all agents in the one turn that replay opened."""
        asked = Place("memory", task.session, message_name(task.number, 0))
        with self._traced(turn, f"replay/{task.name}", turn.agent or "", replays=asked) as traced:
            agents.receive(traced, task)
            limit = int(traced.artifact("retrieval/configuration")["neighbours"])
            given = agents.answer(traced, task, agents.retrieve(traced, task, self.embedders, limit))
            agents.learn(traced, task, given, self.embedders)
            if agents.review(traced, task) == "doubtful":
                agents.retire(traced, task)

    def again_attachment(self, turn: Turn, id: str, text: str) -> None:
        """Embed an attachment again."""
        attached = Place("documents", agents.ATTACHMENTS, id)
        with self._traced(turn, f"replay/attachment/{id}", turn.agent or "", replays=attached) as traced:
            agents.embed_attachment(traced, id, text, self.embedders)

    # ── turns ──

    @contextmanager
    def _turn(
        self,
        label: str,
        agent: str,
        *,
        inside: bool = False,
        session: str | None = None,
        deployment: str | None = None,
    ) -> Iterator[TracedTurn]:
        """Open a turn without a caller."""
        with (
            self.k.turn(session=session, agent=agent, deployment=deployment) as turn,
            self._traced(turn, label, agent, inside=inside) as traced,
        ):
            yield traced

    @contextmanager
    def _called(self, label: str, agent: str, *, by: TracedTurn) -> Iterator[TracedTurn]:
        """Open a turn that joins its caller's turn by headers."""
        headers = by.turn.headers(audience=agent)
        with (
            self.k.turn(agent=agent, parent=headers) as turn,
            self._traced(turn, label, agent, caller=by.label) as traced,
        ):
            yield traced

    @contextmanager
    def _traced(
        self,
        turn: Turn,
        label: str,
        agent: str,
        *,
        inside: bool = False,
        caller: str | None = None,
        replays: Place | None = None,
    ) -> Iterator[TracedTurn]:
        """Record each operation of a turn; end without an error if the twin's rule stops it."""
        self.trace.begin(label, agent=agent, caller=caller, sees_release=inside, replays=replays)
        try:
            yield TracedTurn(turn, label, lambda op: self.trace.note(label, op), stop_at=self._stops.get(label))
        except Stopped:
            return


__all__ = ["Team"]
