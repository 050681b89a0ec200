"""HTTP reconciler: GET reads what a server runs, PUT sends what is pinned."""

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

import msgspec

from kedge.errors import InvalidValue
from kedge.model.artifacts import Artifact, plain
from kedge.model.secrets import public_address, redact, secrets_of_address
from kedge.reconcilers.limits import limit

_BODY_BYTES = 1_000_000  # of a response that are read
_NOT_FOUND = 404


class RequestFailed(Exception):
    """A request failed; the message holds no secret of its address and headers."""


class HttpReconciler:
    """Reads from and writes to a server. `{key}` in a URL is replaced by the artifact's key.

    The observed value is the body of the response to GET, or the `field` of its JSON (`"model.version"`); 404 means
    nothing. The pin is sent as a JSON object: `key`, `value`, `uri`, `digest`, `version`, `kind`.
    """

    def __init__(
        self,
        artifacts: str,
        url: str,
        *,
        converge_url: str | None = None,
        method: str = "PUT",
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = 10.0,
        deadline_seconds: float = 60.0,
    ) -> None:
        self.artifacts = artifacts
        self.timeout_seconds = timeout_seconds
        self.deadline_seconds = deadline_seconds
        self._url, login = _http(url)
        self._converge_url, converge_login = _http(converge_url or url)
        self._method = method
        self._field = field
        self._headers = {**login, **converge_login, **(headers or {})}
        self._secrets = [
            *(secret for each in (url, converge_url or "") for secret in secrets_of_address(each)),
            *(word for value in self._headers.values() for word in value.split()),
        ]

    def observe(self, key: str, timeout: float) -> str | None:
        """Return what the server reports."""
        try:
            body = self._ask(Request(_filled(self._url, key), headers=self._headers), timeout)  # noqa: S310 - see `_http`
        except HTTPError as error:
            error.close()
            if error.code == _NOT_FOUND:
                return None
            raise
        if self._field is None:
            return body.decode().strip() or None
        found: Any = json.loads(body)
        for part in self._field.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return None if found is None else str(found)

    def converge(self, key: str, pin: Artifact, timeout: float) -> None:
        """Send the pin, and raise unless the server accepts it."""
        headers = {"Content-Type": "application/json", **self._headers}
        body = msgspec.json.encode(plain(key, pin))
        url = _filled(self._converge_url, key)
        request = Request(url, data=body, headers=headers, method=self._method)  # noqa: S310 - see `_http`
        try:
            self._ask(request, timeout)
        except HTTPError as error:
            error.close()
            raise

    def _ask(self, request: Request, timeout: float) -> bytes:
        seconds, which = limit(self.timeout_seconds, timeout)
        try:
            with urlopen(request, timeout=seconds) as answer:  # noqa: S310 - see `_http`
                body: bytes = answer.read(_BODY_BYTES)
                return body
        except HTTPError:
            raise
        except Exception as error:
            if isinstance(getattr(error, "reason", error), TimeoutError):
                raise TimeoutError(f"no response to {request.get_method()} within {which}") from None
            said = f"{type(error).__name__}: {error}"
            hidden = redact(said, self._secrets)
            if hidden == said:
                raise
            raise RequestFailed(hidden) from None


def _http(url: str) -> tuple[str, dict[str, str]]:
    """Return a URL without its user and password, and the header that sends them."""
    invalid = InvalidValue(
        f"invalid URL {public_address(url)!r}: must be https://host/path, with {{key}} in place of the key"
    )
    try:
        parts = urlsplit(url)
        host, user, port = parts.netloc.rpartition("@")[2], parts.username, parts.port
    except ValueError:  # the port is not a number
        raise invalid from None
    if parts.scheme not in {"http", "https"} or not host or port == 0:
        raise invalid
    if user is None:
        return url, {}
    login = f"{unquote(user)}:{unquote(parts.password or '')}".encode()
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": f"Basic {b64encode(login).decode()}"}


def _filled(url: str, key: str) -> str:
    return url.replace("{key}", quote(key, safe=""))
