"""The ASGI middleware under FastAPI: sync and async handlers, streams, background tasks. Run by `make hosts`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import kedge

pytest.importorskip("fastapi", reason="`make hosts` installs it")

from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from kedge.integrations.asgi import KedgeMiddleware

POSTGRES_ONE_IN = 3


@pytest.fixture
def k(place: str) -> Iterator[kedge.Kedge]:
    with kedge.open(place, durability="normal") as opened:
        opened.deploy("bad", {"writer/prompt": "bad"})
        opened.promote("bad")
        with opened.turn(session="s", agent="writer") as turn:
            turn.context.put("fact", "wrong")
        yield opened


def here() -> kedge.Turn:
    found = kedge.current_turn()
    assert found is not None
    return found


@pytest.fixture
def client(k: kedge.Kedge) -> TestClient:
    app = FastAPI()
    app.add_middleware(KedgeMiddleware, k=k, agent="support")

    def plain() -> dict[str, Any]:
        return {"session": here().session, "fact": here().context.get("fact")}

    async def asynchronous() -> dict[str, Any]:
        return {"session": here().session, "fact": here().context.get("fact")}

    async def stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            yield "the fact is "
            yield str(here().context.get("fact"))

        return StreamingResponse(parts())

    def later(tasks: BackgroundTasks) -> str:
        here().context.get("fact")
        tasks.add_task(lambda: here().context.put("later", "wrong too"))
        return "accepted"

    def untouched() -> str:
        return "ok"

    routes = {"/plain": plain, "/async": asynchronous, "/stream": stream, "/later": later, "/untouched": untouched}
    for path, handler in routes.items():
        app.add_api_route(path, handler, response_model=None)
    return TestClient(app)


@pytest.mark.parametrize("path", ["/plain", "/async", "/stream"])
def test_a_caller_takes_on_what_a_handler_has_read(k: kedge.Kedge, client: TestClient, path: str) -> None:
    with k.turn(session="s", agent="planner") as turn:
        answer = client.get(path, headers=kedge.carriers.to_http(turn.headers()))
        assert "wrong" in answer.text
        turn.absorb(kedge.carriers.from_http(answer.headers))
        assert turn.lineage == {"bad"}


@pytest.mark.parametrize("path", ["/plain", "/async"])
def test_a_handler_works_in_the_turn_of_its_session(client: TestClient, path: str) -> None:
    answer = client.get(path, headers={"x-session-id": "s-17"})
    assert answer.json() == {"session": "s-17", "fact": "wrong"}
    assert "baggage" not in answer.headers
    assert kedge.current_turn() is None


def test_a_background_task_still_has_the_turn(k: kedge.Kedge, client: TestClient) -> None:
    assert client.get("/later").json() == "accepted"
    assert k.view().context.get("later") == "wrong too"
    k.rollback("bad")
    assert k.view().context.get("later") is None


def test_who_has_read_nothing_is_not_influenced(k: kedge.Kedge, client: TestClient) -> None:
    with k.turn(session="s", agent="planner") as turn:
        answer = client.get("/untouched", headers=kedge.carriers.to_http(turn.headers()))
        turn.absorb(kedge.carriers.from_http(answer.headers))
        assert turn.lineage == set()
