"""A way to a server that can be cut: before what a client says arrives there, or before the answer comes back."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self

_CHUNK = 65_536


class Proxy:
    """Passes bytes on between a free port here and a port of this machine."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._is_deaf = self._is_mute = False
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_requests(self) -> None:
        """Cut all connections now: what is said from here on does not arrive."""
        self._is_deaf = True
        self._cut_soon(0.0)

    def lose_answers(self, seconds: float = 0.3) -> None:
        """Let what is said arrive, but no answer come back, and cut all connections after some seconds."""
        self._is_mute = True
        threading.Thread(target=self._cut_soon, args=(seconds,), daemon=True).start()

    def _cut_soon(self, seconds: float) -> None:
        time.sleep(seconds)
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._is_deaf = self._is_mute = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._pairs.append((client, server))
            threading.Thread(target=self._pass_on, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(server, client, False), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_request: bool) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(_CHUNK):
                if not (self._is_deaf if is_request else self._is_mute):
                    target.sendall(content)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        if is_request:
            time.sleep(0.01)
            source.close()
            target.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # which wakes who waits in accept
        self._listener.close()
        self._cut_soon(0.0)
