"""TCP proxy with fault injection: delays, partitions, cuts and resets, at a chosen byte or moment.

Bytes are delivered once and in order, as TCP does. A partition holds bytes back; healing it delivers them.
"""

import contextlib
import random
import socket
import struct
import threading
import time
from types import TracebackType
from typing import Self

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)


class _Way:
    """One direction of a connection."""

    def __init__(self) -> None:
        self.is_open = threading.Event()
        self.is_open.set()


class _Line:
    """One connection: the client's end and the server's."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.ends = (client, server)
        self.is_reset = False
        self.requests, self.answers = _Way(), _Way()


class Proxy:
    """Forwards bytes between a free local port and a server's local port; `seed` determines random delays."""

    def __init__(self, port: int, *, seed: int = 0) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.passed = {"requests": 0, "answers": 0}  # bytes forwarded so far
        self._dice = random.Random(seed)  # noqa: S311 - no secret
        self._delay_seconds = 0.0
        self._lock = threading.Lock()
        self._lines: list[_Line] = []
        self._held: set[str] = set()
        self._cut_at: tuple[str, int] | None = None
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def url(self, url: str) -> str:
        """Return a server URL with the port of this proxy."""
        return url.replace(f":{self._target}/", f":{self.port}/")

    # ── faults ──

    def hold(self, *ways: str, new: bool = True) -> None:
        """Hold back `requests`, `answers` or both from now on; with `new=False`, only of existing connections."""
        chosen = ways or ("requests", "answers")
        with self._lock:
            for line in self._lines:
                for way in chosen:
                    getattr(line, way).is_open.clear()
            if new:
                self._held |= set(chosen)

    def heal(self) -> None:
        """Deliver all held bytes, and everything that follows, without delay."""
        with self._lock:
            self._held.clear()
            self._delay_seconds, self._cut_at = 0.0, None
            for line in self._lines:
                line.requests.is_open.set()
                line.answers.is_open.set()

    def delay(self, seconds: float) -> None:
        """Delay each chunk by a random time of up to so many seconds."""
        self._delay_seconds = seconds

    def cut(self, *, reset: bool = False) -> None:
        """End all connections now, by a close or a reset. New ones are accepted."""
        with self._lock:
            lines, self._lines = self._lines, []
            self._cut_at = None
            self._held.clear()
        for line in lines:
            line.is_reset = reset
            for end in line.ends:
                with contextlib.suppress(OSError):
                    if reset:  # sent on close, once no thread reads from the socket
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    end.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
            line.requests.is_open.set()
            line.answers.is_open.set()

    def cut_at(self, way: str, byte: int) -> None:
        """End all connections after so many more bytes in that direction."""
        with self._lock:
            self._cut_at = (way, self.passed[way] + byte)

    def lose_answers(self, seconds: float = 0.3) -> None:
        """Deliver requests but no answers, and end all connections after some seconds."""
        self.hold("answers", new=False)
        later = threading.Timer(seconds, self.cut)
        later.daemon = True
        later.start()

    # ── forwarding ──

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line = _Line(client, server)
            with self._lock:
                for way in self._held:
                    getattr(line, way).is_open.clear()
                self._lines.append(line)
            for way, source, target in (("requests", client, server), ("answers", server, client)):
                threading.Thread(
                    target=self._pass_on, args=(line, way, source, target), name="proxy", daemon=True
                ).start()

    def _pass_on(self, line: _Line, way: str, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(_CHUNK):
                if self._delay_seconds:
                    time.sleep(self._dice.random() * self._delay_seconds)
                getattr(line, way).is_open.wait()
                with self._lock:
                    if line not in self._lines:  # cut while the bytes were held back
                        break
                    content, is_last = self._until_cut(way, content)
                    self.passed[way] += len(content)
                target.sendall(content)
                if is_last:
                    self.cut()
        for end in () if line.is_reset else line.ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        if way == "requests":
            time.sleep(0.01)
            for end in line.ends:
                end.close()

    def _until_cut(self, way: str, content: bytes) -> tuple[bytes, bool]:
        """Return the bytes to forward before the cut, and whether the cut is due."""
        if self._cut_at is None or self._cut_at[0] != way:
            return content, False
        left = self._cut_at[1] - self.passed[way]
        return content[:left], len(content) >= left

    def __enter__(self) -> Self:
        """Return the proxy."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop accepting connections, and end the existing ones."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # this ends a blocked accept()
        self._listener.close()
        self.cut()
