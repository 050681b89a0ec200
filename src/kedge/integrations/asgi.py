"""ASGI middleware (Starlette, FastAPI and others): each HTTP request is a turn. It needs no package.

    app.add_middleware(KedgeMiddleware, k=k, agent="support", session="x-session-id")

Inside the handlers, `kedge.current_turn()` is the turn. Where the caller sent Kedge's headers, the turn joins the
caller's, and the answer carries headers back for the caller to absorb.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import kedge
from kedge.integrations.turns import Opened, sync_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Session = str | Callable[[Scope], str | None] | None

_RETRY, _FORBIDDEN = 503, 403


class KedgeMiddleware:
    """Opens a turn for each HTTP request. Websockets and other connections pass through without one."""

    def __init__(
        self,
        app: App,
        *,
        k: Opened,
        agent: str,
        session: Session = "x-session-id",
        peer: Callable[[Scope], str | None] | str | None = None,
    ) -> None:
        """Serve `app`.

        - `session`: the header that names the session, or a function of the ASGI scope. A client that sends the header
          chooses whose memory is read: where clients are not trusted, give a function that asks your authentication.
        - `peer`: who callers are whose headers do not verify, or a function of the scope that says so.
        """
        self._app = app
        self._k = sync_of(k)
        self._agent = agent
        self._session = session
        self._peer = peer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            await self._serve(scope, receive, answer)
        except (kedge.Retryable, kedge.RolledBack) as error:
            await answer.refuse(_RETRY, f"{type(error).__name__}: {error}; try again", error)
        except kedge.PeerRefused as error:
            await answer.refuse(_FORBIDDEN, f"{type(error).__name__}: {error}", error)

    async def _serve(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        headers = _headers_of(scope)
        parent = kedge.carriers.from_http(headers) or None
        session = self._session(scope) if callable(self._session) else headers.get((self._session or "").lower())
        turn = await asyncio.to_thread(self._begin, scope, session, parent)
        with turn:
            try:
                if parent is None:
                    await self._app(scope, receive, answer.send)
                else:
                    await self._app(scope, receive, answer.hold)
                    await answer.release(await asyncio.to_thread(turn.headers))
            finally:
                await asyncio.to_thread(turn.close)  # it may write; leaving the block then does not

    def _begin(self, scope: Scope, session: str | None, parent: Mapping[str, str] | None) -> kedge.Turn:
        name = None if session is None else kedge.escape_name(session)
        if parent is None:
            return self._k.turn(session=name, agent=self._agent)
        peer = self._peer(scope) if callable(self._peer) else self._peer
        return self._k.turn(session=name, agent=self._agent, parent=parent, peer=peer)


def _headers_of(scope: Scope) -> dict[str, str]:
    """Return the headers of a request by their names in lower case; several of one name are joined."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]},{text}" if key in found else text
    return found


class _Answer:
    """The answer to one request. It is held back where headers go with it that only its end can tell."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._held: list[Message] = []
        self._started = False

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        self._started = True
        await self._send(message)

    async def hold(self, message: Message) -> None:
        """Keep a message until `release`."""
        self._held.append(message)

    async def release(self, headers: Mapping[str, str]) -> None:
        """Send what was held, with these headers: by now the turn has read all that the body rests on."""
        for message in self._held:
            if message["type"] == "http.response.start":
                others = [tuple(pair) for pair in message.get("headers", ())]
                present = {n.decode("latin-1"): v.decode("latin-1") for n, v in others if n.lower() == b"baggage"}
                merged = kedge.carriers.to_http(headers, present)
                kept = [pair for pair in others if pair[0].lower() != b"baggage"]
                new = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in merged.items()]
                message = {**message, "headers": [*kept, *new]}  # noqa: PLW2901 - the message with Kedge's headers
            await self.send(message)

    async def refuse(self, status: int, text: str, error: Exception) -> None:
        """Answer with an error, unless an answer has begun: then raise it."""
        if self._started:
            raise error
        body = text.encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        headers += [(b"retry-after", b"1")] if status == _RETRY else []
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})
