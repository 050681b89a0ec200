"""Shell, HTTP and registry resolvers: whether what an artifact's URI names is still there."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from kedge.errors import InvalidValue
from kedge.model.artifacts import Artifact

_GONE = {404, 410}
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)


class ShellResolver:
    """Runs a command with KEDGE_URI, KEDGE_DIGEST and KEDGE_KEY. It exits with 0: there, with 1: gone."""

    def __init__(self, uris: str, *, command: str | Sequence[str]) -> None:
        self.uris = uris
        self._argv = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        if not command or not all(isinstance(word, str) for word in self._argv):
            raise InvalidValue("invalid command of a resolver: must be a shell command line or a list of words")

    def resolve(self, key: str, pin: Artifact, timeout: float) -> bool:
        """Run the command; raise unless it exits with 0 or 1."""
        given = {"KEDGE_KEY": key, "KEDGE_URI": pin.uri or "", "KEDGE_DIGEST": pin.digest}
        try:
            done = subprocess.run(  # noqa: S603 - the configuration of the resolver
                self._argv,
                env={**os.environ, **given},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        if done.returncode not in {0, 1}:
            raise OSError(f"its command exited with {done.returncode}")
        return done.returncode == 0


class HttpResolver:
    """Sends HEAD to a URL: 404 and 410 mean gone. `{uri}` and `{digest}` in it are replaced; default: the URI itself.

    `registry` is the address of a container registry instead, which is asked for the image's manifest by digest.
    """

    def __init__(
        self, uris: str, *, url: str = "", registry: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        self.uris = uris
        self._url, self._registry = url, registry.rstrip("/")
        self._headers = dict(headers or {})
        for given in filter(None, (url, registry)):
            if urlsplit(given).scheme not in {"http", "https"}:
                raise InvalidValue("invalid url of a resolver: must begin with https:// or http://")

    def resolve(self, key: str, pin: Artifact, timeout: float) -> bool:  # noqa: ARG002 - the port's signature
        """Ask for the artifact; raise for any response but success, 404 and 410."""
        uri, headers = pin.uri or "", dict(self._headers)
        if self._registry:
            image = uri.partition("://")[2] or uri
            host, slash, path = image.partition("/")
            path = path if slash and ("." in host or ":" in host or host == "localhost") else image
            name = path.partition("@")[0].partition(":")[0]
            url = f"{self._registry}/v2/{quote(name)}/manifests/{pin.digest}"
            headers.setdefault("Accept", _MANIFESTS)
        else:
            url = self._url.replace("{uri}", quote(uri, safe="")).replace("{digest}", quote(pin.digest)) or uri
        if urlsplit(url).scheme not in {"http", "https"}:
            raise ValueError("its URI is no URL; give url= or registry=")
        try:
            with urlopen(Request(url, headers=headers, method="HEAD"), timeout=timeout):  # noqa: S310 - checked above
                return True
        except HTTPError as error:
            error.close()
            if error.code in _GONE:
                return False
            raise OSError(f"the server answered {error.code}") from None
