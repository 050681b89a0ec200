"""Redaction of passwords in database addresses."""

import re

_SECRET = re.compile(r"(?<=[?&])((?:ssl)?password=)[^&]*")


def public(url: str) -> str:
    """Return an address without its password, in the credentials or in the options."""
    scheme, _, rest = url.partition("://")
    credentials, at, place = _SECRET.sub(r"\1…", rest).rpartition("@")
    return f"{scheme}://{credentials.partition(':')[0]}{at}{place}"
