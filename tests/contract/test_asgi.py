"""The ASGI middleware: a request is a turn, which joins its caller's and answers with headers to absorb."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import kedge
from kedge import Kedge, current_turn
from kedge.integrations.asgi import KedgeMiddleware, Message, Receive, Scope, Send

POSTGRES_ONE_IN = 3
Work = Callable[[kedge.Turn], Any]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str
    messages: int


def app_of(work: Work, *, parts: int = 1) -> Any:
    """Return an app that answers with what `work` returns, in parts; the work is done before the last one."""

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        turn = current_turn()
        assert turn is not None
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]})
        for _part in range(parts - 1):
            await send({"type": "http.response.body", "body": b"...", "more_body": True})
        body = await asyncio.to_thread(work, turn)
        await send({"type": "http.response.body", "body": str(body).encode()})

    return app


def ask(app: Any, headers: dict[str, str] | None = None, kind: str = "http") -> Answer:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    named = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    asyncio.run(app({"type": kind, "headers": named}, receive, send))
    start, *bodies = sent
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], found, b"".join(body["body"] for body in bodies).decode(), len(sent))


def tainted(k: Kedge) -> None:
    k.deploy("bad", {"writer/prompt": "bad"})
    k.promote("bad")
    with k.turn(session="s", agent="writer") as turn:
        turn.context.put("fact", "wrong")


def who(turn: kedge.Turn) -> str:
    return f"{turn.session} {turn.agent}"


def test_a_request_is_a_turn_of_its_session(k: Kedge) -> None:
    app = KedgeMiddleware(app_of(who), k=k, agent="support")
    assert ask(app, {"X-Session-Id": "s-17"}) == Answer(200, {"x-own": "1"}, "s-17 support", 2)
    assert ask(app).body == "None support"
    assert current_turn() is None


def test_a_function_may_choose_the_session_of_any_name(k: Kedge) -> None:
    app = KedgeMiddleware(app_of(who), k=k, agent="support", session=lambda scope: f"user\n{len(scope['headers'])}")
    assert ask(app).body == f"{kedge.escape_name(chr(10).join(['user', '0']))} support"


@pytest.mark.parametrize("parts", [1, 3], ids=["at once", "in parts"])
def test_a_callee_joins_its_caller_and_the_caller_absorbs_it(k: Kedge, parts: int) -> None:
    tainted(k)
    k.deploy("canary", {"support/prompt": "new"}, canary=0.0)
    seen: list[frozenset[str]] = []

    def work(turn: kedge.Turn) -> Any:
        seen.append(turn.seen)
        return turn.session, turn.context.get("fact")

    app = KedgeMiddleware(app_of(work, parts=parts), k=k, agent="support")
    with k.turn(session="t", agent="planner", deployment="canary") as turn:
        answer = ask(app, kedge.carriers.to_http(turn.headers()))
        assert "('t', 'wrong')" in answer.body
        assert seen == [turn.seen]
        assert turn.lineage == set()
        turn.absorb(kedge.carriers.from_http(answer.headers))
        assert turn.lineage == {"bad", "canary"}, "also what was read after the answer had begun"
        assert answer.headers["x-own"] == "1"
        turn.context.put("conclusion", "wrong too")
    k.rollback("bad")
    assert k.view(session="t").context.get("conclusion") is None


def test_an_answer_to_others_has_no_headers_of_kedge_and_is_not_held(k: Kedge) -> None:
    app = KedgeMiddleware(app_of(who, parts=3), k=k, agent="support")
    answer = ask(app)
    assert (set(answer.headers), answer.messages) == ({"x-own"}, 4)


def test_headers_that_do_not_verify_are_of_a_peer(k: Kedge) -> None:
    def work(turn: kedge.Turn) -> Any:
        turn.context.put("from outside", 1)
        return sorted(turn.lineage)

    app = KedgeMiddleware(app_of(work), k=k, agent="support", peer="partner")
    assert "external:partner" in ask(app, {"baggage": "kedge=forged"}).body
    k.rollback("external:partner")
    assert k.view().context.get("from outside") is None
    k.set_rolled_back_peers("refuse")
    refused = ask(app, {"baggage": "kedge=forged"})
    assert (refused.status, refused.body.partition(":")[0]) == (403, "PeerRefused")


def test_a_rollback_on_the_way_is_a_503_where_nothing_was_sent(k: Kedge) -> None:
    tainted(k)

    def work(turn: kedge.Turn) -> Any:
        turn.context.get("fact")
        k.rollback("bad")
        return turn.context.get("fact")

    app = KedgeMiddleware(app_of(work), k=k, agent="support")
    with k.turn(session="s", agent="planner") as turn:
        answer = ask(app, turn.headers())
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.body.startswith("RolledBack: ")


def test_a_rollback_after_the_answer_has_begun_raises(k: Kedge) -> None:
    tainted(k)

    def work(turn: kedge.Turn) -> Any:
        turn.context.get("fact")
        k.rollback("bad")
        return turn.context.get("fact")

    with pytest.raises(kedge.RolledBack):
        ask(KedgeMiddleware(app_of(work), k=k, agent="support"))


def test_other_connections_pass_through(k: Kedge) -> None:
    async def app(scope: Scope, _: Receive, send: Send) -> None:
        assert current_turn() is None
        await send({"type": "websocket.accept", "headers": [(b"kind", scope["type"].encode())]})
        await send({"type": "websocket.send", "body": b""})

    async def served() -> list[Message]:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {}

        await KedgeMiddleware(app, k=k, agent="support")({"type": "websocket", "headers": []}, receive, send)
        return sent

    assert asyncio.run(served())[0]["headers"] == [(b"kind", b"websocket")]
