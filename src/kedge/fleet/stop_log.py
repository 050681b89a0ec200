"""Log of stop files: a member records in the control log which file it saw come, change and go."""

import hashlib
import socket
import threading

from kedge.errors import KedgeError
from kedge.turns.kernel import Kernel

SEEN, GONE = "stop-file", "stop-file-gone"
_BY = "stop file"


class StopLog:
    """The stop files of this host that are in the log. Members of one host record a file once together."""

    def __init__(self, kernel: Kernel, member: str) -> None:
        self._kernel = kernel
        self._member = member
        self._host = socket.gethostname()
        self._logged: dict[str, str] = {}  # the operation that stands for a file, by its path
        self._writing: threading.Thread | None = None

    def consider(self) -> None:
        """Record what has changed, in a thread of its own: a database that is locked does not cost the lease."""
        if self._operations() != self._logged and (self._writing is None or not self._writing.is_alive()):
            self._writing = threading.Thread(target=self._write, name="kedge-stop-log", daemon=True)
            self._writing.start()

    def _operations(self) -> dict[str, str]:
        return {path: self._operation(path, mark) for path, mark in self._kernel.stop_files.marks.items()}

    def _operation(self, path: str, mark: str) -> str:
        return hashlib.sha256(f"{self._host}\0{path}\0{mark}".encode()).hexdigest()[:32]

    def _write(self) -> None:
        present = self._operations()
        try:
            for path, operation in self._logged.items():
                if present.get(path) != operation:
                    self._step(operation, GONE, path)
            for path, operation in present.items():
                if self._logged.get(path) != operation:
                    self._step(operation, SEEN, path)
        except KedgeError:
            return  # the next look tries again
        self._logged = present

    def _step(self, operation: str, kind: str, path: str) -> None:
        entries = [entry for entry in self._kernel.stop_files.entries if entry.by == path]
        detail = {"host": self._host, "path": path, "member": self._member}
        if kind == SEEN:
            detail |= {"entries": ", ".join(f"{entry.level} for {entry.scope}" for entry in entries)}
        reason = "; ".join(filter(None, (entry.reason for entry in entries))) if kind == SEEN else ""
        self._kernel.backend.control.step(operation, kind, by=_BY, reason=reason, detail=detail)
