"""Addresses of databases, as they may be shown."""

import re

_SECRET = re.compile(r"(?<=[?&])((?:ssl)?password=)[^&]*")


def public(url: str) -> str:
    """Return an address without its password, wherever that stands."""
    scheme, _, rest = url.partition("://")
    credentials, at, place = _SECRET.sub(r"\1…", rest).rpartition("@")
    return f"{scheme}://{credentials.partition(':')[0]}{at}{place}"
