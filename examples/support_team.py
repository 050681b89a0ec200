"""A support team of four agents without a framework: a release goes wrong, is rolled back, and its cases are replayed.

Run it: `python examples/support_team.py`. The model is a fake, which needs no key and answers alike every time.
Only the researcher's prompt gets worse. Yet what it files in the shared notes misleads the writer, whom nobody changed.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence

import kedge

V1 = {
    "desk/prompt": "Pass the case on, and send the reply.",
    "researcher/prompt": "Look the policy up in the handbook, word by word.",
    "writer/prompt": "Answer politely, from the notes only.",
}
V2 = {"researcher/prompt": "Be quick: estimate the policy."}
HANDBOOK = {
    "refund": "30 days",
    "shipping": "5 days",
    "warranty": "2 years",
    "invoice": "1 hour",
    "exchange": "60 days",
}
MORNING = [("ann", "What is your refund policy?"), ("bob", "How long does shipping take?")]
NOON = [(f"guest-{n}", f"How long does {'an invoice' if n % 2 else 'the warranty'} take?") for n in range(4)]
EVENING = [("cid", "Until when can I exchange it?"), ("dora", "Is an exchange possible?"), ("ann", "And a refund?")]

Ask = Callable[[str, str], str]


def model(prompt: str, topic: str) -> str:
    """Stand in for a language model: with a hasty prompt, it makes things up."""
    return f"{len(topic)} weeks" if "estimate" in prompt else HANDBOOK[topic]


def current() -> kedge.Turn:
    """Return the turn that this code works in."""
    turn = kedge.current_turn()
    assert turn is not None
    return turn


def team_of(k: kedge.Kedge) -> tuple[Ask, Callable[[kedge.Turn, kedge.ReplayInput], None]]:
    """Return what answers a customer, and what answers a recorded question again."""

    @kedge.wrap(k=k, agent="researcher")
    def research(topic: str) -> None:
        """File what the policy is in the notes that all agents share, unless it is there."""
        turn = current()
        if turn.context.get(f"notes/{topic}") is None:
            turn.context.put(f"notes/{topic}", model(str(turn.artifacts["researcher/prompt"].value), topic))

    @kedge.wrap(k=k, agent="writer")
    def write(topic: str) -> str:
        """Write a reply from the shared notes."""
        return f"Dear customer, {topic}: {current().context.get(f'notes/{topic}')}."

    def work(question: str) -> str:
        topic = next(topic for topic in HANDBOOK if topic in question)
        research(topic)
        reply = write(topic)
        current().memory.append("assistant", reply)
        return reply

    @kedge.wrap(k=k, agent="desk", session=lambda customer, _: customer)
    def ask(_: str, question: str) -> str:
        current().memory.append("user", question)
        return work(question)

    def ask_again(turn: kedge.Turn, question: kedge.ReplayInput) -> None:
        with turn:
            work(question.value)

    return ask, ask_again


def chats(k: kedge.Kedge) -> dict[str, list[str]]:
    """Return what each customer's chat shows."""
    shown = {info.session: k.view(session=info.session).memory.history() for info in k.sessions()}
    return {session: [f"{m.role}: {m.content}" for m in messages] for session, messages in shown.items()}


def day(k: kedge.Kedge, *, release: bool = True) -> dict[str, list[str]]:
    """Serve a day's customers: v2 is a canary, then live, then rolled back; return the chats in the end."""
    ask, ask_again = team_of(k)
    k.deploy("team-v1", V1)
    k.promote("team-v1")
    serve(ask, MORNING)
    if release:
        k.deploy("team-v2", V2, canary=0.5)
    serve(ask, NOON)
    if release:
        k.promote("team-v2")
    serve(ask, EVENING)
    if not release:
        return chats(k)
    tell("in the evening", chats(k))
    report = k.rollback("team-v2", reason="made-up policies")
    tell(f"rolled back: {report.writes_hidden} writes hidden", chats(k))
    replayed = k.replay(ask_again)
    tell(f"replayed: {len(replayed.replayed)} questions", chats(k))
    return chats(k)


def serve(ask: Ask, cases: Sequence[tuple[str, str]]) -> None:
    """Answer customers, one after another."""
    for customer, question in cases:
        ask(customer, question)


def tell(what: str, shown: dict[str, list[str]]) -> None:
    """Print the chats."""
    lines = [f"── {what}", *(f"{session:>8}  {line}" for session, said in shown.items() for line in said)]
    sys.stdout.write("\n".join([*lines, "", ""]))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, kedge.open(folder) as opened:
        day(opened)
